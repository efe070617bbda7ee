"""One block of a stack, made of sublayers with three slots for norms."""

from typing import Any

from torch import Tensor, nn

from trivium.model.attention import Source, View
from trivium.model.cache import LayerCache


class Sublayer(nn.Module):
    """`x = after(x + branch_scale * dropout(out(f(into(x)))))`; an absent norm is the identity.

    Pre-norm fills `into`, post-norm `after`, sandwich `into` and `out`.
    """

    def __init__(
        self,
        *,
        branch: nn.Module,
        into: nn.Module,
        out: nn.Module,
        after: nn.Module,
        dropout: nn.Module,
        branch_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.branch = branch
        self.into = into
        self.out = out
        self.after = after
        self.dropout = dropout
        self.branch_scale = branch_scale

    def forward(self, hidden_BLD: Tensor, *context: Any) -> Tensor:
        """Return the hidden states with the branch added; `context` is handed to the branch."""
        added_BLD = self.dropout(self.out(self.branch(self.into(hidden_BLD), *context)))
        if self.branch_scale != 1.0:
            added_BLD = added_BLD * self.branch_scale
        return self.after(hidden_BLD + added_BLD)


class Block(nn.Module):
    """Self-attention, cross-attention where there is a source, feed-forward, one after the other."""

    def __init__(self, *, attention: Sublayer, cross_attention: Sublayer | None, feed_forward: Sublayer) -> None:
        super().__init__()
        self.attention = attention
        self.cross_attention = cross_attention
        self.feed_forward = feed_forward

    def forward(
        self, hidden_BLD: Tensor, view: View, source: Source | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """Return the hidden states after this block, [B, L, D]."""
        hidden_BLD = self.attention(hidden_BLD, view, cache)
        if self.cross_attention is not None:
            hidden_BLD = self.cross_attention(hidden_BLD, source, cache)
        return self.feed_forward(hidden_BLD)
