"""Masked tokens (BERT, Devlin et al. 2019, section 3.1): some are hidden, the network names them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from trivium.core.batch import Batch, Rows, Term
from trivium.core.config import Config
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.heads import Network
from trivium.objectives.base import Predicted, as_network, predicted_tokens, require_one_stack, token_counts


class MaskedConfig(Config):
    """Of the chosen tokens 80 % become the mask, 10 % a random token, 10 % stay."""

    kind: Literal["masked"] = "masked"
    rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    mask_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    random_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.mask_share + self.random_share > 1.0 + 1e-9:
            raise ValueError(
                f"`mask_share` and `random_share` must not exceed 1 together: {self.mask_share} + {self.random_share}"
            )
        return self


@dataclass(frozen=True)
class Masked:
    """The masked objective; `rate` of each row's tokens is chosen, special tokens never.

    Raises:
        ConfigError: the tokenizer has no mask token.
    """

    config: MaskedConfig
    special: SpecialTokens
    vocabulary_size: int
    balanced: bool = False

    def __post_init__(self) -> None:
        self.special.mask_for("objective `masked`")

    def network(self, config: ModelConfig) -> nn.Module:
        """Build an encoder (or a decoder's stack, read both ways)."""
        require_one_stack(config, "masked")
        return build_network(config)

    def make(self, rows: Rows, key: Key) -> Batch:
        """Choose, hide and label; a row with fewer tokens than its capacity has weights 0 for the rest."""
        tokens_BL = rows.tokens_BL[:, :-1].copy()
        document_BL = rows.document_BL[:, :-1]
        length = tokens_BL.shape[1]
        capacity = max(1, round(self.config.rate * length))
        places_BN = np.zeros((len(tokens_BL), capacity), dtype=np.int64)
        weights_BN = np.zeros((len(tokens_BL), capacity), dtype=np.float32)
        can_hide_BL = (document_BL >= 0) & ~np.isin(tokens_BL, self._special)
        labels_BN = np.zeros_like(places_BN)
        for b in range(len(tokens_BL)):
            rng = key.child("masked", rows.epoch_B[b], rows.row_B[b]).numpy()
            candidates = np.flatnonzero(can_hide_BL[b])
            # A short row hides the same share of what it has.
            count = min(round(capacity * (document_BL[b] >= 0).mean()), len(candidates))
            chosen = np.sort(rng.permutation(candidates)[:count])
            places_BN[b, :count] = chosen
            weights_BN[b, :count] = 1.0
            labels_BN[b, :count] = tokens_BL[b, chosen]
            tokens_BL[b, chosen] = self._replacement(tokens_BL[b, chosen], rng)
        document = torch.from_numpy(np.ascontiguousarray(document_BL))
        position = torch.from_numpy(positions_of(document_BL))
        return Batch(
            tokens_BL=torch.from_numpy(tokens_BL),
            layout=TokenLayout.bidirectional(document, position),
            labels_BN=torch.from_numpy(labels_BN),
            places_BN=torch.from_numpy(places_BN),
            weights_BN=torch.from_numpy(weights_BN),
        )

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of hidden tokens."""
        return token_counts("masked", batch, balanced=self.balanced)

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the hidden tokens."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the hidden tokens, and the loss."""
        return predicted_tokens("masked", as_network(network), batch)

    def exported(self, network: nn.Module) -> Network:
        """Return the network itself."""
        return as_network(network)

    @property
    def _special(self) -> np.ndarray:
        return np.array(sorted(self.special.all()))

    @cached_property
    def _words(self) -> np.ndarray:
        """The ids that a random token is drawn from: all but the special ones, unless there are no others."""
        words = np.setdiff1d(np.arange(self.vocabulary_size), self._special)
        return words if len(words) else np.arange(self.vocabulary_size)

    def _replacement(self, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw = rng.random(len(tokens))
        random = self._words[rng.integers(0, len(self._words), len(tokens))]
        masked = draw < self.config.mask_share
        shuffled = draw < self.config.mask_share + self.config.random_share
        return np.where(masked, self.special.mask_for("objective `masked`"), np.where(shuffled, random, tokens))
