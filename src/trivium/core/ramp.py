"""Numbers that change in the course of a run."""

from typing import Annotated

from pydantic import Field

from trivium.core.config import Config


class Ramp(Config):
    """From `start` to `stop` in a straight line over the first `until` of the run, then `stop`."""

    start: float
    stop: float
    until: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


Scheduled = float | Ramp


def at(value: Scheduled, done: float) -> float:
    """Return the number when this share of the run is over, in [0, 1]."""
    if isinstance(value, Ramp):
        return value.start + (value.stop - value.start) * min(done / value.until, 1.0)
    return value


def extremes(value: Scheduled) -> tuple[float, float]:
    """Return the smallest and the largest that the number will be."""
    ends = (value.start, value.stop) if isinstance(value, Ramp) else (value, value)
    return min(ends), max(ends)
