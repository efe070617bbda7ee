"""How varied generated texts are: the share of runs of words that are different (Li et al. 2016)."""

from hashlib import blake2b
from itertools import pairwise

import numpy as np

from trivium.tasks.metrics.text_units import content_words

_WAITING = 65_536  # hashes that are kept before they are sorted in


class Distinct:
    """Distinct-1 and distinct-2 of all texts together.

    8 bytes are kept for each *different* word or pair of words (a hash of 64 bits), none for an example: texts of one
    language repeat themselves. `Differs from Li et al. 2016:` pairs are divided by the number of pairs, not of words,
    as is common today, so that 1 can be reached.
    """

    def __init__(self) -> None:
        self._runs = (_Different(), _Different())

    def add(self, given: str) -> None:
        """Count one text's words and pairs of words."""
        words = content_words(given)
        self._runs[0].add(words)
        self._runs[1].add([f"{first} {second}" for first, second in pairwise(words)])

    def merge(self, other: "Distinct") -> None:
        """Count what another has counted."""
        for own, others in zip(self._runs, other._runs, strict=True):
            own.merge(others)

    def metrics(self) -> dict[str, float]:
        """Return `distinct_1` and `distinct_2`, 0 to 1; 0 where there is nothing to count."""
        return {f"distinct_{size}": runs.share() for size, runs in enumerate(self._runs, start=1)}


class _Different:
    def __init__(self) -> None:
        self.total = 0
        self._known = np.empty(0, dtype=np.uint64)
        self._waiting: set[int] = set()

    def add(self, runs: list[str]) -> None:
        self.total += len(runs)
        for run in runs:
            self._waiting.add(int.from_bytes(blake2b(run.encode("utf-8", "surrogatepass"), digest_size=8).digest()))
        if len(self._waiting) >= _WAITING:
            self._settle()

    def merge(self, other: "_Different") -> None:
        self.total += other.total
        other._settle()
        self._known = np.union1d(self._known, other._known)

    def share(self) -> float:
        self._settle()
        return len(self._known) / self.total if self.total else 0.0

    def _settle(self) -> None:
        self._known = np.union1d(self._known, np.fromiter(self._waiting, dtype=np.uint64, count=len(self._waiting)))
        self._waiting = set()
