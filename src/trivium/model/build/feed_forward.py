"""Feed-forward layers and activations from their configuration."""

from functools import partial
from typing import assert_never

from torch import nn
from torch.nn import functional

from trivium.model.config import Activation, FeedForwardConfig, Gated, Plain
from trivium.model.feed_forward import ActivationFunction, GatedFeedForward, PlainFeedForward


def build_activation(name: Activation) -> ActivationFunction:
    """Return the activation function."""
    match name:
        case "gelu":
            return functional.gelu
        case "gelu_tanh":
            return partial(functional.gelu, approximate="tanh")
        case "relu":
            return functional.relu
        case "silu":
            return functional.silu
        case _:
            assert_never(name)


def build_feed_forward(config: FeedForwardConfig, hidden_size: int) -> nn.Module:
    """Return the feed-forward layer."""
    match config:
        case Plain(size=size, activation=activation, bias=bias):
            return PlainFeedForward(
                hidden_size=hidden_size, size=size, activation=build_activation(activation), bias=bias
            )
        case Gated(size=size, activation=activation, bias=bias):
            return GatedFeedForward(
                hidden_size=hidden_size, size=size, activation=build_activation(activation), bias=bias
            )
        case _:
            assert_never(config)
