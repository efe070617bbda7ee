"""How long work tells what it is doing, without knowing who looks on."""

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Shows one phase of work at a time: the command line as a bar or plain lines, a library call not at all."""

    def start(self, phase: str, total: float | None, unit: str) -> None:
        """Begin a phase of `total` units of work; None = nobody knows how many."""
        ...

    def advance(self, done: float, note: str = "") -> None:
        """Say how much of the phase is done in all, and what to show beside it."""
        ...

    def line(self, text: str) -> None:
        """Say something that stays."""
        ...

    def warn(self, text: str) -> None:
        """Say what needs to be known even where progress is not asked for."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, phase: str, total: float | None, unit: str) -> None:
        """Show nothing."""

    def advance(self, done: float, note: str = "") -> None:
        """Show nothing."""

    def line(self, text: str) -> None:
        """Show nothing."""

    def warn(self, text: str) -> None:
        """Show nothing."""


def counter(progress: Progress, phase: str, total: float | None, unit: str) -> Callable[[int], None]:
    """Begin a phase, and return a function that is told how much more of it is done."""
    progress.start(phase, total, unit)
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        progress.advance(done)

    return add


def nobody(more: int) -> None:
    """Be told how much more is done, where nobody looks on."""


def phases(progress: Progress, unit: str) -> Callable[[str, float, float], None]:
    """Return a function of (phase, done, total) that begins each phase when it first hears of it."""
    begun: set[str] = set()

    def report(phase: str, done: float, total: float) -> None:
        if phase not in begun:
            begun.add(phase)
            progress.start(phase, total, unit)
        progress.advance(done)

    return report
