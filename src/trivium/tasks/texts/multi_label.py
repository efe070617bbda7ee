"""Any number of labels for each text, or pair of texts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import Labelled, MultiLabelExample, read_multi_label
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.objectives.base import labelled
from trivium.tasks import metrics
from trivium.tasks.base import TaskReader, Unlabelled, check_known, class_logits
from trivium.tasks.class_answers import answers, in_order
from trivium.tasks.metrics.bootstrap import f1
from trivium.tasks.metrics.likely import counted_interval
from trivium.tasks.metrics.ranking import MOST_CLASSES
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Mistake, Scores, WorstMistakes
from trivium.tasks.settings import TEXT_SETTINGS, TextSettings
from trivium.tasks.texts.base import encode_numbers, one_or_two, pooled, printed_texts, shown_texts


@dataclass(frozen=True)
class MultiLabel:
    """Whether each label applies to a text: one question a label, read off what stands for the text.

    A text longer than a row is read in windows; their log-odds are averaged. A label is given when it is more likely
    than not. The loss is the binary cross-entropy, the mean over the labels.

    Args:
        labels: the labels.
        readout: the head, and what stands for a text.
        settings: which columns are read.
    """

    labels: tuple[str, ...]
    readout: ReadoutConfig = DEFAULT_READOUT
    settings: TextSettings = TEXT_SETTINGS
    num_places: ClassVar[int] = 1
    name: ClassVar[str] = "multi_label"
    is_chained: ClassVar[bool] = False
    chosen_by: ClassVar[str] = "micro_f1"

    @property
    def num_outputs(self) -> int:
        """Number of labels."""
        return len(self.labels)

    def read(self, path: Path, *, min_classes: int) -> Labelled[MultiLabelExample]:
        """Read texts and their labels."""
        return Labelled(read_multi_label(path, columns=self.settings.columns, min_classes=min(min_classes, 1)), [])

    def learned(self, examples: Sequence[MultiLabelExample]) -> "MultiLabel":
        """Return the task with the labels of the training examples; raise DataError when there is none."""
        labels = tuple(sorted({label for example in examples for label in example.labels}))
        if not labels:
            raise DataError("no training example has a label; expected at least one.")
        return replace(self, labels=labels)

    def check(self, examples: Sequence[MultiLabelExample], source: str) -> None:
        """Raise DataError naming the first label that was not in the training examples."""
        known = set(self.labels)
        for number, example in enumerate(examples, start=1):
            check_known(example.labels, known, example.where or f"{source}: example {number}")

    def unlabelled(self, value: Unlabelled) -> MultiLabelExample:
        """Return a text, or a list of a text and its pair, as an example."""
        text, text_pair = one_or_two(value, self.name)
        return MultiLabelExample(text, (), text_pair)

    def encode(self, examples: Sequence[MultiLabelExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces, each of which answers for the whole example: 1 where a label applies."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        targets_EC = np.zeros((len(examples), len(self.labels)), dtype=np.float32)
        for row, example in enumerate(examples):
            targets_EC[row, [numbers[label] for label in example.labels]] = 1.0
        return encode_numbers(examples, targets_EC, reading)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return what stands for each text."""
        return pooled(part, batch, self.readout)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of texts; a window counts as its share of one."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the binary cross-entropy of the labels."""
        if batch.targets_BNC is None:
            raise TypeError("expected a batch with targets")
        logits_NC = class_logits(network, batch)
        targets_NC = batch.targets_BNC.flatten(0, 1).to(logits_NC.dtype)
        nats_N = functional.binary_cross_entropy_with_logits(logits_NC, targets_NC, reduction="none").mean(-1)
        return (labelled(self.name, nats_N, batch),)

    def answered(
        self, network: nn.Module, examples: Sequence[MultiLabelExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each text, the labels that apply, and the probability of each."""
        given = answers(network, encoded, num_outputs=len(self.labels), logarithms=False)
        for example, answer in zip(examples, given, strict=True):
            probabilities_C = _probabilities(answer.outputs_AC[0])
            chances = {name: round(float(p), 6) for name, p in zip(self.labels, probabilities_C, strict=True)}
            labels = [name for name, p in zip(self.labels, probabilities_C, strict=True) if p > 0.5]
            yield {**printed_texts(example), "labels": labels, "probabilities": chances}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return F1 over all answers (micro) and as the mean over labels (macro), and whole texts that are right.

        Of up to 7 labels the mean area under the ROC curve, too (`macro_auc`). Calibration is that of the questions,
        whether each label applies.
        """
        counted, worst, nats, total = metrics.MultiLabel(self.labels), WorstMistakes(), 0.0, 0
        calibration, counts = metrics.Calibration(), Counter[tuple[float, ...]]()
        area = metrics.OneVersusRest(len(self.labels)) if len(self.labels) <= MOST_CLASSES else None
        given = answers(network, encoded, num_outputs=len(self.labels), logarithms=False)
        for number, (gold_AC, answer) in enumerate(zip(encoded.gold, given, strict=True)):
            logits_AC, right_AC = answer.outputs_AC, gold_AC > 0.5
            given_AC = logits_AC > 0
            counted.add(right_AC, given_AC)
            if area is not None:
                area.add(in_order(logits_AC), right_AC)
            calibration.add(yes_or_no(logits_AC), right_AC.reshape(-1))
            counts[int((right_AC & given_AC).sum()), int(right_AC.sum()), int(given_AC.sum())] += 1
            nats += float(np.logaddexp(0.0, np.where(right_AC, -logits_AC, logits_AC)).mean())
            total += 1
            for label in np.flatnonzero((logits_AC > 0)[0] != right_AC[0]):
                sure = float(_probabilities(abs(logits_AC[0, label])))
                said = (f"not {self.labels[label]}", self.labels[label])
                worst.add(Mistake(sure, number, 0, *(said if logits_AC[0, label] > 0 else said[::-1])))
        f1_C = counted.f1_C()
        by_label = {
            name: {"f1": float(f1_C[label]), "count": int(counted.right_C[label])}
            for label, name in enumerate(self.labels)
        }
        areas = {} if area is None else area.metrics()
        found = counted.metrics() | areas | {"loss": nats / max(1, total), "coverage": 1.0} | calibration.metrics()
        likely = partial(counted_interval, counts, f1)
        return Scores(found, by_label, None, worst.worst_first(), calibration.bins(), likely)

    def shown(self, example: MultiLabelExample, answer: int) -> str:
        """Return the text, and its pair."""
        return shown_texts(example)


def yes_or_no(logits_AC: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities of no and yes to each question, [answers * labels, 2]."""
    logits_Q = logits_AC.reshape(-1)
    return -np.stack([np.logaddexp(0.0, logits_Q), np.logaddexp(0.0, -logits_Q)], axis=1)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = np.exp(-np.logaddexp(0.0, -logits))
    return probabilities
