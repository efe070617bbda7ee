"""A number for each text, or pair of texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import Labelled, RegressionExample, read_regression
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.objectives.base import labelled
from trivium.tasks import metrics
from trivium.tasks.base import TaskReader, Unlabelled, class_logits
from trivium.tasks.class_answers import answers
from trivium.tasks.metrics.likely import correlation_interval
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Mistake, Scores, WorstMistakes
from trivium.tasks.settings import TEXT_SETTINGS, TextSettings
from trivium.tasks.texts.base import encode_numbers, one_or_two, pooled, printed_texts, shown_texts


@dataclass(frozen=True)
class Regress:
    """A number read off what stands for a text.

    What is learned is how many standard deviations a number is from the mean of the training examples, so that the
    unit it is given in does not matter; the loss is the squared error of that. A text longer than a row is read in
    windows, whose numbers are averaged.

    Args:
        readout: the head, and what stands for a text.
        settings: which columns are read.
        centre: the mean of the training examples' numbers.
        spread: their standard deviation, above 0.
    """

    readout: ReadoutConfig = DEFAULT_READOUT
    settings: TextSettings = TEXT_SETTINGS
    centre: float = 0.0
    spread: float = 1.0
    num_places: ClassVar[int] = 1
    name: ClassVar[str] = "regress"
    is_chained: ClassVar[bool] = False
    chosen_by: ClassVar[str] = "pearson"
    labels: ClassVar[tuple[str, ...]] = ()
    num_outputs: ClassVar[int] = 1

    def read(self, path: Path, *, min_classes: int) -> Labelled[RegressionExample]:
        """Read texts and their numbers."""
        return Labelled(read_regression(path, columns=self.settings.columns), [])

    def learned(self, examples: Sequence[RegressionExample]) -> "Regress":
        """Return the task in the scale of the training examples; raise DataError when their numbers are all equal."""
        values = np.array([example.value for example in examples], dtype=np.float64)
        if not len(values) or float(values.std()) == 0.0:
            raise DataError("the training examples have all the same number; expected at least two different ones.")
        return replace(self, centre=float(values.mean()), spread=float(values.std()))

    def check(self, examples: Sequence[RegressionExample], source: str) -> None:
        """Accept any numbers."""

    def unlabelled(self, value: Unlabelled) -> RegressionExample:
        """Return a text, or a list of a text and its pair, as an example."""
        text, text_pair = one_or_two(value, self.name)
        return RegressionExample(text, 0.0, text_pair)

    def encode(self, examples: Sequence[RegressionExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces, each of which answers for the whole example."""
        values_E1 = np.array([[example.value] for example in examples], dtype=np.float64).reshape(-1, 1)
        return encode_numbers(examples, (values_E1 - self.centre) / self.spread, reading)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return what stands for each text."""
        return pooled(part, batch, self.readout)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of texts; a window counts as its share of one."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the squared error, in standard deviations."""
        if batch.targets_BNC is None:
            raise TypeError("expected a batch with targets")
        given_N = class_logits(network, batch)[:, 0]
        error_N = given_N - batch.targets_BNC.flatten().to(given_N.dtype)
        return (labelled(self.name, error_N.square(), batch),)

    def answered(
        self, network: nn.Module, examples: Sequence[RegressionExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each text and its number."""
        given = answers(network, encoded, num_outputs=1, logarithms=False)
        for example, answer in zip(examples, given, strict=True):
            yield {**printed_texts(example), "label": round(self._value(answer.outputs_AC[0, 0]), 6)}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return Pearson's and Spearman's correlation, and mean errors in the examples' own unit."""
        errors, ranks, worst = metrics.Regression(), metrics.RankCorrelation(), WorstMistakes()
        squares, total = 0.0, 0
        given = answers(network, encoded, num_outputs=1, logarithms=False)
        for number, (gold_A1, answer) in enumerate(zip(encoded.gold, given, strict=True)):
            right, found = self._value(gold_A1[0, 0]), self._value(answer.outputs_AC[0, 0])
            errors.add(np.array([right]), np.array([found]))
            ranks.add(np.array([right]), np.array([found]))
            squares += float(gold_A1[0, 0] - answer.outputs_AC[0, 0]) ** 2
            total += 1
            worst.add(Mistake(None, number, 0, f"{right:.4g}", f"{found:.4g}", error=abs(right - found)))
        counted = errors.metrics() | ranks.metrics() | {"loss": squares / max(1, total), "coverage": 1.0}
        likely = partial(correlation_interval, ranks)
        return Scores(counted, mistakes=worst.worst_first(), likely=likely)

    def shown(self, example: RegressionExample, answer: int) -> str:
        """Return the text, and its pair."""
        return shown_texts(example)

    def _value(self, number: float) -> float:
        return float(number) * self.spread + self.centre
