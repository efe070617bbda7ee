"""Scores of relations between spans, from counts that are added up."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from trivium.tasks.metrics.matching import Found
from trivium.tasks.metrics.spans import Span

Relation = tuple[Span, Span, str]  # head, tail, label
_DIRECTION = re.compile(r"\(e[12],e[12]\)\Z")


class Relations:
    """A relation, or none, for each pair of spans, in memory that does not grow with the examples.

    Args:
        none: the label that says that there is no relation; it is not scored.
    """

    def __init__(self, none: str = "Other") -> None:
        self.none = none
        self.counts: Counter[tuple[str, str]] = Counter()  # by (right, given)

    def add(self, right: Sequence[str], given: Sequence[str]) -> None:
        """Count the right and the given label of each pair; a direction is written "Cause-Effect(e2,e1)"."""
        self.counts.update(zip(right, given, strict=True))

    def merge(self, other: "Relations") -> None:
        """Count what another has counted."""
        self.counts.update(other.counts)

    def by_relation(self) -> dict[str, Found]:
        """Return the counts of each relation that is right or given, both directions together, each as it should be."""
        found: dict[str, Found] = {}
        for (right, given), count in self.counts.items():
            if right != self.none:
                hit = Found(count if right == given else 0, count, 0)
                found[_relation(right)] = found.get(_relation(right), Found()).plus(hit)
            if given != self.none:
                found[_relation(given)] = found.get(_relation(given), Found()).plus(Found(0, 0, count))
        return {relation: found[relation] for relation in sorted(found)}

    def numbers(self) -> Counter[tuple[float, ...]]:
        """Return how often each row of numbers occurs that `macro_f1` and `micro_f1` are made of.

        They are, of a pair, the hits of each relation, then the right ones of each, then the given ones.
        """
        names = list(self.by_relation())
        place = {name: number for number, name in enumerate(names)}
        counted: Counter[tuple[float, ...]] = Counter()
        for (right, given), count in self.counts.items():
            row = [0.0] * (3 * len(names))
            if right != self.none:
                row[place[_relation(right)]] += right == given
                row[len(names) + place[_relation(right)]] += 1
            if given != self.none:
                row[2 * len(names) + place[_relation(given)]] += 1
            counted[tuple(row)] += count
        return counted

    def metrics(self) -> dict[str, float]:
        """Return micro-averaged precision, recall and F1, macro-F1 and accuracy.

        `macro_f1` is SemEval-2010 task 8's official score (Hendrickx et al. 2010): the mean over the relations that are
        right somewhere, both directions of one together, where only the right direction is a hit, without `none`.
        """
        found = self.by_relation()
        every = Found()
        for counts in found.values():
            every = every.plus(counts)
        scores = [counts.f1 for counts in found.values() if counts.right]
        right = sum(count for (label, given), count in self.counts.items() if label == given)
        return every.metrics("micro_") | {
            "macro_f1": sum(scores) / max(1, len(scores)),
            "accuracy": right / max(1, self.counts.total()),
        }


class JointRelations:
    """Relations found together with the spans they hold between, as sets: one named twice counts once.

    A relation is right when its label and both of its spans are. Strict (Bekoulis et al. 2018): start, end and label of
    either span; boundaries: start and end of either span.
    """

    def __init__(self) -> None:
        self.strict = self.boundaries = Found()

    def add(self, right: Iterable[Relation], given: Iterable[Relation]) -> Found:
        """Count one example's relations and return its strict counts."""
        rights, givens = set(right), set(given)
        here = Found(len(rights & givens), len(rights), len(givens))
        self.strict = self.strict.plus(here)
        rights_2, givens_2 = ({(head[:2], tail[:2], label) for head, tail, label in side} for side in (rights, givens))
        self.boundaries = self.boundaries.plus(Found(len(rights_2 & givens_2), len(rights_2), len(givens_2)))
        return here

    def merge(self, other: "JointRelations") -> None:
        """Count what another has counted."""
        self.strict = self.strict.plus(other.strict)
        self.boundaries = self.boundaries.plus(other.boundaries)

    def metrics(self) -> dict[str, float]:
        """Return strict precision, recall and F1, and F1 by boundaries."""
        return self.strict.metrics() | {"boundaries_f1": self.boundaries.f1}


def macro_f1(sums: np.ndarray, count: object = None) -> np.ndarray:
    """Return SemEval's macro-F1 of each sample, [samples], from the sums of `Relations.numbers`."""
    hits, right, given = np.split(sums, 3, axis=1)
    scores: np.ndarray = 2 * hits / np.maximum(right + given, 1)
    return (scores * (right > 0)).sum(axis=1) / np.maximum((right > 0).sum(axis=1), 1)


def micro_f1(sums: np.ndarray, count: object = None) -> np.ndarray:
    """Return micro-F1 of each sample, [samples], from the sums of `Relations.numbers`."""
    hits, right, given = (side.sum(axis=1) for side in np.split(sums, 3, axis=1))
    return 2 * hits / np.maximum(right + given, 1)


def _relation(label: str) -> str:
    return _DIRECTION.sub("", label)
