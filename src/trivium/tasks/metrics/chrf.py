"""chrF and chrF++ of a corpus, as sacrebleu computes them (Popović 2015, 2017)."""

import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from trivium.core.errors import DataError

_CHARACTERS, _BETA = 6, 2
_SIGNS = frozenset(string.punctuation)


class Chrf:
    """F-score (recall weighs twice) of runs of 1 to 6 characters, from counts that are added up in constant memory.

    Args:
        words: runs of 1 to this many words count, too: 0 is chrF, 2 is chrF++.
    """

    def __init__(self, words: int = 0) -> None:
        self.words = words
        self.counts_O3 = np.zeros((_CHARACTERS + words, 3), dtype=np.int64)  # by order: in the text, reference, both

    def add(self, given: str, references: Sequence[str]) -> np.ndarray:
        """Count one text with the reference it scores best with; return its counts, int64 [orders, 3].

        Raises:
            DataError: there is no reference.
        """
        if not references:
            raise DataError("chrF needs at least one reference for each text, found none: give one, or leave it out.")
        grams = _grams(given, self.words)
        candidates = [_counts(grams, _grams(reference, self.words)) for reference in references]
        best = max(candidates, key=chrf_of_counts)
        self.counts_O3 += best
        return best

    def merge(self, other: "Chrf") -> None:
        """Count what another with the same orders has counted."""
        self.counts_O3 += other.counts_O3

    def metrics(self) -> dict[str, float]:
        """Return `chrf`, or `chrf++` where words count, 0 to 1."""
        return {"chrf++" if self.words else "chrf": chrf_of_counts(self.counts_O3)}


def chrf_of_counts(counts_O3: np.ndarray) -> float:
    """Return the score, 0 to 1, of counts by order: runs of the text, of the reference, and of both.

    Precision and recall are means over the orders that either side has, their F-score is taken afterwards.
    """
    used_O3 = counts_O3[(counts_O3[:, 0] > 0) & (counts_O3[:, 1] > 0)].astype(np.float64)
    if not used_O3[:, 2].any():
        return 0.0
    precision, recall = (used_O3[:, 2] / used_O3[:, 0]).mean(), (used_O3[:, 2] / used_O3[:, 1]).mean()
    return float((1 + _BETA**2) * precision * recall / (_BETA**2 * precision + recall))


def _grams(text: str, words: int) -> list[Counter[str]]:
    """Return how often each run of characters occurs, white space left out, and each run of words, by order."""
    characters = "".join(text.split())
    found = [_runs(characters, size) for size in range(1, _CHARACTERS + 1)]
    if words:
        tokens = [token for word in text.split() for token in _without_sign(word)]
        found += [
            Counter(" ".join(tokens[first : first + size]) for first in range(len(tokens) - size + 1))
            for size in range(1, words + 1)
        ]
    return found


def _runs(characters: str, size: int) -> Counter[str]:
    return Counter(characters[first : first + size] for first in range(len(characters) - size + 1))


def _without_sign(word: str) -> list[str]:
    """Return a word and one sign at its end, or else at its beginning, apart."""
    if len(word) > 1 and word[-1] in _SIGNS:
        return [word[:-1], word[-1]]
    if len(word) > 1 and word[0] in _SIGNS:
        return [word[0], word[1:]]
    return [word]


def _counts(given: Sequence[Counter[str]], right: Sequence[Counter[str]]) -> np.ndarray:
    """Return counts by order; those of the text are 0 where the reference has no run of that order."""
    return np.array(
        [
            (mine.total() if wanted else 0, wanted.total(), (mine & wanted).total())
            for mine, wanted in zip(given, right, strict=True)
        ],
        dtype=np.int64,
    )
