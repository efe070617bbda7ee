"""Blocks from their configuration."""

from torch import nn

from trivium.model.attention import CrossAttention, SelfAttention
from trivium.model.block import Block, Sublayer
from trivium.model.build.feed_forward import build_feed_forward
from trivium.model.build.norm import build_slots
from trivium.model.config import AttentionConfig, BlockConfig
from trivium.model.kernels import Kernel


def build_block(config: BlockConfig, hidden_size: int, kernel: Kernel) -> Block:
    """Return one block of a stack."""

    def sublayer(branch: nn.Module) -> Sublayer:
        slots = build_slots(config, hidden_size)
        return Sublayer(
            branch=branch,
            into=slots.into,
            out=slots.out,
            after=slots.after,
            dropout=build_dropout(config.dropout),
            branch_scale=config.branch_scale,
        )

    cross = config.cross_attention
    return Block(
        attention=sublayer(_self_attention(config.attention, hidden_size, kernel)),
        cross_attention=None if cross is None else sublayer(_cross_attention(cross, hidden_size, kernel)),
        feed_forward=sublayer(build_feed_forward(config.feed_forward, hidden_size)),
    )


def build_dropout(probability: float) -> nn.Module:
    """Return a dropout layer; the identity for probability 0, so that nothing is drawn."""
    return nn.Dropout(probability) if probability else nn.Identity()


def _scale(config: AttentionConfig) -> float:
    return config.head_size**-0.5 if config.scale is None else config.scale


def _self_attention(config: AttentionConfig, hidden_size: int, kernel: Kernel) -> SelfAttention:
    return SelfAttention(
        hidden_size=hidden_size,
        num_heads=config.num_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_size=config.head_size,
        bias=config.bias,
        scale=_scale(config),
        window=config.window,
        dropout=config.dropout,
        kernel=kernel,
    )


def _cross_attention(config: AttentionConfig, hidden_size: int, kernel: Kernel) -> CrossAttention:
    return CrossAttention(
        hidden_size=hidden_size,
        num_heads=config.num_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_size=config.head_size,
        bias=config.bias,
        scale=_scale(config),
        dropout=config.dropout,
        kernel=kernel,
    )
