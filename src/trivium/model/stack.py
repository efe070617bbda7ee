"""A stack of blocks over an embedding: the encoder and the decoder are both this."""

import torch
from torch import Tensor, nn

from trivium.core.batch import Batch
from trivium.core.layout import TokenLayout
from trivium.model.attention import SelfAttention, Source, View
from trivium.model.block import Block
from trivium.model.cache import Cache, LayerCache
from trivium.model.embedding import Embedding
from trivium.model.positions import RotaryPositions


class Stack(nn.Module):
    """Embedding, blocks, final norm. Whether it encodes or decodes is in the batch's layout, not here."""

    def __init__(
        self,
        *,
        embedding: Embedding,
        rotary: RotaryPositions | None,
        scores: nn.Module | None,
        blocks: nn.ModuleList,
        final_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.rotary = rotary
        self.scores = scores
        self.blocks = blocks
        self.final_norm = final_norm

    def forward(
        self,
        batch: Batch,
        source: tuple[Tensor, TokenLayout] | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return hidden_BLD for the batch's tokens.

        Args:
            batch: tokens and layout; with a cache, only the places that are new.
            source: the encoder's hidden states and layout, for the decoder of an encoder-decoder.
            cache: keys and values of earlier places, extended in place.
        """
        hidden_BLD = self.embedding(batch)
        own = batch.layout
        seen = own if cache is None else cache.extend(own)
        view = self._view(own, seen, hidden_BLD.dtype)
        looked_at = None
        if source is not None:
            hidden_BMD, layout = source
            looked_at = Source(hidden_BMD, View(own, layout, rotation=None, scores=None))
        for number, block in enumerate(self.blocks):
            hidden_BLD = block(hidden_BLD, view, looked_at, None if cache is None else cache.layers[number])
        return self.final_norm(hidden_BLD)

    def new_cache(self, *, rows: int, max_length: int) -> Cache:
        """Return an empty cache for documents of up to `max_length` tokens."""
        like = self.embedding.tokens.weight
        layers = []
        for block in self.blocks:
            attention = block.attention.branch if isinstance(block, Block) else None
            if not isinstance(attention, SelfAttention):
                raise TypeError(f"no cache for {type(attention).__name__}")
            layers.append(
                LayerCache(
                    rows=rows,
                    num_key_value_heads=attention.num_key_value_heads,
                    max_length=max_length,
                    head_size=attention.head_size,
                    like=like.detach(),
                )
            )
        return Cache(layers)

    def _view(self, own: TokenLayout, seen: TokenLayout, dtype: torch.dtype) -> View:
        rotation = None if self.rotary is None else self.rotary(own.position_BL, dtype)
        scores = None if self.scores is None else self.scores(own.position_BL, seen.position_BL)
        return View(own, seen, rotation=rotation, scores=scores)
