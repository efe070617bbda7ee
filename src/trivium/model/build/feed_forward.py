"""Feed-forward layers and activations from their configuration."""

from typing import assert_never

import torch
from torch import nn
from torch.nn import functional

from trivium.model.build.dropout import build_dropout
from trivium.model.experts import MixtureOfExperts
from trivium.model.feed_forward import (
    ActivationFunction,
    GatedFeedForward,
    PlainFeedForward,
    gelu_tanh,
    relu_squared,
)
from trivium.model.parts import Activation, FeedForwardConfig, Gated, MixtureOfExpertsConfig, Plain


def build_activation(name: Activation) -> ActivationFunction:
    """Return the activation function."""
    match name:
        case "gelu":
            return functional.gelu
        case "gelu_tanh":
            return gelu_tanh
        case "relu":
            return functional.relu
        case "relu_squared":
            return relu_squared
        case "silu":
            return functional.silu
        case "tanh":
            return torch.tanh
        case _:
            assert_never(name)


def build_feed_forward(config: FeedForwardConfig, hidden_size: int) -> nn.Module:
    """Return the feed-forward layer."""
    match config:
        case Plain(size=size, activation=activation, bias=bias, dropout=dropout):
            return PlainFeedForward(
                hidden_size=hidden_size,
                size=size,
                activation=build_activation(activation),
                bias=bias,
                dropout=build_dropout(dropout),
            )
        case Gated(size=size, activation=activation, bias=bias, dropout=dropout):
            return GatedFeedForward(
                hidden_size=hidden_size,
                size=size,
                activation=build_activation(activation),
                bias=bias,
                dropout=build_dropout(dropout),
            )
        case MixtureOfExpertsConfig():
            return MixtureOfExperts(
                hidden_size=hidden_size,
                experts=nn.ModuleList(
                    build_feed_forward(config.expert, hidden_size) for _ in range(config.num_experts)
                ),
                top_k=config.top_k,
                normalise=config.normalise,
                balance_weight=config.balance_weight,
            )
        case _:
            assert_never(config)
