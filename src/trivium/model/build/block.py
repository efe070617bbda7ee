"""Blocks from their configuration."""

from typing import assert_never

from torch import nn

from trivium.model.attention import CrossAttention, SelfAttention
from trivium.model.block import Block, LayerScale, ParallelBlock, Scale, Sublayer
from trivium.model.build.dropout import build_depth, build_dropout
from trivium.model.build.feed_forward import build_feed_forward
from trivium.model.build.norm import build_norm, build_slots
from trivium.model.build.position import build_rotary
from trivium.model.config import BlockConfig
from trivium.model.kernels import Kernel, Scoring
from trivium.model.light import Identity
from trivium.model.linear import Linear
from trivium.model.parts import (
    AttentionConfig,
    DeepNorm,
    LayerScaleConfig,
    Parallel,
    Position,
    Residual,
    Sequential,
    Sum,
)


def build_block(
    config: BlockConfig,
    *,
    position: Position,
    hidden_size: int,
    kernel: Kernel,
    first_norm: bool = True,
    skipped: float = 0.0,
) -> Block | ParallelBlock:
    """Return one block of a stack.

    Args:
        config: what it is made of.
        position: the scheme of this layer.
        hidden_size: D.
        kernel: of its attention.
        first_norm: False leaves out the norm before self-attention.
        skipped: share of rows that skip its branches in training.
    """

    def sublayer(branch: nn.Module, *, into: bool = True) -> Sublayer:
        slots = build_slots(config, hidden_size, into=into)
        return Sublayer(
            branch=branch,
            into=slots.into,
            out=slots.out,
            after=slots.after,
            dropout=build_dropout(config.dropout),
            gain=_build_gain(config.residual, hidden_size),
            depth=build_depth(skipped),
            skip_scale=config.residual.alpha if isinstance(config.residual, DeepNorm) else 1.0,
        )

    cross = config.cross_attention
    attention = sublayer(_self_attention(config.attention, position, hidden_size, kernel), into=first_norm)
    cross_attention = None if cross is None else sublayer(_cross_attention(cross, hidden_size, kernel))
    feed_forward = sublayer(build_feed_forward(config.feed_forward, hidden_size))
    match config.arrangement:
        case Sequential():
            return Block(attention=attention, cross_attention=cross_attention, feed_forward=feed_forward)
        case Parallel(shared_norm=shared_norm):
            return ParallelBlock(
                norm=build_norm(config.norm if shared_norm else None, hidden_size),
                attention=attention,
                cross_attention=cross_attention,
                feed_forward=feed_forward,
            )
        case _:
            assert_never(config.arrangement)


def _build_gain(residual: Residual, hidden_size: int) -> nn.Module:
    match residual:
        case Sum(scale=scale):
            return Identity() if scale == 1.0 else Scale(scale)
        case LayerScaleConfig(start=start):
            return LayerScale(size=hidden_size, start=start)
        case DeepNorm():
            return Identity()
        case _:
            assert_never(residual)


def _scoring(config: AttentionConfig) -> Scoring:
    scale = config.head_size**-0.5 if config.scale is None else config.scale
    return Scoring(scale=scale, soft_cap=config.soft_cap, window=config.window, dropout=config.dropout)


def _self_attention(config: AttentionConfig, position: Position, hidden_size: int, kernel: Kernel) -> SelfAttention:
    columns = (config.num_heads + 2 * config.num_key_value_heads) * config.head_size
    return SelfAttention(
        num_key_value_heads=config.num_key_value_heads,
        head_size=config.head_size,
        qkv=Linear(hidden_size, columns, bias=config.bias),
        out=_output(config, hidden_size),
        gate=_gate(config, hidden_size),
        query_norm=build_norm(config.query_key_norm, config.head_size),
        key_norm=build_norm(config.query_key_norm, config.head_size),
        rotary=build_rotary(position, config.head_size),
        scoring=_scoring(config),
        kernel=kernel,
    )


def _cross_attention(config: AttentionConfig, hidden_size: int, kernel: Kernel) -> CrossAttention:
    return CrossAttention(
        head_size=config.head_size,
        query=Linear(hidden_size, config.num_heads * config.head_size, bias=config.bias),
        key_value=Linear(hidden_size, 2 * config.num_key_value_heads * config.head_size, bias=config.bias),
        out=_output(config, hidden_size),
        gate=_gate(config, hidden_size),
        query_norm=build_norm(config.query_key_norm, config.head_size),
        key_norm=build_norm(config.query_key_norm, config.head_size),
        scoring=_scoring(config),
        kernel=kernel,
    )


def _output(config: AttentionConfig, hidden_size: int) -> nn.Linear:
    bias = config.bias if config.output_bias is None else config.output_bias
    return Linear(config.num_heads * config.head_size, hidden_size, bias=bias)


def _gate(config: AttentionConfig, hidden_size: int) -> nn.Linear | None:
    return Linear(hidden_size, config.num_heads, bias=False) if config.output_gate else None
