"""What a fine-tuned model answers, and how good answers that are classes are: every answer is given and counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from torch import nn

from trivium.tasks.base import read_logits
from trivium.tasks.metrics import Calibration, Confusion, OneVersusRest, RocArea
from trivium.tasks.metrics.bootstrap import share
from trivium.tasks.metrics.likely import METRICS, Likely, confusion_interval, counted_interval
from trivium.tasks.metrics.ranking import MOST_CLASSES
from trivium.tasks.pieces import Encoded, Piece, by_examples
from trivium.tasks.read_batches import PLACES, read_batches
from trivium.tasks.scores import Mistake, Scores, WorstMistakes
from trivium.tasks.settings import ChosenBy

_EXAMPLES = 2048  # read at a time: what bounds memory
_MOST_SHOWN = 200  # classes, of which a table of what is taken for what is kept
_MOST_READ = 1 << 23  # numbers of the head that are held of these examples, unless one alone has more: 64 MB
_TOGETHER, _MOST_WAITING = 4096, 1 << 20  # answers, and their numbers, whose calibration is counted at once


class Answers(NamedTuple):
    """The answers of one example."""

    outputs_AC: np.ndarray  # float64, the head's numbers averaged over the windows that give the answer
    windows_A: np.ndarray  # int64, how many windows gave it


def class_answers(network: nn.Module, encoded: Encoded, *, num_classes: int, places: int = PLACES) -> Iterator[Answers]:
    """Yield the answers of `answers` as logarithms of probabilities: averaged over windows as such, and normalised."""
    for answer in answers(network, encoded, num_outputs=num_classes, logarithms=True, places=places):
        mean_AC = answer.outputs_AC
        with np.errstate(invalid="ignore"):  # what is no number stays none
            total_A1 = np.logaddexp.reduce(mean_AC, axis=1, keepdims=True)
        yield answer._replace(outputs_AC=mean_AC - total_A1)


def answers(
    network: nn.Module, encoded: Encoded, *, num_outputs: int, logarithms: bool, places: int = PLACES
) -> Iterator[Answers]:
    """Yield the answers to each example, in order, reading up to two thousand examples at a time.

    Args:
        network: a `TaskModel`, in any type; it is left in the mode (training or not) it was in.
        encoded: the examples.
        num_outputs: C, numbers the head gives.
        logarithms: of the softmax over an answer's numbers are averaged, instead of the numbers.
        places: read at once, see `read_batches`.
    """
    for first, stop, pieces in by_examples(encoded, _EXAMPLES, most_answers=_MOST_READ // num_outputs):
        sizes = [len(gold) for gold in encoded.gold[first:stop]]
        sums_AC, windows_A = _added_up(network, encoded, pieces, first, sizes, num_outputs, logarithms, places)
        mean_AC = sums_AC / np.maximum(windows_A, 1)[:, None]
        edges = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        yield from (Answers(mean_AC[a:b], windows_A[a:b]) for a, b in pairwise(edges))


def score_classes(
    network: nn.Module,
    labels: tuple[str, ...],
    encoded: Encoded,
    *,
    chosen_by: ChosenBy = "accuracy",
    ranked: bool = False,
    places: int = PLACES,
) -> Scores:
    """Return how good answers are that are one class each; `coverage` is the share of answers that were given.

    Args:
        network: see `answers`.
        labels: the classes.
        encoded: the examples; of other metrics than accuracy, each of one answer.
        chosen_by: the metric that has an interval.
        ranked: see `ClassScores`.
        places: read at once, see `read_batches`.
    """
    found = ClassScores(labels, ranked=ranked)
    answered = class_answers(network, encoded, num_classes=len(labels), places=places)
    for number, (gold_A, answer) in enumerate(zip(encoded.gold, answered, strict=True)):
        found.add(number, gold_A, answer.outputs_AC.argmax(axis=1), answer)
    return found.scores(encoded, chosen_by)


class ClassScores:
    """How good answers are that are one class each, added up example by example.

    Args:
        labels: the classes.
        ranked: whether the area under the ROC curve is measured, of up to 7 classes, for which at most 29 bytes an
            answer are kept; else nothing is.
    """

    def __init__(self, labels: Sequence[str], *, ranked: bool = False) -> None:
        self.labels = tuple(labels)
        self._area = _area(len(self.labels)) if ranked else None
        self._confusion, self._worst = Confusion(labels), WorstMistakes()
        self._calibration, self._waiting = Calibration(), list[tuple[np.ndarray, np.ndarray]]()
        self._counts: Counter[tuple[float, ...]] = Counter()  # of examples with so many hits among so many answers
        self._together = min(_TOGETHER, _MOST_WAITING // max(1, len(self.labels)))
        self._nats, self._given, self._num_waiting = 0.0, 0, 0

    def add(self, example: int, right_A: np.ndarray, given_A: np.ndarray, answer: Answers) -> None:
        """Count an example's answers.

        Args:
            example: its number.
            right_A, given_A: the right classes and those that were given.
            answer: the logarithm of each class's probability, and which answers were given at all.
        """
        done = np.flatnonzero(answer.windows_A)
        log_probabilities_AC, right_A, given_A = answer.outputs_AC[done], right_A[done], given_A[done]
        self._confusion.add(right_A, given_A)
        self._nats -= float(log_probabilities_AC[np.arange(len(done)), right_A].sum())
        self._given += len(done)
        if len(done):
            self._counts[int((given_A == right_A).sum()), len(done)] += 1
            self._waiting.append((log_probabilities_AC, right_A))
            self._num_waiting += len(done)
        if self._num_waiting >= self._together:
            self._calibrate()
        for wrong in np.flatnonzero(given_A != right_A):
            sure = float(np.exp(log_probabilities_AC[wrong, given_A[wrong]]))
            named = self.labels[right_A[wrong]], self.labels[given_A[wrong]]
            self._worst.add(Mistake(sure, example, int(done[wrong]), *named))

    def scores(self, encoded: Encoded, chosen_by: ChosenBy = "accuracy") -> Scores:
        """Return what was counted; `coverage` is the share of the examples' answers that were given.

        Accuracy is likely to be within an interval over examples, of which the answers of one are not independent; the
        interval of another metric is that of examples of one answer each.
        """
        self._calibrate()
        shares = {"loss": self._nats / max(1, self._given), "coverage": self._given / max(1, encoded.num_answers)}
        areas = {} if self._area is None else self._area.metrics()
        shown = None
        if len(self.labels) <= _MOST_SHOWN:
            shown = {"labels": list(self.labels), "counts": self._confusion.counts_CC.tolist()}
        likely: Likely = partial(counted_interval, self._counts, share)
        if chosen_by != "accuracy":
            likely = partial(confusion_interval, self._confusion, METRICS[chosen_by])
        return Scores(
            self._confusion.metrics() | areas | shares | self._calibration.metrics(),
            self._confusion.by_label(),
            shown,
            self._worst.worst_first(),
            self._calibration.bins(),
            likely,
        )

    def _calibrate(self) -> None:
        """Count how sure the answers are that wait, and their order: many at once, as a call costs more than one."""
        if self._waiting:
            logs_AC, right_A = map(np.concatenate, zip(*self._waiting, strict=True))
            self._calibration.add(logs_AC, right_A)
            if isinstance(self._area, RocArea):
                self._area.add(in_order(logs_AC[:, 1] - logs_AC[:, 0]), right_A == 1)
            elif self._area is not None:
                self._area.add(in_order(logs_AC), right_A)
        self._waiting, self._num_waiting = [], 0


def in_order(scores: np.ndarray) -> np.ndarray:
    """Return scores with the least of all where there is no number: the loss, which is none either, ends such a run."""
    return np.where(np.isnan(scores), -np.inf, scores)


def _area(num_classes: int) -> RocArea | OneVersusRest | None:
    if num_classes == 2:
        return RocArea()
    return OneVersusRest(num_classes) if num_classes <= MOST_CLASSES else None


def _added_up(
    network: nn.Module,
    encoded: Encoded,
    pieces: list[Piece],
    first: int,
    sizes: list[int],
    num_outputs: int,
    logarithms: bool,
    places: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of the numbers of each answer of the examples from `first` on, and how many windows gave it."""
    begin_E = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    sums_AC = np.zeros((int(begin_E[-1]), num_outputs))
    windows_A = np.zeros(len(sums_AC), dtype=np.int64)
    was_training = network.training
    network.eval()
    for _, (batch, example_BN, answer_BN) in read_batches(pieces, encoded.reading, places=places, told=encoded.told):
        outputs_NC = read_logits(network, batch)
        numbers_NC = (outputs_NC.log_softmax(-1) if logarithms else outputs_NC).numpy()
        used_N = example_BN.reshape(-1) >= 0
        place_N = begin_E[example_BN.reshape(-1)[used_N] - first] + answer_BN.reshape(-1)[used_N]
        np.add.at(sums_AC, place_N, numbers_NC[used_N])
        np.add.at(windows_A, place_N, 1)
    network.train(was_training)
    return sums_AC, windows_A
