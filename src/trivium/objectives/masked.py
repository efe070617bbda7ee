"""Masked tokens (BERT, Devlin et al. 2019, section 3.1): some are hidden, the network names them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from trivium.core.batch import Batch, Rows
from trivium.core.config import Config
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.ramp import Scheduled, at, extremes
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.objectives.base import PredictsTokens
from trivium.objectives.hiding import Candidates, GeometricSpans, SingleTokens, Unit, hide

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class MaskedConfig(Config):
    """Of the chosen tokens 80 % become the mask, 10 % a random token, 10 % stay.

    Args:
        rate: share of a row's tokens that is chosen; may change in the course of the run.
        mask_share, random_share: of the chosen ones; the rest stays.
        unit: what is chosen together. A geometric span becomes one of the three as a whole, as SpanBERT's do.
        rarity: a token is chosen in proportion to its count in the training text to the power of minus this; 0 = all
            alike, 1 = every kind of token as often as every other.
        predicted_from: the hidden token's own place, or the one before it, so that the same head and the same shift
            serve a causal objective beside this one (masked next tokens, GPT-BERT, Charpentier & Samuel 2024).
    """

    kind: Literal["masked"] = "masked"
    rate: Scheduled = 0.15
    mask_share: Share = 0.8
    random_share: Share = 0.1
    unit: Unit = SingleTokens()
    rarity: Annotated[float, Field(ge=0.0)] = 0.0
    predicted_from: Literal["itself", "before"] = "itself"

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        low, high = extremes(self.rate)
        if not 0.0 < low <= high < 1.0:
            raise ValueError(f"`rate` must be more than 0 and less than 1: found {low if low <= 0.0 else high}")
        if self.mask_share + self.random_share > 1.0 + 1e-9:
            raise ValueError(
                f"`mask_share` and `random_share` must not exceed 1 together: {self.mask_share} + {self.random_share}"
            )
        return self


@dataclass(frozen=True)
class Masked(PredictsTokens):
    """The masked objective; `rate` of each row's tokens is chosen, special tokens never.

    Args:
        config: how much is hidden, and how.
        special: the special tokens.
        vocabulary_size: of the texts.
        counts_V: how often each token is in the training text; used with `rarity` only.
        two_stacks: the network is an encoder-decoder, of which the encoder learns.

    Raises:
        ConfigError: the tokenizer has no mask token.
    """

    config: MaskedConfig
    special: SpecialTokens
    vocabulary_size: int
    counts_V: np.ndarray | None = field(default=None, compare=False)
    two_stacks: bool = False
    name: ClassVar[str] = "masked"

    def __post_init__(self) -> None:
        # An encoder-decoder learns this unless it is told otherwise.
        beside = " (objective.kind=spans needs none)" if self.two_stacks else ""
        self.special.mask_for(f"objective `masked`{beside}")
        if self.config.rarity and self.counts_V is None:
            raise ValueError("`rarity` needs counts_V")

    @property
    def speaks(self) -> bool:
        """Whether a hidden token is named where it stands, by the stack that is asked for tokens."""
        return self.config.predicted_from == "itself" and not self.two_stacks

    def network(self, config: ModelConfig) -> nn.Module:
        """Build the network, whose encoder (or one stack, read both ways) learns."""
        return build_network(config)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Choose, hide and label; a row with fewer tokens than its capacity has weights 0 for the rest."""
        tokens_BL = rows.tokens_BL[:, :-1].copy()
        document_BL = np.ascontiguousarray(rows.document_BL[:, :-1])
        before = self.config.predicted_from == "before"
        length = tokens_BL.shape[1]
        capacity = max(1, round(extremes(self.config.rate)[1] * length))
        hidden = max(1, round(at(self.config.rate, done) * length))
        places_BN = np.zeros((len(tokens_BL), capacity), dtype=np.int64)
        weights_BN = np.zeros((len(tokens_BL), capacity), dtype=np.float32)
        labels_BN = np.zeros_like(places_BN)
        can_hide_BL = (document_BL >= 0) & ~np.isin(tokens_BL, self._special)
        if before:
            can_hide_BL &= np.diff(document_BL, axis=1, prepend=-2) == 0
        for b in range(len(tokens_BL)):
            rng = key.child("masked", rows.epoch_B[b], rows.row_B[b]).numpy()
            weight_L = None if self._weight_V is None else self._weight_V[tokens_BL[b]]
            row = Candidates(can_hide_BL[b], document_BL[b], rows.word_start_BL[b, :-1], weight_L)
            # A short row hides the same share of what it has.
            chosen, unit_N = hide(self.config.unit, row, round(hidden * (document_BL[b] >= 0).mean()), rng)
            count = len(chosen)
            places_BN[b, :count] = chosen - before
            weights_BN[b, :count] = 1.0
            labels_BN[b, :count] = tokens_BL[b, chosen]
            tokens_BL[b, chosen] = self._replacement(tokens_BL[b, chosen], unit_N, rng)
        document = torch.from_numpy(document_BL)
        position = torch.from_numpy(positions_of(document_BL))
        return Batch(
            tokens_BL=torch.from_numpy(tokens_BL),
            layout=TokenLayout.bidirectional(document, position),
            labels_BN=torch.from_numpy(labels_BN),
            places_BN=torch.from_numpy(places_BN),
            weights_BN=torch.from_numpy(weights_BN),
        )

    @cached_property
    def _special(self) -> np.ndarray:
        return np.array(sorted(self.special.all()))

    @cached_property
    def _words(self) -> np.ndarray:
        """The ids that a random token is drawn from: all but the special ones, unless there are no others."""
        words = np.setdiff1d(np.arange(self.vocabulary_size), self._special)
        return words if len(words) else np.arange(self.vocabulary_size)

    @cached_property
    def _weight_V(self) -> np.ndarray | None:
        if not self.config.rarity or self.counts_V is None:
            return None
        weight_V: np.ndarray = np.maximum(self.counts_V, 1.0) ** -self.config.rarity
        return weight_V

    def _replacement(self, tokens_N: np.ndarray, unit_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw_N = rng.random(len(tokens_N))
        if isinstance(self.config.unit, GeometricSpans):
            draw_N = draw_N[unit_N]
        random_N = self._words[rng.integers(0, len(self._words), len(tokens_N))]
        masked_N = draw_N < self.config.mask_share
        shuffled_N = draw_N < self.config.mask_share + self.config.random_share
        return np.where(masked_N, self.special.mask_for("objective `masked`"), np.where(shuffled_N, random_N, tokens_N))
