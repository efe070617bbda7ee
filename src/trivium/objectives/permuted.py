"""Permutation language modelling (XLNet, Yang et al. 2019): tokens in a random order, each from those before it there.

Both of XLNet's streams lie in one row. The content stream is the text, whose ranks are its places in the random order.
Of the query stream there are the predicted places only: masks that stand at the position of what they predict, look as
far as what comes before it in the order, and are seen by nobody (the paper's section 2.3).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from trivium.core.batch import Batch, Rows
from trivium.core.config import Config
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.random import Key
from trivium.core.special import SpecialTokens
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.objectives.base import PredictsTokens, require_one_stack
from trivium.objectives.pieces import pieces_of

_NEVER = np.iinfo(np.int32).max  # the rank of what nobody sees


class PermutedConfig(Config):
    """Only the last `rate` of each order is predicted (1 / K in the paper, with K = 6)."""

    kind: Literal["permuted"] = "permuted"
    rate: Annotated[float, Field(gt=0.0, le=0.5)] = 1.0 / 6.0


@dataclass(frozen=True)
class Permuted(PredictsTokens):
    """The permutation objective; special tokens come first in every order and are never predicted.

    Differs from XLNet: no segments of earlier rows are remembered, single tokens are predicted rather than spans, and
    positions are whatever the model has.

    Raises:
        ConfigError: the tokenizer has no mask token.
    """

    config: PermutedConfig
    special: SpecialTokens
    name: ClassVar[str] = "permuted"

    def __post_init__(self) -> None:
        self.special.mask_for("objective `permuted`")

    def network(self, config: ModelConfig) -> nn.Module:
        """Build an encoder (or a decoder's stack)."""
        require_one_stack(config, "permuted")
        return build_network(config)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Draw an order for each document; after the L places of the text come the places of the queries."""
        tokens_BL, document_BL = rows.tokens_BL[:, :-1], rows.document_BL[:, :-1]
        num_rows, length = tokens_BL.shape
        capacity = max(1, round(self.config.rate * length))
        rank_BL = np.zeros((num_rows, length), dtype=np.int32)
        asked_BN = np.zeros((num_rows, capacity), dtype=np.int64)
        used_BN = np.zeros((num_rows, capacity), dtype=bool)
        for b in range(num_rows):
            rng = key.child("permuted", rows.epoch_B[b], rows.row_B[b]).numpy()
            order_L, asked = self._orders(tokens_BL[b], document_BL[b], rng)
            rank_BL[b] = order_L
            asked = np.sort(asked[:capacity])
            asked_BN[b, : len(asked)], used_BN[b, : len(asked)] = asked, True
        return self._batch(tokens_BL, document_BL, rank_BL, asked_BN, used_BN)

    def _orders(
        self, tokens_L: np.ndarray, document_L: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rank of each token of a row, from 1 on, and the places that are predicted, in random order."""
        rank_L = np.ones(len(tokens_L), dtype=np.int64)
        fixed_L = np.isin(tokens_L, sorted(self.special.all()))
        asked: list[np.ndarray] = []
        for piece in pieces_of(document_L):
            places = piece.start + np.flatnonzero(~fixed_L[piece.start : piece.stop])
            order = rng.permutation(places)
            rank_L[order] = 2 + np.arange(len(order))
            # Of a text without special tokens the first of the order has nothing to be predicted from.
            most = len(order) - (len(order) == piece.length)
            count = min(int(self.config.rate * piece.length + rng.random()), most)
            asked.append(order[len(order) - count :])
        found = np.concatenate(asked) if asked else np.zeros(0, dtype=np.int64)
        return rank_L, rng.permutation(found)

    def _batch(
        self,
        tokens_BL: np.ndarray,
        document_BL: np.ndarray,
        rank_BL: np.ndarray,
        asked_BN: np.ndarray,
        used_BN: np.ndarray,
    ) -> Batch:
        def asked(values_BL: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values_BL, asked_BN, axis=1)

        def joined(text_BL: np.ndarray, queries_BN: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.concatenate((text_BL, queries_BN), axis=1))

        position_BL = positions_of(document_BL)
        masks_BN = np.full_like(asked_BN, self.special.mask_for("objective `permuted`"))
        layout = TokenLayout.ranked(
            joined(document_BL, np.where(used_BN, asked(document_BL), -1).astype(np.int32)),
            joined(position_BL, asked(position_BL)),
            joined(rank_BL, asked(rank_BL) - 1),
            # Queries that are not used see each other, as all unused places do.
            joined(rank_BL, np.where(used_BN, _NEVER, 0).astype(np.int32)),
        )
        places_BN = np.tile(tokens_BL.shape[1] + np.arange(asked_BN.shape[1]), (len(asked_BN), 1))
        return Batch(
            tokens_BL=joined(tokens_BL, masks_BN),
            layout=layout,
            labels_BN=torch.from_numpy(asked(tokens_BL)),
            places_BN=torch.from_numpy(places_BN),
            weights_BN=torch.from_numpy(used_BN.astype(np.float32)),
        )
