"""Contrastive texts (SimCSE, Gao et al. 2021): two readings of a text, unlike by dropout only, find each other."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from trivium.core.batch import AnyBatch, Batch, Labels, Rows, Term, reading
from trivium.core.config import Config
from trivium.core.errors import ConfigError
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.dropout import draws
from trivium.model.heads import Network
from trivium.model.pooling import document_means
from trivium.objectives.base import as_network, plain, require_one_stack
from trivium.objectives.pieces import pieces_of


class ContrastiveConfig(Config):
    """Which texts are compared, and how sharply.

    Args:
        temperature: similarities are divided by it.
        group_rows: so many neighbouring rows are compared with each other.
        min_tokens: shorter pieces of documents are read and not compared.
    """

    kind: Literal["contrastive"] = "contrastive"
    temperature: PositiveFloat = 0.05
    group_rows: PositiveInt = 8
    min_tokens: Annotated[int, Field(ge=2)] = 8


@dataclass(frozen=True)
class Contrastive:
    """The contrastive objective over the means of documents' hidden states.

    Raises:
        ConfigError: from `network`, when it has no dropout.
    """

    config: ContrastiveConfig
    speaks: ClassVar[bool] = False

    @property
    def rows_together(self) -> int:
        """Rows of a group."""
        return self.config.group_rows

    def network(self, config: ModelConfig) -> nn.Module:
        """Build an encoder (or a decoder's stack, read both ways)."""
        require_one_stack(config, "contrastive")
        network = build_network(config)
        if not draws(network):
            raise ConfigError(
                "objective `contrastive` compares two readings that dropout makes different, and this network drops "
                "nothing out; give it dropout (model.family.stack.pattern.0.dropout)."
            )
        return network

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> Batch:
        """Mark the documents that are long enough by their first places; nothing is drawn."""
        document_BL = np.ascontiguousarray(rows.document_BL[:, :-1])
        shape = (len(document_BL), max(1, document_BL.shape[1] // self.config.min_tokens))
        places_BN, weights_BN = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        for b, document_L in enumerate(document_BL):
            starts = [piece.start for piece in pieces_of(document_L) if piece.length >= self.config.min_tokens]
            places_BN[b, : len(starts)], weights_BN[b, : len(starts)] = starts, 1.0
        document, position = torch.from_numpy(document_BL), torch.from_numpy(positions_of(document_BL))
        tokens = torch.from_numpy(np.ascontiguousarray(rows.tokens_BL[:, :-1]))
        labels = Labels(
            torch.zeros(shape, dtype=torch.int64), torch.from_numpy(places_BN), torch.from_numpy(weights_BN)
        )
        return replace(reading(tokens, TokenLayout.bidirectional(document, position)), documents=labels)

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the number of documents that are compared."""
        return {"contrastive": float(_documents(plain(batch)).weights_BN.sum())}

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of finding each document's second reading among those of its group."""
        batch, asked = plain(batch), _documents(plain(batch))
        first_ND, second_ND = (document_means(network(batch), batch.layout, asked.places_BN).float() for _ in range(2))
        nats = nearest_nats(
            first_ND.view(-1, self.config.group_rows * asked.places_BN.shape[1], first_ND.shape[-1]),
            second_ND.view(-1, self.config.group_rows * asked.places_BN.shape[1], first_ND.shape[-1]),
            asked.weights_BN.reshape(-1, self.config.group_rows * asked.places_BN.shape[1]),
            self.config.temperature,
        )
        return (Term("contrastive", nats),)

    def exported(self, network: nn.Module) -> Network:
        """Return the network itself; its head has learned nothing."""
        return as_network(network)

    def trained_name(self, name: str) -> str:
        """Return the name itself."""
        return name


def nearest_nats(first_GSD: Tensor, second_GSD: Tensor, weights_GS: Tensor, temperature: float) -> Tensor:
    """Return the summed cross-entropy of naming, for each text, its own second reading by cosine (equation 1).

    Args:
        first_GSD, second_GSD: two readings of S texts in each of G groups.
        weights_GS: 1 for those that are compared.
        temperature: of the softmax.
    """
    first_GSD, second_GSD = (functional.normalize(part, dim=-1) for part in (first_GSD, second_GSD))
    scores_GST = first_GSD @ second_GSD.transpose(1, 2) / temperature
    scores_GST = scores_GST.masked_fill(weights_GS[:, None, :] == 0, torch.finfo(scores_GST.dtype).min)
    own_GS = scores_GST.diagonal(dim1=1, dim2=2)
    # Where a text is not compared its own score is out of the sum: no gradient comes of it.
    nats_GS = torch.where(weights_GS > 0, scores_GST.logsumexp(-1) - own_GS, 0.0)
    return nats_GS.sum()


def _documents(batch: Batch) -> Labels:
    if batch.documents is None:
        raise TypeError("expected a batch with labels of documents")
    return batch.documents
