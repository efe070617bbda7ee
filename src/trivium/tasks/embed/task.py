"""A vector for each text, near to those of texts that mean the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from trivium.core.batch import Batch, Pairs, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import Labelled, SimilarExample, read_similar
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.tasks.base import TaskReader, Unlabelled, class_logits
from trivium.tasks.embed.nearness import group_vectors, grouped, order_nats, own_cosines, partner_nats
from trivium.tasks.embed.pair_scores import PairNumbers, Vectors, correlations, partner_loss, retrieval_of
from trivium.tasks.embed.vectors import text_pieces, text_vectors, unit
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Scores
from trivium.tasks.settings import EMBED_SETTINGS, EmbedSettings
from trivium.tasks.texts.base import one_or_two, pooled, printed_texts

_DIGITS = 6
_COMPARED = 256  # pairs whose order is scored together


@dataclass(frozen=True)
class Embed:
    """A vector a text, of length 1: its pooled hidden states, or a projection of them.

    Pairs without scores: each text learns to be nearer to its partner than to the texts of other pairs of its group of
    rows. Pairs with scores: the cosines learn their order, or their values, the scores scaled to lie between 0 and 1.

    Args:
        readout: what stands for a text, and what is before the projection.
        settings: see `EmbedSettings`.
        lowest, highest: scores of the training pairs; None = they have none.
    """

    readout: ReadoutConfig = DEFAULT_READOUT
    settings: EmbedSettings = EMBED_SETTINGS
    lowest: float | None = None
    highest: float | None = None
    num_places: ClassVar[int] = 1
    name: ClassVar[str] = "embed"
    is_chained: ClassVar[bool] = False
    labels: ClassVar[tuple[str, ...]] = ()

    @property
    def num_outputs(self) -> int:
        """Numbers of a projection, 0 = there is none."""
        return self.settings.vector_size or 0

    @property
    def is_scored(self) -> bool:
        """Whether pairs have scores."""
        return self.lowest is not None

    @property
    def chosen_by(self) -> str:
        """Spearman's correlation of pairs with scores, or how early the partners of others are found."""
        return "spearman" if self.is_scored else "mrr"

    def read(self, path: Path, *, min_classes: int) -> Labelled[SimilarExample]:
        """Read pairs of texts; there are no classes."""
        return Labelled(read_similar(path), [])

    def learned(self, examples: Sequence[SimilarExample]) -> "Embed":
        """Return the task with the scores' range; raise DataError when there is nothing to tell apart."""
        scores = [example.score for example in examples if example.score is not None]
        if len(examples) < 2:
            raise DataError(f"the training examples are {len(examples)} pairs of texts; expected at least 2.")
        if scores and min(scores) == max(scores):
            raise DataError(f"the training pairs all have the score {scores[0]:g}; expected some nearer than others.")
        return replace(self, lowest=min(scores), highest=max(scores)) if scores else self

    def check(self, examples: Sequence[SimilarExample], source: str) -> None:
        """Raise DataError when other pairs have scores and the training pairs have none, or the other way round."""
        for number, example in enumerate(examples, start=1):
            if (example.score is not None) != self.is_scored:
                known, given = ("scores", "none") if self.is_scored else ("no scores", "one")
                where = example.where or f"{source}: example {number}"
                raise DataError(
                    f"{where}: the training pairs have {known}, this one has {given}; "
                    "train and score on pairs of one kind."
                )

    def unlabelled(self, value: Unlabelled) -> SimilarExample:
        """Return a text, or a list of a text and its pair, as an example."""
        return SimilarExample(*one_or_two(value, self.name))

    def encode(self, examples: Sequence[SimilarExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces of texts, each text once, and for gold the numbers of two texts and a score."""
        texts, gold = numbered(examples)
        return Encoded(text_pieces(texts, reading), gold, reading)

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return what stands for each text."""
        return pooled(part, batch, self.readout)

    def answered(
        self, network: nn.Module, examples: Sequence[SimilarExample], encoded: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield each text and its vector, or a pair and its cosine."""
        vectors = unit(text_vectors(network, encoded.pieces, encoded.reading))
        pairs = PairNumbers.of(encoded.gold)
        cosines_A = Vectors(vectors).pairs(pairs.first_A, pairs.second_A)
        for example, first, cosine in zip(examples, pairs.first_A, cosines_A, strict=True):
            if example.text_pair is None:
                yield {"text": example.text, "vector": rounded(vectors[first])}
            else:
                yield {**printed_texts(example), "cosine": round(float(cosine), _DIGITS)}

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return how well pairs are found, or how the cosines go with the scores."""
        nearness = Vectors(unit(text_vectors(network, encoded.pieces, encoded.reading, told=encoded.told)))
        pairs = PairNumbers.of(encoded.gold)
        measured = correlations(pairs, nearness) if self.is_scored else retrieval_of(pairs, nearness)
        told = measured.metrics | {"loss": self._loss_of(pairs, nearness), "coverage": 1.0}
        return Scores(told, mistakes=measured.mistakes, likely=measured.likely)

    def shown(self, example: SimilarExample, answer: int) -> str:
        """Return the text, and its pair."""
        return " | ".join(printed_texts(example).values())

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of pairs."""
        return {self.name: float(pairs_of(batch).weights_BP.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return what is learned from the pairs, summed over them."""
        vectors_GTD = group_vectors(class_logits(network, batch), batch, self.settings.group_rows)
        pairs = grouped(pairs_of(batch), self.settings.group_rows)
        cosine_GTT = vectors_GTD @ vectors_GTD.transpose(1, 2)
        if self.is_scored:
            nats_GP = self._scored(own_cosines(cosine_GTT, pairs), pairs)
        else:
            nats_GP = partner_nats(cosine_GTT, pairs, self.settings.temperature)
        weights_GP = pairs.weights_BP.to(nats_GP.dtype)
        return (Term(self.name, (nats_GP * weights_GP).sum()),)

    def _scored(self, cosine_GP: Tensor, pairs: Pairs) -> Tensor:
        """Return what each pair has to learn; that of an order belongs to all pairs of a group alike."""
        if self.settings.loss == "cosent":
            return order_nats(cosine_GP, pairs, self.settings.temperature)[:, None].expand_as(cosine_GP)
        lowest, highest = self.lowest or 0.0, self.highest or 0.0
        return (cosine_GP - (pairs.scores_BP - lowest) / (highest - lowest)) ** 2

    def _loss_of(self, pairs: PairNumbers, nearness: Vectors) -> float:
        """Return the loss of pairs: without scores all are told apart; orders are those of some hundred pairs."""
        if not self.is_scored:
            return partner_loss(pairs, nearness, self.settings.temperature)
        total = 0.0
        for start in range(0, len(pairs.scores_A), _COMPARED):
            first_A, second_A, scores_A = (torch.from_numpy(part[start : start + _COMPARED])[None] for part in pairs)
            cosine_1A = torch.from_numpy(nearness.pairs(first_A[0].numpy(), second_A[0].numpy()))[None]
            some = Pairs(first_A, second_A, scores_A, torch.ones_like(cosine_1A))
            total += float(self._scored(cosine_1A, some).sum())
        return total / max(1, len(pairs.scores_A))


def numbered(examples: Sequence[SimilarExample]) -> tuple[list[str], list[np.ndarray]]:
    """Return the texts of pairs, each once, and each pair as the numbers of two texts and a score, float64 [1, 3]."""
    numbers: dict[str, int] = {}
    gold = []
    for example in examples:
        first = numbers.setdefault(example.text, len(numbers))
        pair = example.text if example.text_pair is None else example.text_pair
        second = numbers.setdefault(pair, len(numbers))
        gold.append(np.array([[first, second, np.nan if example.score is None else example.score]]))
    return list(numbers), gold


def pairs_of(batch: Batch) -> Pairs:
    """Return the pairs of a batch that has some."""
    if batch.pairs is None:
        raise TypeError("expected a batch with pairs of texts")
    return batch.pairs


def rounded(vector_D: np.ndarray) -> list[float]:
    """Return a vector as JSON shows it."""
    return [round(float(number), _DIGITS) for number in vector_D]
