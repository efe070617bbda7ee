"""How parameters begin."""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from trivium.core.random import Key
from trivium.model.attention import CrossAttention, SelfAttention
from trivium.model.config import ModelConfig, NormalInit, T5Init
from trivium.model.feed_forward import GatedFeedForward, PlainFeedForward
from trivium.model.norm import LayerNorm, RMSNorm
from trivium.model.positions import LearnedPositions

_BRANCHES = (SelfAttention, CrossAttention, PlainFeedForward, GatedFeedForward)


def initialise(network: nn.Module, config: ModelConfig, key: Key) -> None:
    """Draw all parameters of a freshly built network or head; equal keys give equal weights.

    | parameter                        | normal                             | t5                                 |
    |----------------------------------|------------------------------------|------------------------------------|
    | embeddings, learned positions    | N(0, std)                          | N(0, factor)                       |
    | queries                          | N(0, std)                          | N(0, factor / sqrt(hidden x head)) |
    | keys, values, up, gate           | N(0, std)                          | N(0, factor / sqrt(hidden))        |
    | attention out                    | N(0, std [/ sqrt(branches)])       | N(0, factor / sqrt(heads x head))  |
    | feed-forward down                | N(0, std [/ sqrt(branches)])       | N(0, factor / sqrt(feed-forward))  |
    | relative buckets                 | N(0, std)                          | N(0, factor / sqrt(hidden))        |
    | other matrices                   | N(0, std)                          | N(0, factor / sqrt(hidden))        |
    | norms                            | 1, shift 0                         | 1, shift 0                         |
    | biases                           | 0                                  | 0                                  |

    `scale_residual` divides by the square root of the number of branches that write into one residual stream.
    """
    generator = torch.Generator().manual_seed(key.child("initialise").integer())
    branches = sum(isinstance(module, _BRANCHES) for module in network.modules()) / max(1, len(config.stacks()))
    seen: set[int] = set()
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                _draw(module, name, parameter, config, generator)
        for module in network.modules():
            # A branch knows more of its matrices than they do themselves.
            if isinstance(module, _BRANCHES):
                _draw_branch(module, config, branches, generator)


def _draw(module: nn.Module, name: str, parameter: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    if isinstance(module, LayerNorm | RMSNorm):
        parameter.fill_(1.0 if name == "weight" else 0.0)
    elif parameter.ndim == 1:
        parameter.zero_()
    else:
        match config.initialisation:
            case NormalInit(std=std):
                parameter.normal_(0.0, std, generator=generator)
            case T5Init(factor=factor):
                embeds = isinstance(module, nn.Embedding | LearnedPositions)
                parameter.normal_(
                    0.0, factor if embeds else factor / math.sqrt(config.hidden_size), generator=generator
                )
            case _:
                assert_never(config.initialisation)


def _draw_branch(module: nn.Module, config: ModelConfig, branches: float, generator: torch.Generator) -> None:
    writes = module.out if isinstance(module, SelfAttention | CrossAttention) else module.down
    if not isinstance(writes, nn.Linear):
        raise TypeError("a branch ends in a matrix")
    match config.initialisation:
        case NormalInit(std=std, scale_residual=scale_residual):
            if scale_residual:
                writes.weight.normal_(0.0, std / math.sqrt(branches), generator=generator)
        case T5Init(factor=factor):
            writes.weight.normal_(0.0, factor / math.sqrt(writes.in_features), generator=generator)
            query = _query_rows(module)
            if query is not None:
                head_size = module.head_size if isinstance(module, SelfAttention | CrossAttention) else 1
                query.normal_(0.0, factor / math.sqrt(config.hidden_size * head_size), generator=generator)
        case _:
            assert_never(config.initialisation)


def _query_rows(module: nn.Module) -> Tensor | None:
    match module:
        case SelfAttention():
            return module.qkv.weight[: module.num_heads * module.head_size]
        case CrossAttention():
            return module.query.weight
        case _:
            return None
