"""Scores of classes from counts that are added up: only pairs of classes that occur are kept."""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from trivium.core.errors import ConfigError

_WAITING = 8192  # answers that are counted at once, at least


class Cells(NamedTuple):
    """The pairs of a right and a given class that occur, by the right class, then the given one."""

    right_K: np.ndarray  # int64
    given_K: np.ndarray  # int64
    times_K: np.ndarray  # int64, how often


class Confusion:
    """How often each class was given for each right one.

    A pair of classes that occurs is kept once, in 32 bytes at most: that is no more than 32 bytes an answer, and does
    not grow with the answers where classes are few. A table of all pairs would be 800 MB for 10,000 classes.

    Args:
        labels: the classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._pairs_K, self._times_K = (np.zeros(0, dtype=np.int64) for _ in range(2))  # pairs, increasing
        self._waiting, self._num_waiting = np.zeros(_WAITING, dtype=np.int64), 0

    def add(self, right: np.ndarray, given: np.ndarray) -> None:
        """Count answers.

        Args:
            right: integer [answers], the right classes.
            given: integer [answers], the classes that were given.
        """
        size = len(self.labels)
        pairs = np.ravel_multi_index(
            (np.asarray(right, dtype=np.int64), np.asarray(given, dtype=np.int64)), (size, size)
        )
        while len(pairs):
            taken = pairs[: len(self._waiting) - self._num_waiting]
            self._waiting[self._num_waiting : self._num_waiting + len(taken)] = taken
            self._num_waiting += len(taken)
            pairs = pairs[len(taken) :]
            if self._num_waiting == len(self._waiting):
                self._count()

    def cells(self) -> Cells:
        """Return the pairs of classes that occur."""
        self._count()
        right_K, given_K = np.divmod(self._pairs_K, max(1, len(self.labels)))
        return Cells(right_K, given_K, self._times_K)

    @property
    def counts_CC(self) -> np.ndarray:
        """The table of all pairs, int64 [right, given]: of few classes."""
        right_K, given_K, times_K = self.cells()
        counts_CC = np.zeros((len(self.labels), len(self.labels)), dtype=np.int64)
        counts_CC[right_K, given_K] = times_K
        return counts_CC

    @property
    def total(self) -> int:
        """Number of answers counted."""
        return int(self._times_K.sum()) + self._num_waiting

    def accuracy(self) -> float:
        """Return the share of answers that are right; 0 when there are none."""
        return float(self._sides()[0].sum() / max(1, self.total))

    def by_label(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, F1 and the number of right answers to find (`count`) of each class that occurs.

        A class occurs when it is right or given anywhere; a ratio without a denominator is 0.
        """
        hits_C, right_C, given_C = self._sides()
        return {
            label: {
                "precision": _ratio(hits_C[number], given_C[number]),
                "recall": _ratio(hits_C[number], right_C[number]),
                "f1": _ratio(2 * hits_C[number], right_C[number] + given_C[number]),
                "count": int(right_C[number]),
            }
            for number, label in enumerate(self.labels)
            if right_C[number] or given_C[number]
        }

    def macro_f1(self) -> float:
        """Return the mean F1 of the classes that occur; 0 when none does."""
        scores = [scores["f1"] for scores in self.by_label().values()]
        return sum(scores) / max(1, len(scores))

    def micro_f1(self, *, without: str | None = None) -> float:
        """Return F1 over all answers together.

        Args:
            without: a class that says that there is nothing to find ("no relation"): right or given, it does not count.
                Without such a class the score is the accuracy.
        """
        counted_C = np.array([label != without for label in self.labels])
        hits, right, given = (int(side_C[counted_C].sum()) for side_C in self._sides())
        return _ratio(2 * hits, right + given)

    def weighted_f1(self) -> float:
        """Return the mean F1 of the classes, each weighted by how often it is right; 0 when there are no answers."""
        rows = self.by_label().values()
        return _ratio(sum(row["f1"] * row["count"] for row in rows), self.total)

    def merge(self, other: "Confusion") -> None:
        """Count what another confusion of the same classes has counted."""
        same_labels(self.labels, other.labels)
        self._count()
        other._count()
        self._plus(other._pairs_K, other._times_K)

    def matthews(self) -> float:
        """Return Matthews' correlation for any number of classes (Gorodkin 2004); 0 where it is not defined."""
        hits_C, right_C, given_C = self._sides()
        # Python's integers: the products of large counts do not fit 64 bits.
        total, hits = self.total, int(hits_C.sum())
        together = sum(int(r) * int(g) for r, g in zip(right_C, given_C, strict=True))
        given = total * total - sum(int(g) ** 2 for g in given_C)
        right = total * total - sum(int(r) ** 2 for r in right_C)
        return (hits * total - together) / (sqrt(given) * sqrt(right)) if given and right else 0.0

    def metrics(self) -> dict[str, float]:
        """Return accuracy, macro-F1 and Matthews' correlation by name."""
        return {"accuracy": self.accuracy(), "macro_f1": self.macro_f1(), "matthews": self.matthews()}

    def _sides(self) -> np.ndarray:
        """Return how often each class is given rightly, is right, and is given, int64 [3, classes]."""
        right_K, given_K, times_K = self.cells()
        sides_3C = np.zeros((3, len(self.labels)), dtype=np.int64)
        is_hit_K = right_K == given_K
        np.add.at(sides_3C[0], right_K[is_hit_K], times_K[is_hit_K])
        np.add.at(sides_3C[1], right_K, times_K)
        np.add.at(sides_3C[2], given_K, times_K)
        return sides_3C

    def _count(self) -> None:
        """Count the answers that wait; next time as many may wait as there are pairs, so that few are sorted twice."""
        if self._num_waiting:
            self._plus(*np.unique(self._waiting[: self._num_waiting], return_counts=True))
            self._waiting, self._num_waiting = np.zeros(max(_WAITING, len(self._pairs_K)), dtype=np.int64), 0

    def _plus(self, pairs_K: np.ndarray, times_K: np.ndarray) -> None:
        """Count pairs that occur so often."""
        pairs = np.concatenate([self._pairs_K, pairs_K])
        self._pairs_K, place = np.unique(pairs, return_inverse=True)
        before_K, self._times_K = self._times_K, np.zeros(len(self._pairs_K), dtype=np.int64)
        np.add.at(self._times_K, place, np.concatenate([before_K, times_K]))


def same_labels(own: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Raise ConfigError when two counts that are to be merged are of other classes."""
    if own != others:
        raise ConfigError(f"Counts of the classes {own} cannot be merged with counts of {others}: give both the same.")


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
