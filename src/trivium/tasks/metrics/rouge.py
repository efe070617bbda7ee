"""ROUGE (Lin 2004) in any script: words and characters in common with a reference, as F1."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from trivium.core.errors import DataError
from trivium.tasks.metrics.text_units import content_words

Grams = Counter[tuple[str, ...]]


class RougeScore(NamedTuple):
    """F1 of one text, each 0 to 1."""

    rouge1: float
    rouge2: float
    rougeL: float  # longest common subsequence


class Rouge:
    """Means over texts, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._sums = [0.0] * len(RougeScore._fields)
        self._count = 0

    def add(self, given: str, references: Sequence[str]) -> RougeScore:
        """Count one text and return its scores, see `rouge_score`."""
        score = rouge_score(given, references)
        self._sums = [total + value for total, value in zip(self._sums, score, strict=True)]
        self._count += 1
        return score

    def merge(self, other: "Rouge") -> None:
        """Count what another has counted."""
        self._sums = [own + others for own, others in zip(self._sums, other._sums, strict=True)]
        self._count += other._count

    def metrics(self) -> dict[str, float]:
        """Return the mean of each score; 0 when there are none."""
        return {name: total / max(1, self._count) for name, total in zip(RougeScore._fields, self._sums, strict=True)}


def rouge_score(given: str, references: Sequence[str]) -> RougeScore:
    """Return the scores of one text, each the best over its references.

    `Differs from rouge-score:` words are Unicode's and each Han or Kana character is one, where it keeps a-z and 0-9
    only; and where neither text has a pair of words, equal texts score 1. Where neither has a word at all (signs
    alone, or nothing), the texts themselves are compared: 1 where they are equal but for white space, else 0.

    Args:
        given: the text.
        references: right texts.

    Raises:
        DataError: there is no reference.
    """
    if not references:
        raise DataError(
            "ROUGE needs at least one reference for each text, found none: give one, or leave the text out."
        )
    words = content_words(given)
    best = [0.0] * len(RougeScore._fields)
    for reference in references:
        right = content_words(reference)
        if words or right:
            score = _one(words, right)
        else:
            score = RougeScore(*[float(given.split() == reference.split())] * len(RougeScore._fields))
        best = [max(pair) for pair in zip(best, score, strict=True)]
    return RougeScore(*best)


def _one(given: list[str], right: list[str]) -> RougeScore:
    if given == right:
        return RougeScore(1.0, 1.0, 1.0)
    return RougeScore(
        _overlap(grams(given, 1), grams(right, 1)),
        _overlap(grams(given, 2), grams(right, 2)),
        _f1(longest_common(given, right), len(given), len(right)),
    )


def grams(words: Sequence[str], size: int) -> Grams:
    """Return how often each run of `size` words occurs."""
    return Counter(zip(*(words[first:] for first in range(size)), strict=False))


def longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, all of `left` at once as bits of an integer (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(left)) - 1
    free = whole
    for word in right:
        matched = free & places.get(word, 0)
        free = ((free + matched) | (free - matched)) & whole
    return len(left) - free.bit_count()


def _overlap(given: Grams, right: Grams) -> float:
    return _f1((given & right).total(), given.total(), right.total())


def _f1(hits: int, given: int, right: int) -> float:
    return 2 * hits / (given + right) if hits else 0.0
