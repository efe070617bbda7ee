"""Runs that are stopped: what looks on and kills, or listens."""

from typing import Any

from trivium.core.progress import Silent


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    """A line of a log without what depends on the machine's speed."""
    speed = ("flops_per_second", "peak_share")
    return {key: value for key, value in line.items() if not key.startswith("seconds") and key not in speed}


class Killed(BaseException):
    """Nothing in the library may catch this: as if the process were gone."""


class KilledAt(Silent):
    """Kills a run when it says that it is at one of these steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def advance(self, done: float, note: str = "") -> None:
        if done in self.steps:
            raise Killed


class Lines(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)
