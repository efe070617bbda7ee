"""How well scores put the right examples before the others: the area under the ROC curve, exact."""

import numpy as np

from trivium.core.errors import ConfigError
from trivium.tasks.metrics.kept import Kept, require_ordered

MOST_CLASSES = 7  # a float32 a class and a bit a class, which are the right ones: 29 bytes an example


class RocArea:
    """The area under the ROC curve of a yes-or-no question; 4 bytes an example are kept.

    Scores are kept as float32, so give log-probabilities or logits: probabilities near 1 would become ties.
    """

    def __init__(self) -> None:
        self._yes, self._no = Kept(), Kept()

    def add(self, scores_A: np.ndarray, right_A: np.ndarray) -> None:
        """Keep scores [answers], higher for yes, and whether yes is right, bool [answers].

        Raises:
            DataError: a score is not a number.
        """
        right_A = np.asarray(right_A, dtype=bool)
        scores_A = np.asarray(scores_A)
        require_ordered(scores_A)
        self._yes.add(scores_A[right_A])
        self._no.add(scores_A[~right_A])

    def merge(self, other: "RocArea") -> None:
        """Keep what another has kept."""
        self._yes.merge(other._yes)
        self._no.merge(other._no)

    def metrics(self) -> dict[str, float]:
        """Return `auc`, the share of pairs (yes, no) in order, ties half; 0.5 where all answers are the same."""
        return {"auc": _area(self._yes.column(), self._no.column())}


class OneVersusRest:
    """The mean area under the ROC curve of each class against the others, for up to 7 classes (29 bytes an example).

    Args:
        num_classes: C.

    Raises:
        ConfigError: more than 7 classes.
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes <= MOST_CLASSES:
            raise ConfigError(
                f"The area under the ROC curve is kept for 1 to {MOST_CLASSES} classes, found {num_classes}: use F1."
            )
        self._scores, self._right = Kept(num_classes), Kept(dtype=np.uint8)

    def add(self, scores_AC: np.ndarray, right: np.ndarray) -> None:
        """Keep scores [answers, classes] and what is right.

        Args:
            scores_AC: the higher, the likelier the class; see `RocArea`.
            right: the right class, integer [answers]; or any number of right ones, bool [answers, classes].

        Raises:
            DataError: a score is not a number.
        """
        require_ordered(np.asarray(scores_AC))
        right, classes_C = np.asarray(right), np.arange(self._scores.width)
        right_AC = right if right.ndim == 2 else right[:, None] == classes_C
        self._scores.add(scores_AC)
        self._right.add((right_AC << classes_C).sum(axis=1))

    def merge(self, other: "OneVersusRest") -> None:
        """Keep what another has kept."""
        self._scores.merge(other._scores)
        self._right.merge(other._right)

    def metrics(self) -> dict[str, float]:
        """Return `macro_auc`, the mean over classes that are right somewhere and not everywhere; 0.5 if none is."""
        bits_A = self._right.column()
        areas = []
        for number in range(self._scores.width):
            yes_A = (bits_A >> number & 1).astype(bool)
            if 0 < np.count_nonzero(yes_A) < len(yes_A):
                scores_A = self._scores.column(number)
                areas.append(_area(scores_A[yes_A], scores_A[~yes_A]))
        return {"macro_auc": sum(areas) / len(areas) if areas else 0.5}


def _area(yes: np.ndarray, no: np.ndarray) -> float:
    """Return the share of pairs in order, counted by Mann and Whitney's sum; sorts `no`."""
    if not len(yes) or not len(no):
        return 0.5
    no.sort()
    in_order = int(np.searchsorted(no, yes, side="left").sum()) + int(np.searchsorted(no, yes, side="right").sum())
    return in_order / (2 * len(yes) * len(no))
