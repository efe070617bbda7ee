"""Scores of classes from counts that are added up, in memory that does not grow with the examples."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from trivium.core.errors import ConfigError


class Confusion:
    """How often each class was given for each right one.

    Args:
        labels: the classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.counts_CC = np.zeros((len(self.labels), len(self.labels)), dtype=np.int64)  # [right, given]

    def add(self, right: np.ndarray, given: np.ndarray) -> None:
        """Count answers.

        Args:
            right: integer [answers], the right classes.
            given: integer [answers], the classes that were given.
        """
        size = len(self.labels)
        pairs = np.asarray(right, dtype=np.int64) * size + np.asarray(given, dtype=np.int64)
        self.counts_CC += np.bincount(pairs, minlength=size * size).reshape(size, size)

    @property
    def total(self) -> int:
        """Number of answers counted."""
        return int(self.counts_CC.sum())

    def accuracy(self) -> float:
        """Return the share of answers that are right; 0 when there are none."""
        return float(np.trace(self.counts_CC) / max(1, self.total))

    def by_label(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, F1 and the number of right answers to find (`count`) of each class that occurs.

        A class occurs when it is right or given anywhere; a ratio without a denominator is 0.
        """
        hits_C = np.diagonal(self.counts_CC)
        right_C, given_C = self.counts_CC.sum(axis=1), self.counts_CC.sum(axis=0)
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
        hits = int(np.diagonal(self.counts_CC)[counted_C].sum())
        right, given = (int(self.counts_CC.sum(axis=axis)[counted_C].sum()) for axis in (1, 0))
        return _ratio(2 * hits, right + given)

    def weighted_f1(self) -> float:
        """Return the mean F1 of the classes, each weighted by how often it is right; 0 when there are no answers."""
        rows = self.by_label().values()
        return _ratio(sum(row["f1"] * row["count"] for row in rows), self.total)

    def merge(self, other: "Confusion") -> None:
        """Count what another confusion of the same classes has counted."""
        same_labels(self.labels, other.labels)
        self.counts_CC += other.counts_CC

    def matthews(self) -> float:
        """Return Matthews' correlation for any number of classes (Gorodkin 2004); 0 where it is not defined."""
        right_C, given_C = self.counts_CC.sum(axis=1), self.counts_CC.sum(axis=0)
        # Python's integers: the products of large counts do not fit 64 bits.
        total, hits = self.total, int(np.trace(self.counts_CC))
        together = sum(int(r) * int(g) for r, g in zip(right_C, given_C, strict=True))
        given = total * total - sum(int(g) ** 2 for g in given_C)
        right = total * total - sum(int(r) ** 2 for r in right_C)
        return (hits * total - together) / (sqrt(given) * sqrt(right)) if given and right else 0.0

    def metrics(self) -> dict[str, float]:
        """Return accuracy, macro-F1 and Matthews' correlation by name."""
        return {"accuracy": self.accuracy(), "macro_f1": self.macro_f1(), "matthews": self.matthews()}


def same_labels(own: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Raise ConfigError when two counts that are to be merged are of other classes."""
    if own != others:
        raise ConfigError(f"Counts of the classes {own} cannot be merged with counts of {others}: give both the same.")


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
