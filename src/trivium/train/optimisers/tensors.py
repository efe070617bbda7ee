"""An optimiser's state by the parameters' names."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from trivium.core.errors import CheckpointError
from trivium.train.optimisers.base import Optimiser


def optimiser_tensors(optimiser: Optimiser, network: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state, each tensor under `parameter|what`."""
    return {
        f"{name}|{what}": value
        for name, parameter in network.named_parameters()
        for what, value in optimiser.state.get(parameter, {}).items()
    }


def load_optimiser_tensors(
    optimiser: Optimiser,
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    of: Callable[[Tensor, Tensor], Tensor] = lambda parameter, value: _beside(parameter, value),
) -> None:
    """Give the optimiser what `optimiser_tensors` returned; raise CheckpointError when it is of another model.

    Args:
        optimiser: of the network, as it begins.
        network: what is trained.
        tensors: the state.
        source: of the tensors, for errors.
        of: makes the state of a parameter from what was saved. By default a clone: tensors of a mapped file are not
            aligned as those of an unbroken run are.
    """
    parameters = dict(network.named_parameters())
    for key, value in tensors.items():
        name, _, what = key.partition("|")
        if name not in parameters:
            raise CheckpointError(f"{source}: optimiser state for `{name}`, which this model does not have.")
        shape = parameters[name].shape
        if value.ndim and not _fits(value.shape, shape):
            raise CheckpointError(
                f"{source}: optimiser state for `{name}` should be of shape {tuple(shape)}, found {tuple(value.shape)}."
            )
        optimiser.state[parameters[name]][what] = of(parameters[name], value)


def _beside(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a copy where the parameter is; counts of steps stay on the processor."""
    return value.to(parameter.device, copy=True) if value.ndim else value.clone()


def _fits(found: torch.Size, shape: torch.Size) -> bool:
    """Return whether state has a parameter's shape, or stands for whole rows or columns of it."""
    return len(found) == len(shape) and all(size in (1, full) for size, full in zip(found, shape, strict=True))
