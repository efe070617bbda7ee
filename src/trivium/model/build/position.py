"""Position schemes from their configuration, each in the one place where it acts."""

from typing import assert_never

from torch import nn

from trivium.model.config import StackConfig
from trivium.model.parts import (
    Alibi,
    Learned,
    LinearScaling,
    Llama3Scaling,
    NoPosition,
    NtkScaling,
    Position,
    RelativeBuckets,
    Rotary,
    Sinusoidal,
    YarnScaling,
)
from trivium.model.positions import AlibiScores, LearnedPositions, RelativeBucketScores, SinusoidalPositions
from trivium.model.rotary import (
    RotaryPositions,
    linear_frequencies,
    llama3_frequencies,
    ntk_frequencies,
    plain_frequencies,
    yarn_amplitude,
    yarn_frequencies,
)


def build_embedding_positions(position: Position, size: int) -> nn.Module | None:
    """Return what the scheme adds to an embedding of `size`; None for schemes that act elsewhere."""
    match position:
        case Learned(max_length=max_length, offset=offset):
            return LearnedPositions(max_length=max_length, offset=offset, size=size)
        case Sinusoidal():
            return SinusoidalPositions(size=size)
        case Rotary() | Alibi() | RelativeBuckets() | NoPosition():
            return None
        case _:
            assert_never(position)


def build_scores(config: StackConfig) -> nn.Module | None:
    """Return what the stack's scheme adds to the scores of all layers; None for schemes that act elsewhere."""
    num_heads = config.pattern[0].attention.num_heads
    match config.position:
        case Alibi():
            return AlibiScores(num_heads=num_heads)
        case RelativeBuckets(num_buckets=num_buckets, max_distance=max_distance, bidirectional=bidirectional):
            return RelativeBucketScores(
                num_heads=num_heads, num_buckets=num_buckets, max_distance=max_distance, bidirectional=bidirectional
            )
        case Learned() | Sinusoidal() | Rotary() | NoPosition():
            return None
        case _:
            assert_never(config.position)


def build_rotary(position: Position, head_size: int) -> RotaryPositions | None:
    """Return how a layer turns its queries and keys; None for schemes that act elsewhere."""
    if not isinstance(position, Rotary):
        return None
    size, base = int(head_size * position.share), position.base
    plain = plain_frequencies(size, base)
    match position.scaling:
        case None:
            return RotaryPositions(plain)
        case LinearScaling(factor=factor):
            return RotaryPositions(linear_frequencies(plain, factor))
        case NtkScaling(factor=factor):
            return RotaryPositions(ntk_frequencies(size, base, factor))
        case YarnScaling(factor=factor) as yarn:
            frequencies = yarn_frequencies(
                size,
                base,
                factor=factor,
                original_length=yarn.original_length,
                beta_fast=yarn.beta_fast,
                beta_slow=yarn.beta_slow,
                truncate=yarn.truncate,
            )
            amplitude = yarn_amplitude(factor) if yarn.attention_factor is None else yarn.attention_factor
            return RotaryPositions(frequencies, amplitude)
        case Llama3Scaling(factor=factor, original_length=original_length) as llama3:
            return RotaryPositions(
                llama3_frequencies(
                    plain,
                    factor=factor,
                    original_length=original_length,
                    low=llama3.low_frequency_factor,
                    high=llama3.high_frequency_factor,
                )
            )
        case _:
            assert_never(position.scaling)
