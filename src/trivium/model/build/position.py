"""Position schemes from their configuration, each in the one place where it acts."""

from typing import NamedTuple, assert_never

from torch import nn

from trivium.model.config import Alibi, Learned, NoPosition, RelativeBuckets, Rotary, Sinusoidal, StackConfig
from trivium.model.positions import (
    AlibiScores,
    LearnedPositions,
    RelativeBucketScores,
    RotaryPositions,
    SinusoidalPositions,
)


class PositionParts(NamedTuple):
    """At most one of the three is there."""

    embedding: nn.Module | None = None
    rotary: RotaryPositions | None = None
    scores: nn.Module | None = None


def build_position(config: StackConfig, hidden_size: int) -> PositionParts:
    """Return the stack's position scheme."""
    attention = config.pattern[0].attention
    match config.position:
        case Learned(max_length=max_length):
            return PositionParts(embedding=LearnedPositions(max_length=max_length, size=hidden_size))
        case Sinusoidal():
            return PositionParts(embedding=SinusoidalPositions(size=hidden_size))
        case Rotary(base=base):
            return PositionParts(rotary=RotaryPositions(head_size=attention.head_size, base=base))
        case Alibi():
            return PositionParts(scores=AlibiScores(num_heads=attention.num_heads))
        case RelativeBuckets(num_buckets=num_buckets, max_distance=max_distance, bidirectional=bidirectional):
            return PositionParts(
                scores=RelativeBucketScores(
                    num_heads=attention.num_heads,
                    num_buckets=num_buckets,
                    max_distance=max_distance,
                    bidirectional=bidirectional,
                )
            )
        case NoPosition():
            return PositionParts()
        case _:
            assert_never(config.position)
