"""The values that travel from the data to the loss: rows of tokens, a batch with its labels, a term of the loss."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivium.core.layout import TokenLayout


class Rows(NamedTuple):
    """B packed rows as the data path gives them, before an objective hides anything.

    Each row reads L + 1 tokens, so that in causal training each token is a target exactly once.
    """

    tokens_BL: np.ndarray  # int64 [B, L + 1]
    document_BL: np.ndarray  # int32 [B, L + 1], counted from 0 in each row; -1 = unused
    word_start_BL: np.ndarray  # bool [B, L + 1]
    sentence_start_BL: np.ndarray  # bool [B, L + 1]
    epoch_B: np.ndarray  # int64 [B]
    row_B: np.ndarray  # int64 [B], number of the row in its epoch; (epoch, row) keys its random choices


class Labels(NamedTuple):
    """What is to be predicted at some places, of static capacity."""

    labels_BN: Tensor  # int64
    places_BN: Tensor  # int64
    weights_BN: Tensor  # float32, 1 where the label counts and 0 where the capacity is not used


class Pairs(NamedTuple):
    """Which texts of a group of neighbouring rows belong together; a group's pairs lie anywhere in its rows.

    Texts are numbered in their group; a batch that has pairs has these numbers as its labels.
    """

    first_BP: Tensor  # int64, the number of a text
    second_BP: Tensor  # int64
    scores_BP: Tensor  # float32, how near they should be, where that is known
    weights_BP: Tensor  # float32, 1 for a pair and 0 where the capacity is not used


class Vectors(NamedTuple):
    """Dense inputs that stand in place of tokens: patches of an image, soft prompts."""

    values_BPE: Tensor  # of the embedding's size
    places_BP: Tensor  # int64, which place of the row each stands in; -1 = not used


@dataclass(frozen=True)
class Batch:
    """What a network reads and what it must predict, with static shapes.

    Args:
        tokens_BL: int64, ids.
        layout: who sees whom.
        labels_BN: int64, what is to be predicted at each labelled place.
        places_BN: int64, which place of the row each label belongs to; [B, N * P] where an answer of a task is read off
            P places, those of one answer side by side.
        weights_BN: float32, 1 where the label counts and 0 where the capacity N is not used.
        segments_BL: int64, token types (BERT's sentence A and B), or None.
        vectors: dense inputs in place of some tokens, or None.
        source: what the encoder of an encoder-decoder reads; the rest is then the decoder's.
        documents: labels of whole documents, each at one place of its document, or None.
        targets_BNC: float32, numbers to be predicted at each labelled place instead of a label, or None.
        pairs: which texts of neighbouring rows belong together, or None.
        chances_BN: float32 in [0, 1), a lot for each labelled place, where the loss draws something there, or None.
        noise_BLD: what is added to the embedded tokens (of the hidden size, after the embedding's norm, dropout and
            projection), or None.
        first_row: which row of its step the first row is, so that what is drawn for a row is drawn by its number,
            however the step is cut.
    """

    tokens_BL: Tensor
    layout: TokenLayout
    labels_BN: Tensor
    places_BN: Tensor
    weights_BN: Tensor
    segments_BL: Tensor | None = None
    vectors: Vectors | None = None
    source: "Batch | None" = None
    documents: Labels | None = None
    targets_BNC: Tensor | None = None
    pairs: Pairs | None = None
    chances_BN: Tensor | None = None
    noise_BLD: Tensor | None = None
    first_row: int = 0

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.tokens_BL)

    @property
    def num_tokens(self) -> int:
        """Number of used places, those of the source included."""
        own = int((self.layout.document_BL >= 0).sum())
        return own + (self.source.num_tokens if self.source is not None else 0)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with `function` applied to each of its tensors."""
        return replace(
            self,
            tokens_BL=function(self.tokens_BL),
            layout=self.layout.map(function),
            labels_BN=function(self.labels_BN),
            places_BN=function(self.places_BN),
            weights_BN=function(self.weights_BN),
            segments_BL=None if self.segments_BL is None else function(self.segments_BL),
            vectors=None if self.vectors is None else Vectors(*map(function, self.vectors)),
            source=None if self.source is None else self.source.map(function),
            documents=None if self.documents is None else Labels(*map(function, self.documents)),
            targets_BNC=None if self.targets_BNC is None else function(self.targets_BNC),
            pairs=None if self.pairs is None else Pairs(*map(function, self.pairs)),
            chances_BN=None if self.chances_BN is None else function(self.chances_BN),
            noise_BLD=None if self.noise_BLD is None else function(self.noise_BLD),
        )

    def rows(self, start: int, stop: int) -> "Batch":
        """Return rows `start` to `stop` as a batch of their own."""
        return replace(self.map(lambda tensor: tensor[start:stop]), first_row=self.first_row + start)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class MixedBatch:
    """The rows of one step, each made by one of several objectives.

    Args:
        parts: what each objective made of its rows; None = it has none.
        rows_of: int64, which of the step's rows the rows of each part are, increasing.
        num_rows: of all parts together.
        weights: of each part's terms.
    """

    parts: tuple[Batch | None, ...]
    rows_of: tuple[np.ndarray, ...]
    num_rows: int
    weights: tuple[float, ...]

    @property
    def num_tokens(self) -> int:
        """Number of used places, those of sources included."""
        return sum(part.num_tokens for part in self.parts if part is not None)

    def rows(self, start: int, stop: int) -> "MixedBatch":
        """Return rows `start` to `stop` of the step."""
        parts: list[Batch | None] = []
        rows_of: list[np.ndarray] = []
        for part, numbers in zip(self.parts, self.rows_of, strict=True):
            first, last = (int(edge) for edge in np.searchsorted(numbers, (start, stop)))
            parts.append(None if part is None or first == last else part.rows(first, last))
            rows_of.append(numbers[first:last] - start)
        return MixedBatch(tuple(parts), tuple(rows_of), stop - start, self.weights)

    def to(self, device: torch.device) -> "MixedBatch":
        """Return the batch on another device."""
        return replace(self, parts=tuple(None if part is None else part.to(device) for part in self.parts))


AnyBatch = Batch | MixedBatch


def reading(tokens_BL: Tensor, layout: TokenLayout) -> Batch:
    """Return a batch that is only read, with no labels."""
    rows = tokens_BL.shape[0]
    none_BN = torch.zeros(rows, 0, dtype=torch.int64, device=tokens_BL.device)
    return Batch(tokens_BL, layout, none_BN, none_BN, none_BN.float())


def read_again(batch: Batch, begin: int) -> Batch:
    """Return a batch for both stacks of an encoder-decoder, the decoder's tokens those of the encoder's one place late.

    The decoder reads each document from left to right and sees, where it stands for a token, those before it, while the
    encoder's states tell it of all. Labels and places stay those of the text.

    Args:
        batch: what the encoder reads; each document lies in one piece.
        begin: the token that every document begins with for the decoder.
    """
    layout = batch.layout
    late_BL = batch.tokens_BL.roll(1, dims=1).masked_fill(layout.position_BL == 0, begin)
    return replace(
        batch,
        tokens_BL=torch.where(layout.document_BL < 0, batch.tokens_BL, late_BL),
        layout=TokenLayout.causal(layout.document_BL, layout.position_BL),
        source=replace(reading(batch.tokens_BL, layout), segments_BL=batch.segments_BL),
    )


class Term(NamedTuple):
    """One term of a loss, as a sum and never as a mean, so that accumulation, ranks and uneven masks agree.

    What it is divided by is known before anything is computed, see `Learned.counts`.
    """

    name: str
    sum: Tensor
    weight: float = 1.0
