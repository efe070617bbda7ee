"""How parameters begin."""

import math
from itertools import cycle
from typing import assert_never

import torch
from torch import Tensor, nn

from trivium.core.random import Key
from trivium.model.attention import CrossAttention, SelfAttention
from trivium.model.biaffine import SpanHead
from trivium.model.block import LayerScale, Sublayer
from trivium.model.config import ModelConfig, NormalInit, T5Init
from trivium.model.embedding import OffsetEmbedding
from trivium.model.feed_forward import GatedFeedForward, PlainFeedForward
from trivium.model.norm import LayerNorm, RMSNorm
from trivium.model.parametrise import width_ratio
from trivium.model.parts import DeepNorm
from trivium.model.positions import LearnedPositions
from trivium.model.roles import hidden_matrices, readout_matrices
from trivium.model.stack import Stack

_BRANCHES = (SelfAttention, CrossAttention, PlainFeedForward, GatedFeedForward)


def initialise(network: nn.Module, config: ModelConfig, key: Key) -> None:
    """Draw all parameters of a freshly built network or head; equal keys give equal weights.

    | parameter                        | normal                             | t5                                 |
    |----------------------------------|------------------------------------|------------------------------------|
    | embeddings, learned positions    | N(0, std)                          | N(0, factor)                       |
    | queries                          | N(0, std)                          | N(0, factor / sqrt(hidden x head)) |
    | keys, up, gate, router           | N(0, std)                          | N(0, factor / sqrt(hidden))        |
    | keys of cross-attention          | the queries                        | N(0, factor / sqrt(hidden))        |
    | values                           | N(0, std [x beta])                 | N(0, factor / sqrt(hidden))        |
    | attention out                    | N(0, std [/ sqrt(branches)])       | N(0, factor / sqrt(heads x head))  |
    | feed-forward down                | N(0, std [/ sqrt(branches)])       | N(0, factor / sqrt(feed-forward))  |
    | relative buckets                 | N(0, std)                          | N(0, factor / sqrt(hidden))        |
    | a head of spans, but its U       | N(0, 1 / sqrt(columns))            | N(0, 1 / sqrt(columns))            |
    | U of a head of spans             | N(0, 1 / columns)                  | N(0, 1 / columns)                  |
    | other matrices                   | N(0, std)                          | N(0, factor / sqrt(hidden))        |
    | norms                            | 1, shift 0                         | 1, shift 0                         |
    | gains of layer-scale             | their start                        | their start                        |
    | biases, offsets of embeddings    | 0                                  | 0                                  |

    Where queries and keys of cross-attention are one matrix, a token that is written looks first at its like in what is
    read, and copying is soon learned: of two encoder-decoders that began with one encoder the other needed three times
    as many steps for it (docs/experiments.md). Of grouped queries a key is the first of its group.

    `residual` "scaled" divides by the square root of the number of branches that write into the stack's residual
    stream, "zero" makes those matrices 0. With DeepNorm values, outputs, up, gate and down are `beta` times as wide
    (Wang et al. 2022, figure 2). An encoder-decoder's two stacks are counted each by itself. With `parametrisation` mup
    std is that of the base width: matrices between hidden states have it divided by the root of how many times as wide
    the network is, the matrix from hidden states to a task's classes by that number itself.
    """
    generator = torch.Generator().manual_seed(key.child("initialise").integer())
    seen: set[int] = set()
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                _draw(module, name, parameter, config, generator)
        # What is trained may hold several networks of this architecture, whatever their width.
        for stack, block_config in zip(_stacks(network), cycle(config.stacks()), strict=False):
            branches = sum(_num_branches(stack, number) for number in stack.order)
            for module in stack.modules():
                # A branch knows more of its matrices than they do themselves.
                if isinstance(module, _BRANCHES):
                    _draw_branch(module, config, branches, generator)
            for number, block in enumerate(stack.blocks):
                residual = block_config.block(number).residual
                if isinstance(residual, DeepNorm):
                    _widen(block, residual.beta)
        for module in network.modules():
            if isinstance(module, SpanHead):
                _draw_spans(module, width_ratio(config), generator)
        if config.parametrisation is not None:
            ratio = width_ratio(config)
            for names, factor in ((hidden_matrices(network), ratio**-0.5), (readout_matrices(network), 1.0 / ratio)):
                for name in names:
                    network.get_parameter(name).mul_(factor)


def _stacks(network: nn.Module) -> list[Stack]:
    return [module for module in network.modules() if isinstance(module, Stack)]


