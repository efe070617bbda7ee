"""The steps of epochs: each epoch's rows are spread evenly over its own."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple


class Place(NamedTuple):
    """Where a step lies."""

    epoch: int  # counted from 0
    number: int  # of the step in its epoch, counted from 0
    steps: int  # of its epoch

    def part(self, count: int) -> tuple[int, int]:
        """Return the first of `count` things that belong to this step, and the one behind its last."""
        return self.number * count // self.steps, (self.number + 1) * count // self.steps


class EpochSteps(NamedTuple):
    """How many steps are done when each epoch ends; there is at least one epoch."""

    ends: tuple[int, ...]

    @classmethod
    def counted(cls, steps: Iterable[int]) -> "EpochSteps":
        """Return the epochs that have so many steps each."""
        return cls(tuple(accumulate(map(int, steps))))

    @property
    def total(self) -> int:
        """Number of steps of all epochs."""
        return self.ends[-1]

    def place(self, step: int) -> Place:
        """Return where a step lies that is counted from 0."""
        epoch = bisect_right(self.ends, step)
        begin = self.ends[epoch - 1] if epoch else 0
        return Place(epoch, step - begin, self.ends[epoch] - begin)
