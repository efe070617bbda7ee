"""What the parameters of a network are for: matrices of its blocks and their fused parts, and how deep each lies."""

from collections.abc import Iterator

from torch import nn

from trivium.model.attention import CrossAttention, SelfAttention
from trivium.model.biaffine import SpanHead
from trivium.model.feed_forward import GatedFeedForward, PlainFeedForward
from trivium.model.heads import Readout, Transform, TwoStacks
from trivium.model.stack import Stack


def block_matrices(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return by name the matrices from hidden states to hidden states, and how many rows each fused part of them has.

    They are those of attention and feed-forward. What scores (routers, output gates, relative buckets) is not of them.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path, module in network.named_modules():
        for name, linear, parts in _linears(module):
            found[f"{path}.{name}.weight".lstrip(".")] = parts or (linear.out_features,)
    return found


def hidden_matrices(network: nn.Module) -> set[str]:
    """Return the names of all matrices whose rows and columns both grow with the width of the network."""
    names = set(block_matrices(network))
    for path, module in network.named_modules():
        if isinstance(module, SelfAttention | CrossAttention) and module.gate is not None:
            names.add(f"{path}.gate.weight".lstrip("."))
        if isinstance(module, Transform):
            names.add(f"{path}.dense.weight".lstrip("."))
    return names


def readout_matrices(network: nn.Module) -> set[str]:
    """Return the names of the matrices from hidden states to a task's classes, or to what its head makes them of."""
    names = set()
    for path, module in network.named_modules():
        match module:
            case Readout():
                names.add(f"{path}.projection.weight".lstrip("."))
            case SpanHead():
                names |= {f"{path}.{name}.weight".lstrip(".") for name in ("first", "last")}
            case _:
                pass
    return names


def _linears(module: nn.Module) -> Iterator[tuple[str, nn.Linear, tuple[int, ...]]]:
    """Yield a branch's own matrices; without parts, a matrix is one."""
    match module:
        case SelfAttention():
            keys = module.num_key_value_heads * module.head_size
            yield "qkv", module.qkv, (module.num_heads * module.head_size, keys, keys)
            yield "out", module.out, ()
        case CrossAttention():
            yield "query", module.query, ()
            yield "key_value", module.key_value, (module.key_value.out_features // 2,) * 2
            yield "out", module.out, ()
        case PlainFeedForward():
            yield "up", module.up, ()
            yield "down", module.down, ()
        case GatedFeedForward():
            yield "gate_up", module.gate_up, (module.gate_up.out_features // 2,) * 2
            yield "down", module.down, ()
        case _:
            pass


def layer_depths(network: nn.Module) -> dict[str, int]:
    """Return how far each parameter lies below the output: heads and last norms 0, the top block 1, embeddings most.

    An encoder's blocks go on where the decoder's end; stacks beside each other are counted each by itself. A block that
    several layers share has the depth of its place among the blocks, the weights that embedding and head share
    that of the embedding.
    """
    depths = dict.fromkeys((name for name, _ in network.named_parameters()), 0)
    for stacks in _chains(network):
        _count_depths(stacks, depths)
    return depths


def _chains(network: nn.Module) -> list[list[tuple[str, Stack]]]:
    """Return the stacks with their paths, those that read from each other together, the lower ones first."""
    stacks = {path: module for path, module in network.named_modules() if isinstance(module, Stack)}
    pairs = {path for path, module in network.named_modules() if isinstance(module, TwoStacks)}
    chains: dict[str, list[tuple[str, Stack]]] = {}
    for path, stack in stacks.items():
        parent = path.rpartition(".")[0]
        chains.setdefault(f"pair {parent}" if parent in pairs else path, []).append((path, stack))
    return list(chains.values())


def _count_depths(stacks: list[tuple[str, Stack]], depths: dict[str, int]) -> None:
    """Write the depths of the parameters of stacks that read from each other."""
    total = sum(len(stack.blocks) for _, stack in stacks)
    passed = 0  # blocks below those of this stack: the stack that reads is the first
    for path, stack in stacks:
        prefix = f"{path}." if path else ""
        for name in depths:
            if name.startswith((f"{prefix}embedding.", f"{prefix}scores.")):
                depths[name] = total + 1
            for number in range(len(stack.blocks)):
                if name.startswith(f"{prefix}blocks.{number}."):
                    depths[name] = total - passed - number
        passed += len(stack.blocks)
    # The norm at the end of the stack that reads lies below the stack that writes.
    for path, _ in stacks[:-1]:
        for name in depths:
            if name.startswith(f"{path}.final_norm."):
                depths[name] = len(stacks[-1][1].blocks) + 1
