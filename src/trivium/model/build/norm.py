"""Norms from their configuration."""

from typing import NamedTuple, assert_never

from torch import nn

from trivium.model.config import BlockConfig, LayerNormConfig, NormConfig, RMSNormConfig
from trivium.model.norm import LayerNorm, RMSNorm


def build_norm(config: NormConfig | None, size: int) -> nn.Module:
    """Return the norm for vectors of `size`; the identity for None."""
    match config:
        case None:
            return nn.Identity()
        case LayerNormConfig(eps=eps, bias=bias):
            return LayerNorm(size=size, eps=eps, bias=bias)
        case RMSNormConfig(eps=eps):
            return RMSNorm(size=size, eps=eps)
        case _:
            assert_never(config)


class NormSlots(NamedTuple):
    """The three places of a sublayer that a norm can be in."""

    into: nn.Module
    out: nn.Module
    after: nn.Module


def build_slots(block: BlockConfig, size: int) -> NormSlots:
    """Return the norms of one sublayer, where the block's placement puts them."""
    identity = nn.Identity()
    match block.placement:
        case "pre":
            return NormSlots(build_norm(block.norm, size), identity, identity)
        case "post":
            return NormSlots(identity, identity, build_norm(block.norm, size))
        case "sandwich":
            return NormSlots(build_norm(block.norm, size), build_norm(block.norm, size), identity)
        case _:
            assert_never(block.placement)
