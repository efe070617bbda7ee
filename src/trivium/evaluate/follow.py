"""A run's folder followed while it grows: only what is new of its log is read. No torch."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.files import is_held
from trivium.evaluate.live import Held, Known, RunNow, extended, run_now

CONFIG, LOG, RESULTS, CHECKPOINTS = "config.toml", "log.jsonl", "results.json", "checkpoints"


class Tail(NamedTuple):
    """How far a file has been read."""

    inode: int = -1
    offset: int = 0


class Followed(NamedTuple):
    """A run that is looked at again and again, and what was seen of it so far."""

    path: Path  # as the user named it
    config: Mapping[str, Any]
    tail: Tail = Tail()
    known: Known = Known()


def follow(path: Path) -> Followed:
    """Begin to follow a run.

    Raises:
        CheckpointError: the folder is no run's.
        ConfigError: its config cannot be read.
    """
    if not (path / CONFIG).is_file():
        if path.is_dir():
            raise CheckpointError(f"{path}: not a run's folder: it has no {CONFIG}.")
        raise CheckpointError(f"{path}: no such run folder.")
    try:
        return Followed(path, tomllib.loads((path / CONFIG).read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path / CONFIG}: not valid TOML: {error}.") from None


def look(followed: Followed, *, now: float) -> tuple[Followed, RunNow]:
    """Read what is new and return it with where the run is.

    Args:
        followed: what was seen before.
        now: the time, in seconds since 1970.

    Raises:
        CheckpointError: the folder is there no more.
    """
    try:
        return _look(followed, now)
    except FileNotFoundError:
        raise CheckpointError(f"{followed.path}: the run's folder is there no more.") from None


def _look(followed: Followed, now: float) -> tuple[Followed, RunNow]:
    folder = followed.path
    began = (folder / CONFIG).stat().st_mtime
    tail, lines, afresh = read_on(folder / LOG, followed.tail)
    known = extended(Known() if afresh else followed.known, lines)
    # A log that grows needs no lock to tell that somebody is at work; asking takes the lock for a moment.
    grown = bool(lines) and followed.tail.inode == tail.inode
    held = Held(
        results=_results(folder / RESULTS),
        locked=True if grown else is_held(folder / CONFIG),
        silent_seconds=max(now - (_written(folder / LOG) or began), 0.0),
    )
    step, written = _checkpoint(folder / CHECKPOINTS)
    held = held._replace(checkpoint_step=step, checkpoint_seconds=None if written is None else max(now - written, 0.0))
    return followed._replace(tail=tail, known=known), run_now(str(followed.path), followed.config, known, held)


def read_on(file: Path, tail: Tail) -> tuple[Tail, list[dict[str, Any]], bool]:
    """Return the whole lines of a growing log that were not read yet.

    Returns:
        how far it is read now; the lines; and whether they are from the start, since the file is another one or has
        been cut back.
    """
    try:
        with file.open("rb") as opened:
            status = file.stat()
            afresh = status.st_ino != tail.inode or status.st_size < tail.offset
            offset = 0 if afresh else tail.offset
            opened.seek(offset)
            read = opened.read()
    except FileNotFoundError:
        return Tail(), [], True
    whole = read[: read.rfind(b"\n") + 1]  # the rest is being written, or was when the run was killed
    lines = [line for text in whole.splitlines() if isinstance(line := _json(text), dict)]
    return Tail(status.st_ino, offset + len(whole)), lines, afresh


def _written(file: Path) -> float | None:
    """Return when a file was written last, None when it is not there."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return None


def _results(file: Path) -> Mapping[str, Any] | None:
    """Return the results, empty when they are there but cannot be read."""
    if not file.is_file():
        return None
    results = _json(file.read_bytes())
    return results if isinstance(results, dict) else {}


def _checkpoint(folder: Path) -> tuple[int | None, float | None]:
    """Return the step of the newest checkpoint and when it was written."""
    steps = {int(path.name[5:]): path for path in folder.glob("step-*") if path.name[5:].isdecimal()}
    if not steps:
        return None, None
    newest = max(steps)
    return newest, _written(steps[newest])  # None: removed since


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
