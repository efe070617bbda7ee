"""What reads for a task as fine-tuning begins: the pretrained stack, changed where the settings say so."""

from copy import deepcopy
from typing import NamedTuple

from torch import Tensor

from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig, with_stochastic_depth
from trivium.model.folder import load_tensors, unique_tensors
from trivium.model.initialise import initialise
from trivium.model.stack import Stack
from trivium.tasks.config import FinetuneConfig
from trivium.tasks.start import Start


class Reader(NamedTuple):
    """A stack about to be fine-tuned."""

    stack: Stack
    config: ModelConfig  # of the network that it is part of
    redrawn: frozenset[str]  # its parameters that are not the start's

    def pretrained(self) -> dict[str, Tensor]:
        """Return a copy of the parameters that are the start's, by name."""
        return {n: tensor.clone() for n, tensor in unique_tensors(self.stack).items() if n not in self.redrawn}


def begin_reader(start: Start, config: FinetuneConfig, key: Key) -> Reader:
    """Return the stack that fine-tuning begins with, a copy of the start's.

    Args:
        start: the pretrained model, or the random weights.
        config: says what is changed: stochastic depth, and layers that are drawn anew.
        key: of the layers that are drawn anew.

    Raises:
        ConfigError: more layers are to be drawn anew than there are, or one whose weights are those of a lower one.
    """
    stack, model = start.reader(config.seed), start.config
    if config.stochastic_depth is None:
        stack = deepcopy(stack)
    else:
        model = with_stochastic_depth(model, config.stochastic_depth)
        tensors = unique_tensors(stack)
        stack = build_network(model).reader
        load_tensors(stack, tensors, start.name)
    return Reader(stack, model, redraw_top(stack, model, config.reinitialise_layers, key))


def redraw_top(stack: Stack, config: ModelConfig, layers: int, key: Key) -> frozenset[str]:
    """Draw the top layers and the final norm as a new network's; return their parameters' names.

    The layers nearest to the old objective are the worst to begin a task from (Zhang et al. 2021, section 4).

    Args:
        stack: what reads.
        config: of the network that it is part of.
        layers: how many of the top; 0 = nothing is drawn, nor is the norm.
        key: of what is drawn.

    Raises:
        ConfigError: there are not so many, or their weights are those of lower layers too.
    """
    if not layers:
        return frozenset()
    if layers > len(stack.order):
        raise ConfigError(f"`reinitialise_layers` must be at most the {len(stack.order)} layers there are: {layers}.")
    top = set(stack.order[-layers:])
    if top & set(stack.order[:-layers]):
        raise ConfigError(
            f"`reinitialise_layers` {layers}: the top layers share their weights with lower ones; leave it 0."
        )
    network = build_network(config)
    initialise(network, config, key)
    places = ("final_norm.", *(f"blocks.{number}." for number in top))
    anew = {name: tensor for name, tensor in unique_tensors(network.reader).items() if name.startswith(places)}
    targets = unique_tensors(stack)
    for name, tensor in anew.items():
        targets[name].copy_(tensor)
    return frozenset(anew)
