"""BLEU of a corpus, as sacrebleu computes it (Papineni et al. 2002; Post 2018)."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from trivium.core.errors import DataError
from trivium.tasks.metrics.rouge import Grams, grams
from trivium.tasks.metrics.text_units import split_13a

ORDER = 4


class Bleu:
    """BLEU from counts that are added up, in memory that does not grow with the texts.

    Args:
        split: `split_13a` (sacrebleu's default), `split_zh` for Chinese, `split_words` for any script.
    """

    def __init__(self, split: Callable[[str], list[str]] = split_13a) -> None:
        self.split = split
        self.counts = np.zeros(2 + 2 * ORDER, dtype=np.int64)

    def add(self, given: str, references: Sequence[str]) -> np.ndarray:
        """Count one text and return its counts, see `bleu_counts`."""
        counts = bleu_counts(given, references, self.split)
        self.counts += counts
        return counts

    def merge(self, other: "Bleu") -> None:
        """Count what another has counted."""
        self.counts += other.counts

    def metrics(self) -> dict[str, float]:
        """Return `bleu`, 0 to 1."""
        return {"bleu": float(bleu_of_counts(self.counts))}


def bleu_counts(given: str, references: Sequence[str], split: Callable[[str], list[str]] = split_13a) -> np.ndarray:
    """Return what BLEU is made of, int64 [10]: the sum over texts of these counts is all that a corpus needs.

    The length of the text and of the reference that is nearest to it in length (the shorter of two), then for runs of 1
    to 4 tokens how many are in a reference, then how many there are.

    Raises:
        DataError: there is no reference.
    """
    if not references:
        raise DataError("BLEU needs at least one reference for each text, found none: give one, or leave the text out.")
    words = split(given)
    rights = [split(reference) for reference in references]
    nearest = min((abs(len(words) - len(right)), len(right)) for right in rights)[1]
    hits, totals = [], []
    for size in range(1, ORDER + 1):
        wanted: Grams = Counter()
        for right in rights:
            wanted |= grams(right, size)
        found = grams(words, size)
        hits.append((found & wanted).total())
        totals.append(found.total())
    return np.array([len(words), nearest, *hits, *totals], dtype=np.int64)


def bleu_of_counts(counts: np.ndarray) -> np.ndarray:
    """Return BLEU, 0 to 1, of counts as `bleu_counts` gives them, [..., 10].

    Orders without a hit are smoothed exponentially (sacrebleu's `exp`). Without any hit it is 0, and so it is where no
    text has 4 tokens.
    """
    counts = np.asarray(counts, dtype=np.float64)
    scores = np.array([_bleu(row) for row in counts.reshape(-1, counts.shape[-1])])
    return scores.reshape(counts.shape[:-1])


def _bleu(counts: np.ndarray) -> float:
    given, right = counts[:2]
    hits, totals = counts[2 : 2 + ORDER], counts[2 + ORDER :]
    if not hits.any() or not totals.all():
        return 0.0
    logarithms, smooth = 0.0, 1.0
    for hit, total in zip(hits, totals, strict=True):
        if not hit:
            smooth *= 2
        logarithms += math.log(hit / total if hit else 1 / (smooth * total))
    short = min(0.0, 1.0 - right / given)
    return math.exp(short + logarithms / ORDER)
