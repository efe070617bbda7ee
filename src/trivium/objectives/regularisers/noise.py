"""Noise on the embeddings: how it is laid into a batch, how it is drawn, and NEFTune."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.objectives.base import Predicted
from trivium.objectives.regularisers.base import Regularised
from trivium.objectives.regularisers.config import NeftuneConfig

# (length, size, generator) -> numbers of one row, [L, D]
Draw = Callable[[int, int, torch.Generator], Tensor]


def embedded(batch: Batch) -> tuple[Batch, ...]:
    """Return the parts of a batch whose tokens are embedded: its own and its source."""
    return (batch,) if batch.source is None else (batch, batch.source)


def with_noise(batch: Batch, noises: Sequence[Tensor]) -> Batch:
    """Return the batch with noise_BLD added to each of its `embedded` parts, beside the noise that it has."""
    own = noises[0] if batch.noise_BLD is None else batch.noise_BLD + noises[0]
    source = None if batch.source is None else with_noise(batch.source, noises[1:])
    return replace(batch, noise_BLD=own, source=source)


def drawn_noises(batch: Batch, size: int, draw: Draw, key: Key) -> list[Tensor]:
    """Draw noise for each embedded part, [B, L, D], 0 at places that are not used.

    A row is drawn by its number in the step, so that cutting a step into micro-batches changes nothing.

    Args:
        batch: some rows of a step.
        size: D.
        draw: the numbers of a row.
        key: of the step.
    """
    noises = []
    for number, part in enumerate(embedded(batch)):
        rows = []
        for row in range(len(part.tokens_BL)):
            generator = torch.Generator().manual_seed(key.child(number, batch.first_row + row).integer())
            rows.append(draw(part.tokens_BL.shape[1], size, generator))
        noise_BLD = torch.stack(rows).to(part.tokens_BL.device)
        noises.append(noise_BLD * (part.layout.document_BL >= 0)[..., None].to(noise_BLD.dtype))
    return noises


def document_sums(values_BL: Tensor, document_BL: Tensor) -> Tensor:
    """Return at each place the sum of the values of its document; unused places are a document of their own."""
    index_BL = (document_BL + 1).long()
    sums_BS = values_BL.new_zeros(len(values_BL), int(index_BL.max()) + 1).scatter_add(1, index_BL, values_BL)
    return sums_BS.gather(1, index_BL)


def document_maxima(values_BL: Tensor, document_BL: Tensor) -> Tensor:
    """Return at each place the highest of its document's values, none of which is below 0."""
    index_BL = (document_BL + 1).long()
    zeros_BS = values_BL.new_zeros(len(values_BL), int(index_BL.max()) + 1)
    return zeros_BS.scatter_reduce(1, index_BL, values_BL, "amax").gather(1, index_BL)


@dataclass(frozen=True)
class Neftune(Regularised):
    """Uniform noise on the embeddings (Jain et al. 2023, algorithm 1): alpha / sqrt(L D) times U(-1, 1).

    L are the tokens of a document, where the paper has one text a row. Differs from the paper where a model norms its
    embeddings: the noise is added after the norm (see `model.embedding`).

    Args:
        hidden_size: D.
    """

    config: NeftuneConfig
    hidden_size: int

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the wrapped counts."""
        return self.learned.counts(batch)

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return what is predicted from embeddings with noise."""
        noises = [
            noise_BLD * self._scale(part.layout.document_BL)[..., None]
            for part, noise_BLD in zip(
                embedded(batch), drawn_noises(batch, self.hidden_size, _uniform, key.child("neftune")), strict=True
            )
        ]
        return self.learned.predicted(network, with_noise(batch, noises), key)

    def _scale(self, document_BL: Tensor) -> Tensor:
        length_BL = document_sums(torch.ones(document_BL.shape, device=document_BL.device), document_BL)
        return self.config.alpha / (math.sqrt(self.hidden_size) * length_BL.sqrt())


def _uniform(length: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.rand(length, size, generator=generator) * 2.0 - 1.0
