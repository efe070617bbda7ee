"""Counts of what was to be found, what was given and what of it was right; and who is paired with whom."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple


class Found(NamedTuple):
    """Counts that precision, recall and F1 are made of; `hits` may hold halves."""

    hits: float = 0
    right: int = 0
    given: int = 0

    def plus(self, other: "Found") -> "Found":
        """Return the counts of both."""
        return Found(self.hits + other.hits, self.right + other.right, self.given + other.given)

    @property
    def precision(self) -> float:
        """The share of what was given that is right; 0 when nothing was given."""
        return self.hits / self.given if self.given else 0.0

    @property
    def recall(self) -> float:
        """The share of what was to be found that was given; 0 when there was nothing."""
        return self.hits / self.right if self.right else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 when both are."""
        return 2 * self.hits / (self.right + self.given) if self.right + self.given else 0.0

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """Return precision, recall and F1 by name."""
        return {f"{prefix}precision": self.precision, f"{prefix}recall": self.recall, f"{prefix}f1": self.f1}


def most_pairs(near: Sequence[Sequence[int]]) -> int:
    """Return how many pairs can be made at most when none is in two of them.

    Augmenting paths, breadth first (Berge 1957): exact for any overlap, where taking the first fit is not.

    Args:
        near: for each on the left, those on the right that it may be paired with.
    """
    owner: dict[int, int] = {}
    partner: dict[int, int] = {}
    return sum(_augment(left, near, owner, partner) for left in range(len(near)))


def overlapping(left: Sequence[tuple[int, int]], right: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return for each interval [start, end) on the left the numbers of those on the right that it overlaps."""
    by_start = sorted(range(len(right)), key=lambda number: right[number])
    near: dict[int, list[int]] = defaultdict(list)
    first, reach = 0, [0] * len(right)  # reach: the furthest end of those up to this one
    for place, number in enumerate(by_start):
        reach[place] = max(right[number][1], reach[place - 1] if place else 0)
    for mine in sorted(range(len(left)), key=lambda number: left[number]):
        start, end = left[mine]
        while first < len(right) and reach[first] <= start:
            first += 1
        for place in range(first, len(right)):
            begin, stop = right[by_start[place]]
            if begin >= end:
                break
            if stop > start:
                near[mine].append(by_start[place])
    return [near[number] for number in range(len(left))]


def _augment(left: int, near: Sequence[Sequence[int]], owner: dict[int, int], partner: dict[int, int]) -> bool:
    """Pair one more on the left if a path of changes allows it."""
    came: dict[int, int] = {}
    queue = [left]
    for mine in queue:
        for right in near[mine]:
            if right in came:
                continue
            came[right] = mine
            if right in owner:
                queue.append(owner[right])
                continue
            free: int | None = right
            while free is not None:  # back along the path, each takes what the next one leaves
                taker = came[free]
                owner[free], partner[taker], free = taker, free, partner.get(taker)
            return True
    return False
