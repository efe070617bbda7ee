"""Dropout from its probability; the identity for 0, so that nothing is drawn."""

from torch import nn

from trivium.model.dropout import Dropout, StochasticDepth
from trivium.model.light import Identity


def build_dropout(probability: float) -> nn.Module:
    """Return what sets numbers to 0 with this probability."""
    return Dropout(probability) if probability else Identity()


def build_depth(probability: float) -> nn.Module:
    """Return what skips branches with this probability."""
    return StochasticDepth(probability) if probability else Identity()
