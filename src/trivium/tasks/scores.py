"""How good a task's answers are: its metrics, class by class, and the worst mistakes."""

from collections.abc import Mapping
from heapq import heappush, heappushpop
from types import MappingProxyType
from typing import Any, NamedTuple

from trivium.tasks.metrics.likely import Likely

MOST_MISTAKES = 30  # that are kept


class Mistake(NamedTuple):
    """An answer that is wrong."""

    probability: float  # that was given to it: how sure the model was
    example: int
    answer: int  # of the example
    right: str
    given: str


class Scores(NamedTuple):
    """How good a model's answers to a set of examples are."""

    metrics: dict[str, float]  # the task's own, loss (nats an answer, or what it is trained on), and coverage
    by_label: Mapping[str, dict[str, float]] = MappingProxyType({})
    confusion: dict[str, Any] | None = None  # {"labels": [...], "counts": [[...]]}, rows are the right ones
    mistakes: tuple[Mistake, ...] = ()  # the surest first
    reliability: dict[str, Any] | None = None  # how sure and how right the answers are, see `Calibration.bins`
    likely: Likely | None = None  # the interval of the metric by which the best epoch is chosen


class WorstMistakes:
    """The mistakes that a model was surest of, in memory that does not grow."""

    def __init__(self, most: int = MOST_MISTAKES) -> None:
        self._most = most
        self._kept: list[Mistake] = []

    def add(self, mistake: Mistake) -> None:
        """Keep a mistake, if it is among the worst."""
        if len(self._kept) < self._most:
            heappush(self._kept, mistake)
        elif mistake > self._kept[0]:
            heappushpop(self._kept, mistake)

    def worst_first(self) -> tuple[Mistake, ...]:
        """Return those that were kept, the surest first."""
        return tuple(sorted(self._kept, key=lambda each: (-each.probability, each.example, each.answer)))
