"""Norms from their configuration, and where a block's placement puts them."""

from typing import NamedTuple, assert_never

from torch import nn

from trivium.model.config import BlockConfig
from trivium.model.light import Identity
from trivium.model.norm import LayerNorm, RMSNorm
from trivium.model.parts import LayerNormConfig, NormConfig, Parallel, RMSNormConfig


def build_norm(config: NormConfig | None, size: int) -> nn.Module:
    """Return the norm for vectors of `size`; the identity for None."""
    match config:
        case None:
            return Identity()
        case LayerNormConfig(eps=eps, weight=weight, bias=bias):
            return LayerNorm(size=size, eps=eps, weight=weight, bias=bias)
        case RMSNormConfig(eps=eps, weight=weight, bias=bias):
            return RMSNorm(size=size, eps=eps, weight=weight, bias=bias)
        case _:
            assert_never(config)


class NormSlots(NamedTuple):
    """The three places of a sublayer that a norm can be in."""

    into: nn.Module
    out: nn.Module
    after: nn.Module


def build_slots(block: BlockConfig, size: int, *, into: bool = True) -> NormSlots:
    """Return the norms of one sublayer, where the block's placement puts them.

    Args:
        block: says which norm and where.
        size: of the hidden states.
        into: False leaves out the one before the branch.
    """
    norm = block.norm
    shared = isinstance(block.arrangement, Parallel) and block.arrangement.shared_norm
    before = None if shared or not into else norm
    match block.placement:
        case "pre":
            slots: tuple[NormConfig | None, NormConfig | None, NormConfig | None] = (before, None, None)
        case "post":
            slots = (None, None, norm)
        case "sandwich":
            slots = (before, norm, None)
        case "output":
            slots = (None, norm, None)
        case _:
            assert_never(block.placement)
    return NormSlots(*(build_norm(slot, size) for slot in slots))
