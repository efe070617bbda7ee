"""Going on with a run: with the settings that it began with, from its newest whole checkpoint."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from trivium.core.config import Config
from trivium.core.errors import ConfigError
from trivium.core.progress import Progress
from trivium.train.checkpoint import latest_good, remove_unfinished


def require_same(asked: Config, saved: Config, *, free: Collection[str] = ()) -> None:
    """Raise ConfigError naming the first setting that is asked for and is another than the run began with.

    Args:
        asked: what None or "auto" is in it is as it was.
        saved: the run as it began, of the same class.
        free: dotted names of settings that may be any.
    """
    pairs: list[tuple[str, Any, Any]] = [("", asked.model_dump(mode="json"), saved.model_dump(mode="json"))]
    while pairs:
        path, new, old = pairs.pop(0)
        if path in free:
            continue
        if isinstance(new, dict) and isinstance(old, dict):
            pairs += [(f"{path}.{key}".lstrip("."), new[key], old.get(key)) for key in new]
        elif new not in (None, "auto", old):
            raise ConfigError(f"--resume: `{path}` was {old!r} when the run began, now {new!r}; leave it as it was.")


def newest_whole(run: Path, progress: Progress) -> Path | None:
    """Return the newest checkpoint that is whole, None when there is none yet; say which newer ones are damaged.

    What killed processes were writing is removed.

    Raises:
        CheckpointError: there are checkpoints, and all of them are damaged.
    """
    remove_unfinished(run)
    path, complaints = latest_good(run)
    for complaint in complaints:
        progress.warn(f"{complaint} The checkpoint before it is used.")
    return path
