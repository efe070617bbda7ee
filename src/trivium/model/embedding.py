"""From token ids to the first hidden states."""

import torch
from torch import Tensor, nn

from trivium.core.batch import Batch, Vectors


class Embedding(nn.Module):
    """Token vectors, plus position and segment vectors where the model has them, normed, dropped out, projected.

    Args:
        tokens: may be shared with another stack and with the head.
        scale: of the token vectors.
        positions: vectors to add for the positions; None = none.
        segments: vectors to add for the segments; None = none.
        norm, dropout: the identity where there is none.
        project: from the embedding's size to the hidden size; the identity where they are one.
    """

    def __init__(
        self,
        *,
        tokens: "nn.Embedding | OffsetEmbedding",
        scale: float,
        positions: nn.Module | None,
        segments: nn.Embedding | None,
        norm: nn.Module,
        dropout: nn.Module,
        project: nn.Module,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.scale = scale
        self.positions = positions
        self.segments = segments
        self.norm = norm
        self.dropout = dropout
        self.project = project

    def forward(self, batch: Batch) -> Tensor:
        """Return the embedded tokens, hidden_BLD; segments are 0 where the batch names none.

        The batch's noise is added last: there its size means the same to the blocks of every architecture, no norm
        scales it and no dropout thins it out.
        """
        hidden_BLE = self.tokens(batch.tokens_BL)
        if self.scale != 1.0:
            hidden_BLE = hidden_BLE * self.scale
        if batch.vectors is not None:
            hidden_BLE = _replaced(hidden_BLE, batch.vectors)
        if self.positions is not None:
            hidden_BLE = hidden_BLE + self.positions(batch.layout.position_BL).to(hidden_BLE.dtype)
        if self.segments is not None:
            if batch.segments_BL is None:
                hidden_BLE = hidden_BLE + self.segments.weight[0]
            else:
                hidden_BLE = hidden_BLE + self.segments(batch.segments_BL)
        hidden_BLD: Tensor = self.project(self.dropout(self.norm(hidden_BLE)))
        return hidden_BLD if batch.noise_BLD is None else hidden_BLD + batch.noise_BLD.to(hidden_BLD.dtype)


def _replaced(hidden_BLE: Tensor, vectors: Vectors) -> Tensor:
    """Return the embedded tokens with dense vectors in the places that have them."""
    # One place more than the row has takes the vectors that are not used.
    places_BP = torch.where(vectors.places_BP < 0, hidden_BLE.shape[1], vectors.places_BP)
    values_BPE = vectors.values_BPE.to(hidden_BLE.dtype)
    longer = nn.functional.pad(hidden_BLE, (0, 0, 0, 1))
    return longer.scatter(1, places_BP[..., None].expand_as(values_BPE), values_BPE)[:, :-1]


class OffsetEmbedding(nn.Module):
    """Token vectors of another network, which learn nothing here, plus vectors of its own that begin at 0.

    DeBERTa-v3's gradient-disentangled sharing (He et al. 2023, section 3.3).

    Args:
        base: that network's token embedding.
    """

    def __init__(self, *, base: nn.Embedding) -> None:
        super().__init__()
        self.base = base
        self.offset = nn.Parameter(torch.zeros_like(base.weight))

    @property
    def embedding_dim(self) -> int:
        """Size of a vector."""
        return self.base.embedding_dim

    @property
    def weight(self) -> Tensor:
        """The vectors themselves, [V, E]."""
        return self.base.weight.detach() + self.offset

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Return hidden_BLE."""
        embed = nn.functional.embedding
        return embed(tokens_BL, self.base.weight.detach()) + embed(tokens_BL, self.offset)
