"""The log, also sent elsewhere: a tracker gets the numbers of each line, and can neither stop nor change the run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple, Protocol

from trivium.core.progress import Progress

_SECONDS_TO_END, _SECONDS_TO_STOP = 60.0, 10.0  # a run that was told to stop has little time left


class Tracker(Protocol):
    """Where numbers go; its calls come from one thread, in this order; after `end` it may `begin` again.

    It must not draw from torch's own generator: that is shared by all threads, and dropout draws from it.
    """

    @property
    def name(self) -> str:
        """What --track calls it."""
        ...

    def seen_by(self, run: Path) -> str:
        """Return the command that shows what was tracked."""
        ...

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Open the tracked run that belongs to a run's folder; what was sent of steps after `step` is void.

        It may come again after `end`: a run that goes back to a checkpoint goes on in the same tracked run.
        """
        ...

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of one line."""
        ...

    def end(self, *, finished: bool) -> None:
        """Close the tracked run; one that is not finished may go on later."""
        ...


class _Begin(NamedTuple):
    step: int


class _Line(NamedTuple):
    values: Mapping[str, Any]


class _End(NamedTuple):
    finished: bool


class Follower:
    """Hands lines on to a tracker from a thread of its own: a server that is slow or gone does not hold up the run."""

    def __init__(self, tracker: Tracker, run: Path, config: Mapping[str, Any], progress: Progress) -> None:
        self.name = tracker.name
        self._messages: SimpleQueue[_Begin | _Line | _End] = SimpleQueue()
        self._thread = Thread(
            target=_follow, args=(tracker, run, config, self._messages, progress), name=self.name, daemon=True
        )
        self._thread.start()

    def cut_after(self, step: int) -> None:
        """Begin, go on, or go back, after `step`."""
        self._messages.put(_Begin(step))

    def line(self, values: Mapping[str, Any]) -> None:
        """Hand on a line as it stands in the log."""
        self._messages.put(_Line(values))

    def end(self, *, finished: bool) -> None:
        """Say that there are no more lines."""
        self._messages.put(_End(finished))

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until all is taken; return whether it was."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()


@contextmanager
def followed(
    trackers: Sequence[Tracker], run: Path, config: Mapping[str, Any], progress: Progress
) -> Iterator[list[Follower]]:
    """Yield what a `Log` hands its lines to; trackers are closed when the block ends, well or not.

    Args:
        trackers: see `train.trackers.open_trackers`.
        run: the run's folder, which is there.
        config: the resolved configuration, as plain values.
        progress: told where each tracker can be seen, and of one that fails; it is left out from there on.
    """
    for tracker in trackers:
        progress.line(f"tracked with {tracker.name}; to see it: {tracker.seen_by(run)}")
    followers = [Follower(tracker, run, config, progress) for tracker in trackers]
    finished = False
    try:
        yield followers
        finished = True
    finally:
        seconds = _SECONDS_TO_END if finished else _SECONDS_TO_STOP
        until = monotonic() + seconds
        for follower in followers:
            follower.end(finished=finished)
        for follower in followers:
            if not follower.wait(max(until - monotonic(), 0.0)):
                progress.warn(f"{follower.name} did not take everything in {seconds:.0f} s; log.jsonl has all of it.")


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line by the names they are tracked under: `train/loss`, `validation/loss`.

    Where an evaluation was in the run (`tokens`, `seconds`) the lines of training say.
    """
    split = line.get("split", "train")
    place = {"step"} if "split" not in line else {"step", "tokens", "seconds"}
    return {
        f"{split}/{key}": value
        for key, value in line.items()
        if key not in place and isinstance(value, int | float) and not isinstance(value, bool)
    }


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a tree of settings as one table of dotted names."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{above}.{key}".lstrip(".")
        found |= flat(value, name) if isinstance(value, Mapping) else {name: value}
    return found


def _follow(
    tracker: Tracker,
    run: Path,
    config: Mapping[str, Any],
    messages: "SimpleQueue[_Begin | _Line | _End]",
    progress: Progress,
) -> None:
    """Give a tracker what comes, until the end or its first failure."""
    begun = False
    try:
        while True:
            match messages.get():
                case _Begin(step):
                    if begun:  # it goes back: what is still on its way must not come after what makes it void
                        tracker.end(finished=False)
                    tracker.begin(run, config, step)
                    begun = True
                case _Line(values):
                    tracker.send(int(values["step"]), numbers(values))
                case _End(finished):
                    tracker.end(finished=finished)
                    return
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a tracker raises, the run is not its business
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200].removesuffix(":")
        progress.warn(f"{tracker.name} failed and is left out; the run and log.jsonl go on. {said}")
