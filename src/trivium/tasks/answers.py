"""What a fine-tuned model answers, and how good that is: every answer of every example is given and counted."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from trivium.data.packing import first_fit
from trivium.tasks.base import class_logits
from trivium.tasks.metrics import Confusion
from trivium.tasks.pieces import Encoded, Piece, pack, row_capacity

ROWS = 16
_EXAMPLES = 256  # read at a time: what bounds memory


class Answers(NamedTuple):
    """The answers of one example."""

    log_probabilities_AC: np.ndarray  # float64, averaged over the windows that give the answer, and normalised
    windows_A: np.ndarray  # int64, how many windows gave it


class Scores(NamedTuple):
    """How good a model's answers to a set of examples are."""

    metrics: dict[str, float]  # accuracy, macro_f1, matthews, loss (nats an answer), coverage
    confusion: Confusion


def answers(network: nn.Module, encoded: Encoded, *, num_classes: int, rows: int = ROWS) -> Iterator[Answers]:
    """Yield the answers to each example, in order, reading packed rows of a few hundred examples at a time.

    Args:
        network: a `TaskModel`, in any type; it is left in the mode (training or not) it was in.
        encoded: the examples.
        num_classes: C.
        rows: rows read at once.
    """
    starts = [*range(0, len(encoded.gold), _EXAMPLES), len(encoded.gold)]
    owners = [piece.example for piece in encoded.pieces]
    for first, stop in pairwise(starts):
        here = slice(*np.searchsorted(owners, (first, stop)))
        sizes = [len(gold) for gold in encoded.gold[first:stop]]
        yield from _answer(network, encoded, encoded.pieces[here], first, sizes, num_classes, rows)


def score(network: nn.Module, labels: tuple[str, ...], encoded: Encoded, *, rows: int = ROWS) -> Scores:
    """Return how good the answers to labelled examples are; `coverage` is the share of answers that were given."""
    confusion = Confusion(labels)
    nats, given = 0.0, 0
    for gold_A, answer in zip(encoded.gold, answers(network, encoded, num_classes=len(labels), rows=rows), strict=True):
        done = np.flatnonzero(answer.windows_A)
        confusion.add(gold_A[done], answer.log_probabilities_AC[done].argmax(axis=1))
        nats -= float(answer.log_probabilities_AC[done, gold_A[done]].sum())
        given += len(done)
    metrics = confusion.metrics() | {"loss": nats / max(1, given), "coverage": given / max(1, encoded.num_answers)}
    return Scores(metrics, confusion)


def _answer(
    network: nn.Module,
    encoded: Encoded,
    pieces: list[Piece],
    first: int,
    sizes: list[int],
    num_classes: int,
    rows: int,
) -> list[Answers]:
    """Answer the examples from `first` on, which have `sizes` answers and these pieces."""
    begin_E = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    sums_AC = np.zeros((int(begin_E[-1]), num_classes))
    windows_A = np.zeros(len(sums_AC), dtype=np.int64)
    row_length = encoded.reading.row_length
    longest_first = sorted(pieces, key=lambda piece: -len(piece.tokens_L))
    packed = first_fit([len(piece.tokens_L) for piece in longest_first], row_length)
    capacity = row_capacity(pieces, row_length)
    was_training = network.training
    network.eval()
    for start in range(0, len(packed), rows):
        chosen = [[longest_first[number] for number in row] for row in packed[start : start + rows]]
        batch, example_BN, answer_BN = pack(chosen, encoded.reading, num_rows=len(chosen), capacity=capacity)
        with torch.inference_mode():
            logits_NC = class_logits(network, batch)
            log_probabilities_NC = logits_NC.double().log_softmax(-1).numpy()
        used_N = example_BN.reshape(-1) >= 0
        place_N = begin_E[example_BN.reshape(-1)[used_N] - first] + answer_BN.reshape(-1)[used_N]
        np.add.at(sums_AC, place_N, log_probabilities_NC[used_N])
        np.add.at(windows_A, place_N, 1)
    network.train(was_training)
    mean_AC = sums_AC / np.maximum(windows_A, 1)[:, None]
    mean_AC -= np.log(np.exp(mean_AC).sum(axis=1, keepdims=True))
    return [Answers(mean_AC[a:b], windows_A[a:b]) for a, b in pairwise(begin_E)]
