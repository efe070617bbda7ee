"""Scores of labelled spans, from counts that are added up, in memory that does not grow with the examples."""

from collections import Counter
from collections.abc import Iterable, Sequence

from trivium.core.errors import DataError
from trivium.tasks.metrics.matching import Found, most_pairs, overlapping

Span = tuple[int, int, str]  # start, end (one past the last), label


class Spans:
    """What of the right spans was found.

    A span that is named twice in one example counts once, on either side. Four ways to count:

    - strict: start, end and label are right. Equal to seqeval's default mode on the same spans.
    - boundaries: start and end are right, whatever the label.
    - partial (as in MUC-5, Chinchor & Sundheim 1993): labels are not looked at; a span with the right start and end
      counts 1, one that overlaps a right span counts a half. A span is in one pair at most: spans that are equal are
      paired first, of the rest as many as possible. `Differs from nervaluate:` its pairs depend on the spans' order
      where spans of one side overlap; elsewhere both are the same.
    - type: the label is right and the spans overlap; again as many pairs as possible. `Differs from nervaluate:` a
      span of another label does not use up the right one.
    """

    def __init__(self) -> None:
        self.strict: dict[str, Found] = {}
        self.boundaries = self.partial = self.type = Found()

    def add(self, right: Iterable[Span], given: Iterable[Span], lost: Sequence[str] = ()) -> Found:
        """Count one example's spans and return its strict counts.

        Args:
            right, given: the spans.
            lost: the labels of right spans that could not be given, each missed.

        Raises:
            DataError: a span that is empty or begins before 0.
        """
        rights, givens = sorted(set(right)), sorted(set(given))
        _check([*rights, *givens])
        hits = set(rights) & set(givens)
        for side in (0, 1):
            for label, count in Counter(label for *_, label in (rights, givens)[side]).items():
                here = Found(0, count, 0) if side == 0 else Found(0, 0, count)
                self.strict[label] = self.strict.get(label, Found()).plus(here)
        for label in lost:
            self.strict[label] = self.strict.get(label, Found()).plus(Found(0, 1, 0))
        for *_, label in hits:
            self.strict[label] = self.strict[label].plus(Found(1))
        rights_2, givens_2 = [span[:2] for span in rights], [span[:2] for span in givens]
        equal = Counter(rights_2) & Counter(givens_2)
        sizes = (len(rights) + len(lost), len(givens))
        self.boundaries = self.boundaries.plus(Found(equal.total(), *sizes))
        halves = most_pairs(overlapping(_without(givens_2, equal), _without(rights_2, equal)))
        self.partial = self.partial.plus(Found(equal.total() + halves / 2, *sizes))
        self.type = self.type.plus(Found(_of_one_type(rights, givens), *sizes))
        return Found(len(hits), *sizes)

    def merge(self, other: "Spans") -> None:
        """Count what another has counted."""
        for label, found in other.strict.items():
            self.strict[label] = self.strict.get(label, Found()).plus(found)
        self.boundaries = self.boundaries.plus(other.boundaries)
        self.partial = self.partial.plus(other.partial)
        self.type = self.type.plus(other.type)

    def by_label(self) -> dict[str, dict[str, float]]:
        """Return strict precision, recall, F1 and the number of spans to find (`count`) of each label that occurs."""
        return {
            label: self.strict[label].metrics() | {"count": self.strict[label].right} for label in sorted(self.strict)
        }

    def metrics(self) -> dict[str, float]:
        """Return strict precision, recall and F1 over all spans and as means over labels, and F1 counted other ways."""
        every = Found()
        for found in self.strict.values():
            every = every.plus(found)
        count = max(1, len(self.strict))
        return every.metrics() | {
            "macro_precision": sum(found.precision for found in self.strict.values()) / count,
            "macro_recall": sum(found.recall for found in self.strict.values()) / count,
            "macro_f1": sum(found.f1 for found in self.strict.values()) / count,
            "weighted_f1": sum(found.f1 * found.right for found in self.strict.values()) / max(1, every.right),
            "partial_f1": self.partial.f1,
            "type_f1": self.type.f1,
            "boundaries_f1": self.boundaries.f1,
        }


def _check(spans: Sequence[Span]) -> None:
    for start, end, label in spans:
        if not 0 <= start < end:
            raise DataError(
                f"A span is (start, end, label) with 0 <= start < end, end one past the last; "
                f"found ({start}, {end}, {label!r})."
            )


def _without(spans: Sequence[tuple[int, int]], equal: Counter[tuple[int, int]]) -> list[tuple[int, int]]:
    return list((Counter(spans) - equal).elements())


def _of_one_type(rights: Sequence[Span], givens: Sequence[Span]) -> int:
    labels = {label for *_, label in rights} & {label for *_, label in givens}
    pairs = 0
    for wanted in labels:
        sides = [[span[:2] for span in side if span[2] == wanted] for side in (givens, rights)]
        pairs += most_pairs(overlapping(*sides))
    return pairs
