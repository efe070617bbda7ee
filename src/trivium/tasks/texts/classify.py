"""A class for each text, or pair of texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, Labelled, read_classify
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.objectives.base import Predicted
from trivium.tasks.base import TaskReader, Unlabelled, check_known, class_numbers, classes_of, predicted_classes
from trivium.tasks.class_answers import class_answers, score_classes
from trivium.tasks.pieces import Encoded, Piece, Reading
from trivium.tasks.scores import Scores
from trivium.tasks.settings import CLASSIFY_SETTINGS, ClassifySettings
from trivium.tasks.texts.base import one_or_two, pooled, printed_texts, shown_texts, text_windows


@dataclass(frozen=True)
class Classify:
    """One class a text, read off the mean of its hidden states, or off the first or last of them.

    The mean is no worse than the begin token of an encoder or the end token of a decoder: 700 docstrings by area, two
    pretrained tiny models, two seeds: 57.5 % right against 57.1 %.

    A text longer than a row is read in windows; their log-probabilities are averaged. Of a pair every window shows
    both texts, the shorter one whole where half a row holds it.

    Args:
        labels: the classes.
        readout: the head, and what stands for a text.
        settings: which columns are read, and which metric says which epoch is best.
    """

    labels: tuple[str, ...]
    readout: ReadoutConfig = DEFAULT_READOUT
    settings: ClassifySettings = CLASSIFY_SETTINGS
    name: ClassVar[str] = "classify"
    is_chained: ClassVar[bool] = False
    num_places: ClassVar[int] = 1

    @property
    def num_outputs(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def chosen_by(self) -> str:
        """The metric of the best epoch."""
        return self.settings.chosen_by

    def read(self, path: Path, *, min_classes: int) -> Labelled[ClassifyExample]:
        """Read texts and their classes."""
        return Labelled(read_classify(path, columns=self.settings.columns, min_classes=min_classes), [])

    def gold(self, example: ClassifyExample) -> Sequence[str]:
        """Return the example's class."""
        return (example.label,)

    def learned(self, examples: Sequence[ClassifyExample]) -> "Classify":
        """Return the task with the classes of the training examples."""
        return replace(self, labels=classes_of(example.label for example in examples))

    def check(self, examples: Sequence[ClassifyExample], source: str) -> None:
        """Raise DataError naming the first class that was not in the training examples."""
        known = set(self.labels)
        for number, example in enumerate(examples, start=1):
            check_known((example.label,), known, example.where or f"{source}: example {number}")

    def unlabelled(self, value: Unlabelled) -> ClassifyExample:
        """Return a text, or a list of a text and its pair, as an example."""
        text, text_pair = one_or_two(value, self.name)
        return ClassifyExample(text, "", text_pair)

    def encode(self, examples: Sequence[ClassifyExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces, each of which answers for the whole example."""
        gold = class_numbers(map(self.gold, examples), self.labels) if known else [_ZERO] * len(examples)
        pieces = [
            Piece(tokens_L, _ZERO, gold[number], _ZERO, number, share, segments_L=segments_L)
            for number, share, (tokens_L, segments_L) in text_windows(examples, reading)
        ]
        return Encoded(pieces, gold, reading)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return what stands for each text."""
        return pooled(part, batch, self.readout)

    def answered(
        self, network: nn.Module, examples: Sequence[ClassifyExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each text, its most probable class, and the probability of each class."""
        given = class_answers(network, encoded, num_classes=len(self.labels))
        for example, answer in zip(examples, given, strict=True):
            probabilities_C = np.exp(answer.outputs_AC[0])
            probabilities = {name: round(float(p), 6) for name, p in zip(self.labels, probabilities_C, strict=True)}
            yield {
                **printed_texts(example),
                "label": self.labels[int(probabilities_C.argmax())],
                "probabilities": probabilities,
            }

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return how good the answers to labelled examples are."""
        return score_classes(network, self.labels, encoded, chosen_by=self.settings.chosen_by, ranked=True)

    def shown(self, example: ClassifyExample, answer: int) -> str:
        """Return the text, and its pair."""
        return shown_texts(example)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of texts; a window counts as its share of one."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the classes."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the classes, and the loss."""
        return predicted_classes(self.name, network, batch)


_ZERO = np.zeros(1, dtype=np.int64)
