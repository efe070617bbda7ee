"""Files that are whole or not there: atomic writes, checksums, fingerprints."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from trivium.core.errors import CheckpointError, ConfigError

CHECKSUMS = "checksums.json"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill beside `path`; it becomes `path` when the block ends well and vanishes otherwise.

    An existing `path` is replaced only at the end: at every moment either the old or the new one is there whole
    (between two renames the old one is at `.NAME.old`).
    """
    partial = partial_path(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            _sync(file)
        _sync(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def partial_path(path: Path) -> Path:
    """Return where a file or folder is written before it is whole."""
    return path.with_name(f".{path.name}.partial")


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    partial = partial_path(path)
    try:
        partial.write_text(text, encoding="utf-8")
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold a lock on an existing file, so that two processes do not write one folder; ConfigError if it is held."""
    with file.open("rb") as held:
        if not _lock(held):
            time.sleep(0.1)  # `is_held` takes it too, for a moment
            if not _lock(held):
                raise ConfigError(f"{file.parent}: another process is at work in this folder.")
        yield


def is_held(file: Path) -> bool | None:
    """Say whether a process holds the lock of `alone` on an existing file; None where there are no such locks."""
    try:
        import fcntl
    except ImportError:
        return None
    with file.open("rb") as tried:
        try:
            fcntl.flock(tried, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that only ask do not see each other
        except BlockingIOError:
            return True
        except OSError:
            return None
        return False


def _lock(file: BinaryIO) -> bool:
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # no such locks on this system
    except BlockingIOError:
        return False
    return True


def refuse_existing(out: Path) -> None:
    """Raise ConfigError when the folder a command is to make is already there with something in it."""
    if out.is_file():
        raise ConfigError(f"--out {out}: expected a folder, found a file; nothing was changed.")
    if (out / "config.toml").is_file() and not (out / "results.json").is_file():
        raise ConfigError(
            f"--out {out}: a run that is not finished; --resume goes on with it, or choose another folder. "
            "Nothing was changed."
        )
    if not out.name or (out.exists() and any(out.iterdir())):
        raise ConfigError(f"--out {out}: already exists; choose another folder or remove it. Nothing was changed.")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Write the checksum of each file of the folder, and of folders in it, into it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != CHECKSUMS)
    write_json(folder / CHECKSUMS, {file.relative_to(folder).as_posix(): sha256(file) for file in files})


def verify_checksums(folder: Path) -> None:
    """Raise CheckpointError naming the first file that is missing or is not what was written."""
    try:
        expected = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: {CHECKSUMS} is missing, so the folder cannot be trusted.") from None
    except ValueError:
        raise CheckpointError(f"{folder / CHECKSUMS}: damaged.") from None
    if not isinstance(expected, dict) or not expected:
        raise CheckpointError(f"{folder / CHECKSUMS}: damaged.")
    for name, digest in expected.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{file}: missing.")
        if sha256(file) != digest:
            raise CheckpointError(f"{file}: damaged: its content is not what was written.")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