def _num_branches(stack: Stack, number: int) -> int:
    return sum(isinstance(module, Sublayer) for module in stack.blocks[number].modules())


def _draw(module: nn.Module, name: str, parameter: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    if isinstance(module, LayerNorm | RMSNorm):
        parameter.fill_(1.0 if name == "weight" else 0.0)
    elif isinstance(module, OffsetEmbedding):
        parameter.zero_()
    elif isinstance(module, LayerScale):
        parameter.fill_(module.start)
    elif parameter.ndim == 1:
        parameter.zero_()
    else:
        match config.initialisation:
            case NormalInit(std=std):
                _normal(parameter, std, generator)
            case T5Init(factor=factor):
                embeds = isinstance(module, nn.Embedding | LearnedPositions)
                _normal(parameter, factor if embeds else factor / math.sqrt(config.hidden_size), generator)
            case _:
                assert_never(config.initialisation)


def _normal(tensor: Tensor, std: float, generator: torch.Generator) -> None:
    """Draw from N(0, std) on the processor, wherever the tensor is: equal keys give equal weights on all devices."""
    if tensor.device == generator.device:
        tensor.normal_(0.0, std, generator=generator)
    else:
        drawn = torch.empty(tensor.shape, dtype=tensor.dtype, device=generator.device)
        tensor.copy_(drawn.normal_(0.0, std, generator=generator))


def _draw_branch(module: nn.Module, config: ModelConfig, branches: int, generator: torch.Generator) -> None:
    writes = module.out if isinstance(module, SelfAttention | CrossAttention) else module.down
    if not isinstance(writes, nn.Linear):
        raise TypeError("a branch ends in a matrix")
    match config.initialisation:
        case NormalInit(std=std, residual=residual):
            if isinstance(module, CrossAttention):
                _look_at_likes(module)
            match residual:
                case "equal":
                    pass
                case "scaled":
                    _normal(writes.weight, std / math.sqrt(branches), generator)
                case "zero":
                    writes.weight.zero_()
                case _:
                    assert_never(residual)
        case T5Init(factor=factor):
            _normal(writes.weight, factor / math.sqrt(writes.in_features), generator)
            query = _query_rows(module)
            if query is not None:
                head_size = module.head_size if isinstance(module, SelfAttention | CrossAttention) else 1
                _normal(query, factor / math.sqrt(config.hidden_size * head_size), generator)
        case _:
            assert_never(config.initialisation)


def _draw_spans(head: SpanHead, ratio: float, generator: torch.Generator) -> None:
    """Draw the matrices of a head of spans so that its scores are of the size of its states.

    A product of three matrices of std 0.02 is next to nothing, and so is its gradient: a small network found no span in
    its first three epochs where so drawn, and most of them after one as drawn here (docs/decisions/nested-spans.md).
    """
    for linear in (head.first, head.last, head.of_first, head.of_last):
        _normal(linear.weight, 1.0 / math.sqrt(linear.in_features), generator)
    _normal(head.both.weight, 1.0 / head.both.in_features, generator)  # it is summed over twice
    for linear in (head.first, head.last):  # of the base width, as the others are
        linear.weight.mul_(math.sqrt(ratio))


def _look_at_likes(module: CrossAttention) -> None:
    """Make the keys the queries."""
    keys = module.key_value.weight[: module.key_value.out_features // 2]
    groups = keys.shape[0] // module.head_size
    keys.copy_(module.query.weight.view(groups, -1, module.head_size, keys.shape[1])[:, 0].flatten(0, 1))


def _query_rows(module: nn.Module) -> Tensor | None:
    match module:
        case SelfAttention():
            return module.qkv.weight[: module.num_heads * module.head_size]
        case CrossAttention():
            return module.query.weight
        case _:
            return None


def _widen(block: nn.Module, beta: float) -> None:
    """Multiply what DeepNorm's paper draws with gain beta: values, attention outputs, feed-forwards."""
    for module in block.modules():
        match module:
            case SelfAttention():
                module.qkv.weight[-module.num_key_value_heads * module.head_size :].mul_(beta)
                module.out.weight.mul_(beta)
            case CrossAttention():
                module.key_value.weight[module.key_value.out_features // 2 :].mul_(beta)
                module.out.weight.mul_(beta)
            case PlainFeedForward():
                module.up.weight.mul_(beta)
                module.down.weight.mul_(beta)
            case GatedFeedForward():
                module.gate_up.weight.mul_(beta)
                module.down.weight.mul_(beta)
            case _:
                pass
