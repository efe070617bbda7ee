"""Progress on the terminal: a bar where somebody looks, plain lines where nobody does, on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from trivium.core.progress import Progress, Silent


class PlainLines:
    """A line at most every few seconds, for logs and pipes."""

    def __init__(self, every_seconds: float = 10.0) -> None:
        self._every = every_seconds
        self._phase, self._unit = "", ""
        self._total: float | None = None
        self._done = 0.0
        self._began = self._said = monotonic()

    def start(self, phase: str, total: float | None, unit: str) -> None:
        """Begin a phase."""
        self._phase, self._total, self._unit = phase, total, unit
        self._done = 0.0
        self._began = self._said = monotonic()

    def advance(self, done: float, note: str = "") -> None:
        """Say how far it is, if the last word was some seconds ago or the phase is done now."""
        now = monotonic()
        is_end = self._total is not None and self._done < self._total <= done
        self._done = done
        if now - self._said >= self._every or (is_end and now - self._began >= self._every):
            self._said = now
            self.line(f"{self._phase}: {self._far(done, now)}  {note}".rstrip())

    def line(self, text: str) -> None:
        """Write a line."""
        _write(text)

    def warn(self, text: str) -> None:
        """Write a line."""
        _write(text)

    def _far(self, done: float, now: float) -> str:
        if not self._total:
            return f"{done:,.0f} {self._unit}"
        left = (now - self._began) / max(done, 1e-9) * max(self._total - done, 0.0)
        return f"{done:,.0f} of {self._total:,.0f} {self._unit}, {left:.0f} s left"


class Bar:
    """One bar a phase, with rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskID,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        # On a narrow terminal the bar gives way first and then the note, never how much is done and how long is left.
        whole = Column(no_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description:<12}", table_column=whole),
            BarColumn(bar_width=None, table_column=Column(ratio=1, max_width=24)),
            MofNCompleteColumn(table_column=whole),
            TextColumn("{task.fields[unit]}", table_column=whole),
            TimeRemainingColumn(compact=True, table_column=whole),
            TextColumn("{task.fields[note]}", table_column=Column(ratio=4, no_wrap=True, overflow="ellipsis")),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task: TaskID | None = None

    def start(self, phase: str, total: float | None, unit: str) -> None:
        """Begin a phase with a fresh bar."""
        if self._task is None:
            self._bars.start()
        else:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(phase, total=total, unit=unit, note="")

    def advance(self, done: float, note: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, note=note)

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        self._bars.console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """Write a line above the bar, in another colour."""
        self._bars.console.print(text, highlight=False, markup=False, style="yellow")

    def stop(self) -> None:
        """Take the bar away."""
        self._bars.stop()


class Warnings(Silent):
    """No progress, but what needs to be known."""

    def warn(self, text: str) -> None:
        """Write a line."""
        _write(text)


@contextmanager
def shown(*, quiet: bool) -> Iterator[Progress]:
    """Yield what shows progress here: warnings only if quiet, a bar on a terminal, plain lines elsewhere."""
    if quiet:
        yield Warnings()
    elif sys.stderr.isatty():
        bar = Bar()
        try:
            yield bar
        finally:
            bar.stop()
    else:
        yield PlainLines()


def _write(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
