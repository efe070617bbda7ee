"""Causal language modelling (GPT): every token is predicted from those before it in its document."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from trivium.core.batch import Batch, Rows, Term
from trivium.core.config import Config
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.heads import Network
from trivium.objectives.base import Predicted, as_network, predicted_tokens, require_one_stack, token_counts


class CausalConfig(Config):
    """Next-token prediction has no parameters."""

    kind: Literal["causal"] = "causal"


@dataclass(frozen=True)
class Causal:
    """The causal objective. Labels are aligned here; nothing after this shifts."""

    balanced: bool = False

    def network(self, config: ModelConfig) -> nn.Module:
        """Build a decoder (or an encoder's stack, read from left to right)."""
        require_one_stack(config, "causal")
        return build_network(config)

    def make(self, rows: Rows, key: Key) -> Batch:
        """Label each place with the next token of its document; nothing is drawn."""
        document_BL = rows.document_BL[:, :-1]
        follows_BL = (rows.document_BL[:, 1:] == document_BL) & (document_BL >= 0)
        places_BL = np.tile(np.arange(document_BL.shape[1]), (len(document_BL), 1))
        document = torch.from_numpy(np.ascontiguousarray(document_BL))
        position = torch.from_numpy(positions_of(document_BL))
        return Batch(
            tokens_BL=torch.from_numpy(np.ascontiguousarray(rows.tokens_BL[:, :-1])),
            layout=TokenLayout.causal(document, position),
            labels_BN=torch.from_numpy(np.ascontiguousarray(rows.tokens_BL[:, 1:])),
            places_BN=torch.from_numpy(places_BL),
            weights_BN=torch.from_numpy(follows_BL.astype(np.float32)),
        )

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of predicted tokens."""
        return token_counts("causal", batch, balanced=self.balanced)

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the next tokens."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the next tokens, and the loss."""
        return predicted_tokens("causal", as_network(network), batch)

    def exported(self, network: nn.Module) -> Network:
        """Return the network itself."""
        return as_network(network)
