"""A stack of blocks over an embedding: the encoder and the decoder are both this."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trivium.core.batch import Batch
from trivium.core.layout import TokenLayout
from trivium.model.attention import Asked, SelfAttention, Source
from trivium.model.block import Block, ParallelBlock
from trivium.model.cache import Cache, LayerCache
from trivium.model.embedding import Embedding
from trivium.model.experts import MixtureOfExperts
from trivium.model.places import rows_at_places
from trivium.model.view import Tally, View

_NARROW = 2  # the last layer computes at the asked places alone where they are at most this part of a row


class Stack(nn.Module):
    """Embedding, blocks, final norm. Whether it encodes or decodes is in the batch's layout, not here.

    Args:
        embedding: tokens to hidden states.
        scores: what positions add to the scores of all layers; None = nothing.
        blocks: the blocks, each with weights of its own.
        order: which block each layer is.
        final_norm, final_dropout: the identity where there is none.
    """

    def __init__(
        self,
        *,
        embedding: Embedding,
        scores: nn.Module | None,
        blocks: nn.ModuleList,
        order: tuple[int, ...],
        final_norm: nn.Module,
        final_dropout: nn.Module,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.scores = scores
        self.blocks = blocks
        self.order = order
        self.final_norm = final_norm
        self.final_dropout = final_dropout
        # Of the process and not of the architecture: memory for time (Chen et al. 2016), the numbers stay the same.
        self.recompute = False

    def forward(
        self,
        batch: Batch,
        source: tuple[Tensor, TokenLayout] | None = None,
        cache: Cache | None = None,
        tally: Tally | None = None,
        places_BN: Tensor | None = None,
    ) -> Tensor:
        """Return hidden_BLD for the batch's tokens, or hidden_BND at some of their places.

        The last layer is the only one whose states are seen by no other layer: where few places are asked for, it
        computes queries and all that follows for these alone.

        Args:
            batch: tokens and layout; with a cache, only the places that are new.
            source: the encoder's hidden states and layout, for the decoder of an encoder-decoder.
            cache: keys and values of earlier places, extended in place.
            tally: takes what layers ask to be learned beside the objective.
            places_BN: int64, the places of each row that are asked for; None = all.
        """
        hidden_BLD = self.embedding(batch)
        own = batch.layout
        seen = own if cache is None else cache.extend(own)
        scores_BHLM = None if self.scores is None else self.scores(own.position_BL, seen.position_BL)
        is_open = cache is not None and cache.is_open_to(own)
        view = View(own, seen, scores_BHLM=scores_BHLM, tally=tally, is_open=is_open)
        looked_at = None
        if source is not None:
            hidden_BMD, layout = source
            looked_at = Source(hidden_BMD, View(own, layout))
        asked = None
        for layer, number in enumerate(self.order):
            layer_cache = None if cache is None else cache.layers[layer]
            if layer == len(self.order) - 1 and places_BN is not None and self._narrows(places_BN, own):
                asked = Asked(places_BN, view.at(places_BN))
                looked_at = None if looked_at is None else looked_at.at(places_BN)
            block: Callable[..., Tensor] = self.blocks[number]
            if self.recompute and torch.is_grad_enabled():
                block = partial(checkpoint, partial(_recomputable, block), use_reentrant=False)
            hidden_BLD = block(hidden_BLD, view, looked_at, layer_cache, asked)
        if places_BN is not None and asked is None:
            hidden_BLD = rows_at_places(hidden_BLD, places_BN)
        return self.final_dropout(self.final_norm(hidden_BLD))

    def _narrows(self, places_BN: Tensor, layout: TokenLayout) -> bool:
        """Return whether the last layer is to compute at some places only: enough are left out to be worth it.

        Experts are balanced over all tokens of a row.
        """
        few = 0 < _NARROW * places_BN.shape[1] <= layout.document_BL.shape[1]
        return few and not any(isinstance(module, MixtureOfExperts) for module in self.blocks[self.order[-1]].modules())

    def new_cache(self, *, rows: int, max_length: int) -> Cache:
        """Return an empty cache for documents of up to `max_length` tokens."""
        like = self.embedding.tokens.weight
        layers = []
        for number in self.order:
            block = self.blocks[number]
            attention = block.attention.branch if isinstance(block, Block | ParallelBlock) else None
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
        return Cache(layers, max_length=max_length)


def _recomputable(
    block: Callable[..., Tensor],
    hidden_BLD: Tensor,
    view: View,
    source: Source | None,
    cache: LayerCache | None,
    asked: Asked | None,
) -> Tensor:
    """Return what a block makes, with masks and biases of its own: what is made a second time must be made in full."""
    source, asked = None if source is None else source.anew(), None if asked is None else asked.anew()
    return block(hidden_BLD, view.anew(), source, cache, asked)


def recompute_blocks(network: nn.Module) -> None:
    """Let the blocks of all stacks forget what they computed, and compute it again for the gradient."""
    for module in network.modules():
        if isinstance(module, Stack):
            module.recompute = True
