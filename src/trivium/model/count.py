"""Parameters and floating-point operations, measured on the meta device: nothing is allocated, nothing is a formula."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.model.build import build_network
from trivium.model.config import Encoder, EncoderDecoder, ModelConfig, ReadoutConfig, task_name
from trivium.model.heads import labelled_states


class Count(NamedTuple):
    """What one part of a network holds and does."""

    part: str
    parameters: int
    forward_flops: int  # of one row of max_length tokens, every place predicted; multiply-add = 2


def count_parts(config: ModelConfig, *, length: int | None = None) -> list[Count]:
    """Return parameters and FLOPs by part, the total last; a shared tensor is counted where it is first met.

    Args:
        config: the architecture.
        length: tokens in the row that FLOPs are counted for; None = `max_length`.
    """
    network = build_network(config, kernel="reference", device="meta")
    length = length or config.max_length
    with FlopCounterMode(display=False, depth=8) as counter, torch.no_grad():
        batch = _meta_batch(config, length)
        network.head(labelled_states(network, batch))
    flops = {name.partition(".")[2]: sum(by.values()) for name, by in counter.get_flop_counts().items()}
    seen: set[int] = set()
    parts = [Count(name, _parameters(module, seen), _flops(name, module, flops)) for name, module in _parts(network)]
    total = sum({id(parameter): parameter.numel() for parameter in network.parameters()}.values())
    return [*parts, Count("total", total, counter.get_total_flops())]


def count_without_vocabulary(config: ModelConfig, sizes: Mapping[str, int]) -> list[Count]:
    """Return the counts of a network that has no head over the vocabulary: a part of it with a task's head, or none.

    Args:
        config: the architecture.
        sizes: numbers in each tensor, by name, those of what reads for a task as `task_name` calls them.
    """
    readouts = (ReadoutConfig(stack="reader"), ReadoutConfig(stack="writer"))

    def is_there(part: str) -> bool:
        names = {part, *(task_name(part, config, readout) for readout in readouts)} - {None}
        return any(name.startswith(tuple(f"{own}." for own in names)) for name in sizes)

    parts = [part for part in count_parts(config)[:-1] if part.part != "head" and is_there(part.part)]
    head = sum(size for name, size in sizes.items() if name.startswith("head."))
    total = Count("total", sum(sizes.values()), sum(part.forward_flops for part in parts))
    return [*parts, *([Count("head", head, 0)] if head else []), total]


def num_parameters(network: nn.Module) -> int:
    """Return the number of parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in network.parameters())


def _parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    parts: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        if name == "head":
            parts.append((name, child))
            continue
        for inner, module in child.named_children():
            if isinstance(module, nn.ModuleList):
                parts += [
                    (f"{name}.{inner}.{number}.{part}", layer)
                    for number, block in enumerate(module)
                    for part, layer in block.named_children()
                ]
            else:
                parts.append((f"{name}.{inner}", module))
    return [(name, module) for name, module in parts if name.endswith("head") or any(True for _ in module.parameters())]


def _flops(name: str, module: nn.Module, flops: dict[str, int]) -> int:
    """Return what a part does; one that is not called itself (a parallel block's sublayer) does what its parts do."""
    if name in flops:
        return flops[name]
    return sum(_flops(f"{name}.{inner}", child, flops) for inner, child in module.named_children())


def _parameters(module: nn.Module, seen: set[int]) -> int:
    new = [parameter for parameter in module.parameters() if id(parameter) not in seen]
    seen.update(id(parameter) for parameter in new)
    return sum(parameter.numel() for parameter in new)


def _meta_batch(config: ModelConfig, length: int) -> Batch:
    tokens_BL = torch.zeros(1, length, dtype=torch.int64, device="meta")
    zeros_BL = torch.zeros(1, length, dtype=torch.int32, device="meta")
    both = TokenLayout.bidirectional(zeros_BL, zeros_BL)
    past = TokenLayout.causal(zeros_BL, zeros_BL)
    layout = both if isinstance(config.family, Encoder) else past
    source = reading(tokens_BL, both) if isinstance(config.family, EncoderDecoder) else None
    return Batch(tokens_BL, layout, tokens_BL, tokens_BL, tokens_BL.float(), source=source)
