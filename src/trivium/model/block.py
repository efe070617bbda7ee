"""Blocks of a stack, made of sublayers with three slots for norms."""

from typing import Any

import torch
from torch import Tensor, nn

from trivium.model.attention import Asked, Source
from trivium.model.cache import LayerCache
from trivium.model.view import View


class Scale(nn.Module):
    """Multiply by a fixed number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, added_BLD: Tensor) -> Tensor:
        """Return the scaled hidden states."""
        return added_BLD * self.factor


class LayerScale(nn.Module):
    """Multiply each hidden unit by a trained gain that begins at `start` (Touvron et al. 2021)."""

    def __init__(self, *, size: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.weight = nn.Parameter(torch.full((size,), start))

    def forward(self, added_BLD: Tensor) -> Tensor:
        """Return the scaled hidden states."""
        return added_BLD * self.weight


class Sublayer(nn.Module):
    """`x = after(skip_scale * x + depth(gain(dropout(out(branch(into(x)))))))`; what is absent is the identity.

    Pre-norm fills `into`, post-norm `after`, sandwich `into` and `out`, output-norm `out`.
    """

    def __init__(
        self,
        *,
        branch: nn.Module,
        into: nn.Module,
        out: nn.Module,
        after: nn.Module,
        dropout: nn.Module,
        gain: nn.Module,
        depth: nn.Module,
        skip_scale: float,
    ) -> None:
        super().__init__()
        self.branch = branch
        self.into = into
        self.out = out
        self.after = after
        self.dropout = dropout
        self.gain = gain
        self.depth = depth
        self.skip_scale = skip_scale

    def added(self, hidden_BLD: Tensor, *context: Any) -> Tensor:
        """Return what the branch adds; `context` is handed to it."""
        return self.depth(self.gain(self.dropout(self.out(self.branch(self.into(hidden_BLD), *context)))))

    def kept(self, hidden_BLD: Tensor) -> Tensor:
        """Return what it is added to."""
        return hidden_BLD if self.skip_scale == 1.0 else hidden_BLD * self.skip_scale

    def forward(self, hidden_BLD: Tensor, *context: Any, onto: Tensor | None = None) -> Tensor:
        """Return the hidden states, or what else it is added `onto`, with the branch added."""
        return self.after(self.kept(hidden_BLD if onto is None else onto) + self.added(hidden_BLD, *context))


class Block(nn.Module):
    """Self-attention, cross-attention where there is a source, feed-forward, one after the other."""

    def __init__(self, *, attention: Sublayer, cross_attention: Sublayer | None, feed_forward: Sublayer) -> None:
        super().__init__()
        self.attention = attention
        self.cross_attention = cross_attention
        self.feed_forward = feed_forward

    def forward(
        self,
        hidden_BLD: Tensor,
        view: View,
        source: Source | None = None,
        cache: LayerCache | None = None,
        asked: Asked | None = None,
    ) -> Tensor:
        """Return the hidden states after this block, [B, L, D].

        Args:
            hidden_BLD: of all places.
            view: who sees whom.
            source: what is looked at, from the places that are asked for.
            cache: of earlier places.
            asked: the places of which alone states are returned, [B, N, D]; None = all.
        """
        if asked is None:
            hidden_BLD = self.attention(hidden_BLD, view, cache)
        else:
            hidden_BLD = self.attention(hidden_BLD, view, cache, asked, onto=asked.of(hidden_BLD))
            view = asked.view
        if self.cross_attention is not None:
            hidden_BLD = self.cross_attention(hidden_BLD, source, cache)
        return self.feed_forward(hidden_BLD, view)


class ParallelBlock(nn.Module):
    """All sublayers read the same hidden states, and what they add is added together (GPT-J, PaLM).

    `norm` is what they share before their own; the identity where they share none.
    """

    def __init__(
        self, *, norm: nn.Module, attention: Sublayer, cross_attention: Sublayer | None, feed_forward: Sublayer
    ) -> None:
        super().__init__()
        self.norm = norm
        self.attention = attention
        self.cross_attention = cross_attention
        self.feed_forward = feed_forward

    def forward(
        self,
        hidden_BLD: Tensor,
        view: View,
        source: Source | None = None,
        cache: LayerCache | None = None,
        asked: Asked | None = None,
    ) -> Tensor:
        """Return the hidden states after this block, [B, L or N, D]; arguments are those of `Block`."""
        read_BLD = self.norm(hidden_BLD)
        added_BLD = self.attention.added(read_BLD, view, cache, asked)
        if asked is not None:
            hidden_BLD, read_BLD, view = asked.of(hidden_BLD), asked.of(read_BLD), asked.view
        sum_BLD = self.attention.kept(hidden_BLD) + added_BLD
        if self.cross_attention is not None:
            sum_BLD = sum_BLD + self.cross_attention.added(read_BLD, source, cache)
        return sum_BLD + self.feed_forward.added(read_BLD, view)
