"""Scores of questions that have any number of right classes, in memory that does not grow with the examples."""

from collections.abc import Sequence

import numpy as np

from trivium.tasks.metrics.confusion import same_labels


class MultiLabel:
    """Each class of each example is a question of its own.

    Args:
        labels: the classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.hits_C, self.right_C, self.given_C = np.zeros((3, len(self.labels)), dtype=np.int64)
        self.exact = self.total = 0

    def add(self, right_AC: np.ndarray, given_AC: np.ndarray) -> None:
        """Count the right and the given classes, both bool [answers, classes]."""
        right_AC, given_AC = np.asarray(right_AC, dtype=bool), np.asarray(given_AC, dtype=bool)
        self.hits_C += (right_AC & given_AC).sum(axis=0)
        self.right_C += right_AC.sum(axis=0)
        self.given_C += given_AC.sum(axis=0)
        self.exact += int((right_AC == given_AC).all(axis=1).sum())
        self.total += len(right_AC)

    def merge(self, other: "MultiLabel") -> None:
        """Count what another of the same classes has counted."""
        same_labels(self.labels, other.labels)
        self.hits_C += other.hits_C
        self.right_C += other.right_C
        self.given_C += other.given_C
        self.exact += other.exact
        self.total += other.total

    def f1_C(self) -> np.ndarray:
        """Return the F1 of each class; 0 where it neither is right nor is given."""
        return 2 * self.hits_C / np.maximum(self.right_C + self.given_C, 1)

    def metrics(self) -> dict[str, float]:
        """Return micro- and macro-F1, the mean over all classes, and the share of examples without any mistake."""
        wanted = int(self.right_C.sum() + self.given_C.sum())
        return {
            "micro_f1": 2 * int(self.hits_C.sum()) / max(1, wanted),
            "macro_f1": float(self.f1_C().mean()) if self.labels else 0.0,
            "subset_accuracy": self.exact / max(1, self.total),
        }
