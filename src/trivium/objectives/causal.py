"""Causal language modelling (GPT): every token is predicted from those before it in its document."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from trivium.core.batch import Batch, Rows
from trivium.core.config import Config
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.objectives.base import PredictsTokens, require_one_stack


class CausalConfig(Config):
    """Next-token prediction has no parameters."""

    kind: Literal["causal"] = "causal"


@dataclass(frozen=True)
class Causal(PredictsTokens):
    """The causal objective. Labels are aligned here; nothing after this shifts."""

    name: ClassVar[str] = "causal"

    def network(self, config: ModelConfig) -> nn.Module:
        """Build a decoder (or an encoder's stack, read from left to right)."""
        require_one_stack(config, "causal")
        return build_network(config)

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Label each place with the next token of its document; nothing is drawn."""
        document_BL = np.ascontiguousarray(rows.document_BL[:, :-1])
        layout = TokenLayout.causal(torch.from_numpy(document_BL), torch.from_numpy(positions_of(document_BL)))
        return next_tokens(rows, layout, follows(rows))


def follows(rows: Rows) -> np.ndarray:
    """Return which places of the rows have a next token in their document; bool [B, L]."""
    document_BL = rows.document_BL[:, :-1]
    goes_on_BL: np.ndarray = (rows.document_BL[:, 1:] == document_BL) & (document_BL >= 0)
    return goes_on_BL


def next_tokens(rows: Rows, layout: TokenLayout, asked_BL: np.ndarray) -> Batch:
    """Return the rows as a batch that asks for the next token at some of the places.

    Args:
        rows: packed rows of L + 1 tokens.
        layout: who sees whom.
        asked_BL: bool, where the next token is asked for.
    """
    places_BL = np.tile(np.arange(asked_BL.shape[1]), (len(asked_BL), 1))
    return Batch(
        tokens_BL=torch.from_numpy(np.ascontiguousarray(rows.tokens_BL[:, :-1])),
        layout=layout,
        labels_BN=torch.from_numpy(np.ascontiguousarray(rows.tokens_BL[:, 1:])),
        places_BN=torch.from_numpy(places_BL),
        weights_BN=torch.from_numpy(asked_BL.astype(np.float32)),
    )
