"""How good a task's answers are: its metrics, class by class, and the worst mistakes."""

from collections.abc import Mapping
from heapq import heappush, heappushpop
from types import MappingProxyType
from typing import Any, NamedTuple

from trivium.tasks.metrics.likely import Likely

MOST_MISTAKES = 30  # that are kept


class Mistake(NamedTuple):
    """An answer that is wrong."""

    probability: float | None  # that was given to it: how sure the model was; None = not known
    example: int
    answer: int  # of the example
    right: str
    given: str
    error: float | None = None  # how far from right it is, where answers are not just right or wrong
    rouge_l: float | None = None  # of a text that was written

    @property
    def badness(self) -> float:
        """How bad it is, to be compared with others of the same task: how sure the model was, or how far off it is."""
        if self.rouge_l is not None:
            return 1.0 - self.rouge_l
        known = self.error if self.probability is None else self.probability
        return 0.0 if known is None else known

    def row(self) -> dict[str, Any]:
        """Return it as `results.json` has it: what is not known is left out."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Scores(NamedTuple):
    """How good a model's answers to a set of examples are."""

    metrics: dict[str, float]  # the task's own, loss (nats an answer, or what it is trained on), and coverage
    by_label: Mapping[str, dict[str, float]] = MappingProxyType({})
    confusion: dict[str, Any] | None = None  # {"labels": [...], "counts": [[...]]}, rows are the right ones
    mistakes: tuple[Mistake, ...] = ()  # the worst first
    reliability: dict[str, Any] | None = None  # how sure and how right the answers are, see `Calibration.bins`
    likely: Likely | None = None  # the interval of the metric by which the best epoch is chosen


class WorstMistakes:
    """The worst mistakes, those that a model was surest of or farthest off with, in memory that does not grow."""

    def __init__(self, most: int = MOST_MISTAKES) -> None:
        self._most = most
        self._kept: list[tuple[float, int, int, Mistake]] = []  # of equally bad ones the first is the worse

    def add(self, mistake: Mistake) -> None:
        """Keep a mistake, if it is among the worst."""
        ordered = (mistake.badness, -mistake.example, -mistake.answer, mistake)
        if len(self._kept) < self._most:
            heappush(self._kept, ordered)
        else:
            heappushpop(self._kept, ordered)

    def worst_first(self) -> tuple[Mistake, ...]:
        """Return those that were kept, the worst first."""
        return tuple(mistake for *_, mistake in sorted(self._kept, reverse=True))
