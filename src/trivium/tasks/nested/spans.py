"""What a model says of candidate spans, and which are given: the likeliest first, as far as they go together."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, assert_never

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import Batch
from trivium.tasks.base import read_logits
from trivium.tasks.nested.windows import ELSEWHERE
from trivium.tasks.pieces import Encoded, Piece, by_examples
from trivium.tasks.read_batches import read_batches
from trivium.tasks.settings import Overlaps

_EXAMPLES = 512  # read at a time: what bounds memory


class Judged(NamedTuple):
    """The candidates of an example that are right, or likelier to be some span than none."""

    spans_S3: np.ndarray  # int64: first word, end (one past the last), the likeliest class
    log_probability_S: np.ndarray  # float64, of that class
    right_S: np.ndarray  # int64, the right class; 0 where it is no span, or is not known
    nats: float  # the cross-entropy of all candidates of the example
    looked_at: int  # how many there are


def span_classes(batch: Batch) -> Tensor:
    """Return the right class of each candidate, int64 [B * N, W]; `ELSEWHERE` where it is not looked at."""
    if batch.targets_BNC is None:
        raise TypeError("expected a batch with targets")
    used_N1 = batch.weights_BN.flatten()[:, None] > 0
    return torch.where(used_N1, batch.targets_BNC.flatten(0, 1), float(ELSEWHERE)).long()


def span_nats(scores_NWC: Tensor, classes_NW: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of the candidates that are looked at."""
    return functional.cross_entropy(
        scores_NWC.flatten(0, 1), classes_NW.flatten(), ignore_index=ELSEWHERE, reduction="sum"
    )


def judge_spans(network: nn.Module, encoded: Encoded) -> Iterator[Judged]:
    """Yield what a model says of each example, in order, a few hundred read at a time; its mode stays as it was."""
    for first, stop, pieces in by_examples(encoded, _EXAMPLES):
        yield from _judged(network, encoded, pieces, first, stop)


def _judged(network: nn.Module, encoded: Encoded, pieces: list[Piece], first: int, stop: int) -> list[Judged]:
    found: list[tuple[np.ndarray, ...]] = []
    nats_E, looked_at_E = np.zeros(stop - first), np.zeros(stop - first, dtype=np.int64)
    was_training = network.training
    network.eval()
    for _, (batch, example_BN, answer_BN) in read_batches(pieces, encoded.reading, told=encoded.told):
        log_JC, right_J, place_J, width_J = _candidates(network, batch)
        example_J = example_BN.reshape(-1)[place_J] - first
        np.add.at(nats_E, example_J, -log_JC[np.arange(len(right_J)), right_J])
        np.add.at(looked_at_E, example_J, 1)
        class_J = log_JC.argmax(axis=1)
        kept = np.flatnonzero((class_J > 0) | (right_J > 0))
        word = answer_BN.reshape(-1)[place_J[kept]]
        spans_S3 = np.stack([word, word + width_J[kept] + 1, class_J[kept]], axis=1)
        found.append((example_J[kept], spans_S3, log_JC[kept, class_J[kept]], right_J[kept]))
    network.train(was_training)
    example_S, spans_S3, log_S, right_S = map(np.concatenate, zip(_NONE, *found, strict=True))
    # The order does not tell which batch a candidate was read in.
    order = np.lexsort((spans_S3[:, 1], spans_S3[:, 0], example_S))
    edges = np.searchsorted(example_S[order], np.arange(stop - first + 1))
    return [
        Judged(spans_S3[mine], log_S[mine], right_S[mine], float(nats_E[number]), int(looked_at_E[number]))
        for number, mine in enumerate(order[a:b] for a, b in pairwise(edges))
    ]


def _candidates(network: nn.Module, batch: Batch) -> tuple[np.ndarray, ...]:
    """Return of the candidates of a batch the classes' log-probabilities, right class, place of first word, width."""
    classes_NW = span_classes(batch)
    place_J, width_J = torch.nonzero(classes_NW != ELSEWHERE, as_tuple=True)
    log_JC = read_logits(network, batch)[place_J, width_J].log_softmax(-1)
    return tuple(each.numpy() for each in (log_JC, classes_NW[place_J, width_J], place_J, width_J))


def chosen_spans(spans_S3: np.ndarray, worth_S: np.ndarray, overlaps: Overlaps) -> np.ndarray:
    """Return the numbers of the spans that are given, int64, in the order of the text, longer ones first.

    Spans are taken by their worth, of equal ones the first of the text, unless they do not go with those taken before
    (Yu, Bohnet & Poesio 2020, section 3): "nested" ones may lie inside each other but not cross, of "none" no two share
    a word, of "crossing" all are taken. A span costs as much time as it has words, however many were taken.

    `Differs from Yu et al.:` theirs are sorted by the class's score before the softmax; here by probability, so that
    what is printed as a span's score says which one of two is given.

    Args:
        spans_S3: first word, end (one past the last) and class; none twice in one place.
        worth_S: the higher, the earlier it is taken.
        overlaps: which of them go together.
    """
    first_S, end_S = spans_S3[:, 0], spans_S3[:, 1]
    order, num_words = np.lexsort((-end_S, first_S, -worth_S)), int(end_S.max(initial=0))
    farthest_end = np.zeros(num_words + 1, dtype=np.int64)  # by the first word of the spans that were taken
    earliest_first = np.full(num_words + 1, num_words, dtype=np.int64)  # by their end
    covered = np.zeros(num_words + 1, dtype=bool)
    taken = []
    for number in order.tolist():
        first, end = int(first_S[number]), int(end_S[number])
        match overlaps:
            case "none":
                fits = not covered[first:end].any()
            case "nested":
                inside = slice(first + 1, end)
                fits = not ((farthest_end[inside] > end).any() or (earliest_first[inside] < first).any())
            case "crossing":
                fits = True
            case _:
                assert_never(overlaps)
        if fits:
            taken.append(number)
            covered[first:end] = True
            farthest_end[first] = max(farthest_end[first], end)
            earliest_first[end] = min(earliest_first[end], first)
    chosen = np.array(taken, dtype=np.int64)
    return chosen[np.lexsort((-end_S[chosen], first_S[chosen]))]


def overlaps_of(places: Iterable[tuple[int, int]]) -> Overlaps:
    """Return how the spans of a text overlap: some cross, else some lie inside others, else none do.

    Args:
        places: first word and end (one past the last) of each; the same place twice counts as once.
    """
    found: Overlaps = "none"
    spans = sorted(set(places), key=lambda span: (span[0], -span[1]))
    around: list[int] = []  # the ends of those that hold this place, the innermost last
    for first, end in spans:
        while around and around[-1] <= first:
            around.pop()
        if around:
            if end > around[-1]:
                return "crossing"
            found = "nested"
        around.append(end)
    return found


_NONE = (
    np.zeros(0, dtype=np.int64),
    np.zeros((0, 3), dtype=np.int64),
    np.zeros(0),
    np.zeros(0, dtype=np.int64),
)
