"""Signals that ask a run to stop: noted, and minded when an update is done."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals(
    numbers: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
) -> Iterator[Callable[[], int | None]]:
    """Note signals instead of dying of them; a second one of the same kind does kill.

    Args:
        numbers: of the signals.

    Yields:
        a function that returns the number of the first signal that came, None as long as there was none.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread: somebody else minds the signals
        before = {}
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
