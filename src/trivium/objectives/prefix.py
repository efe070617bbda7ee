"""Prefix language modelling (T5, Raffel et al. 2020, section 3.2.1): a text begins read both ways and goes on written.

In one stack the ranks say so: 0 inside the prefix, the position after it.
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
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.objectives.base import PredictsTokens, require_one_stack
from trivium.objectives.causal import follows, next_tokens
from trivium.objectives.pieces import pieces_of


class PrefixConfig(Config):
    """The prefix is at most this share of a document's tokens; every length up to that is equally likely."""

    kind: Literal["prefix"] = "prefix"
    max_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


@dataclass(frozen=True)
class Prefix(PredictsTokens):
    """The prefix objective of one stack; every document leaves at least one token to predict.

    A document of n tokens has a prefix of 1 to n - 1 of them, of 1 to `max_share` n if that is less; the first token
    after it is predicted from its last. One of a single token has nothing to predict.
    """

    config: PrefixConfig
    name: ClassVar[str] = "prefix"

    def network(self, config: ModelConfig) -> nn.Module:
        """Build a decoder (or an encoder's stack)."""
        require_one_stack(config, "prefix")
        return build_network(config)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Draw a prefix for each document and label what comes after it."""
        document_BL = np.ascontiguousarray(rows.document_BL[:, :-1])
        position_BL = positions_of(document_BL)
        prefix_BL = np.zeros_like(position_BL)  # the length of the prefix of each place's document
        for b, document_L in enumerate(document_BL):
            rng = key.child("prefix", rows.epoch_B[b], rows.row_B[b]).numpy()
            for piece in pieces_of(document_L):
                longest = max(1, min(piece.length - 1, int(self.config.max_share * piece.length)))
                prefix_BL[b, piece.start : piece.stop] = rng.integers(1, longest + 1)
        rank_BL = np.where(position_BL < prefix_BL, 0, position_BL).astype(np.int32)
        layout = TokenLayout.ranked(*(torch.from_numpy(part) for part in (document_BL, position_BL, rank_BL)))
        return next_tokens(rows, layout, follows(rows) & (position_BL >= prefix_BL - 1))
