"""What reads for a task as fine-tuning begins: the pretrained stack, changed where the settings say so."""

from copy import deepcopy
from typing import NamedTuple

from torch import Tensor

from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig, ReadoutConfig, with_stochastic_depth
from trivium.model.folder import load_tensors, unique_tensors
from trivium.model.heads import LanguageModel, TwoStacks
from trivium.model.initialise import initialise
from trivium.tasks.base import Part, reading_part
from trivium.tasks.config import TuningConfig
from trivium.tasks.start import Start


class Reader(NamedTuple):
    """What reads for a task, about to be fine-tuned."""

    part: Part
    config: ModelConfig  # of the network that it is part of
    redrawn: frozenset[str]  # its parameters that are not the start's

    def pretrained(self) -> dict[str, Tensor]:
        """Return a copy of the parameters that are the start's, by name."""
        return {n: tensor.clone() for n, tensor in unique_tensors(self.part).items() if n not in self.redrawn}


def begin_reader(start: Start, config: TuningConfig, readout: ReadoutConfig | None, key: Key) -> Reader:
    """Return what fine-tuning begins with, a copy of the start's.

    Args:
        start: the pretrained model, or the random weights.
        config: says what is changed: stochastic depth, and layers that are drawn anew.
        readout: the task's head, which says what reads; None = the whole network is trained.
        key: of the layers that are drawn anew.

    Raises:
        ConfigError: the head reads a stack that the model has not; more layers are to be drawn anew than there are, or
            one whose weights are those of a lower one.
    """
    part, model = start.reader(config.seed, readout), start.config
    if config.stochastic_depth is None:
        part = deepcopy(part)
    else:
        model = with_stochastic_depth(model, config.stochastic_depth)
        tensors = unique_tensors(part)
        part = reading_part(build_network(model), readout)
        load_tensors(part, tensors, start.name)
    return Reader(part, model, redraw_top(part, model, config.reinitialise_layers, readout, key))


def redraw_top(part: Part, config: ModelConfig, layers: int, readout: ReadoutConfig | None, key: Key) -> frozenset[str]:
    """Draw the layers nearest to the head and their final norm as a new network's; return their parameters' names.

    The layers nearest to the old objective are the worst to begin a task from (Zhang et al. 2021, section 4).

    Args:
        part: what reads; of two stacks the one whose states the head reads is changed.
        config: of the network that it is part of.
        layers: how many; 0 = nothing is drawn, nor is the norm.
        readout: the task's head.
        key: of what is drawn.

    Raises:
        ConfigError: there are not so many, or their weights are those of lower layers too.
    """
    if not layers:
        return frozenset()
    match part:
        case TwoStacks():
            stack, root = part.decoder, "decoder."
        case LanguageModel():
            stack, root = part.stack, "stack."
        case _:
            stack, root = part, ""
    if layers > len(stack.order):
        raise ConfigError(f"`reinitialise_layers` must be at most the {len(stack.order)} layers there are: {layers}.")
    top = set(stack.order[-layers:])
    if top & set(stack.order[:-layers]):
        raise ConfigError(
            f"`reinitialise_layers` {layers}: the top layers share their weights with lower ones; leave it 0."
        )
    network = build_network(config)
    initialise(network, config, key)
    places = (f"{root}final_norm.", *(f"{root}blocks.{number}." for number in top))
    fresh = unique_tensors(reading_part(network, readout))
    anew = {name: tensor for name, tensor in fresh.items() if name.startswith(places)}
    targets = unique_tensors(part)
    for name, tensor in anew.items():
        targets[name].copy_(tensor)
    return frozenset(anew)
