"""Optimisers from their configuration, and their state by the parameters' names."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.core.errors import CheckpointError
from trivium.train.config import AdamWConfig


def build_optimiser(config: AdamWConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of all trained parameters; matrices are decayed, vectors (norms, biases) are not."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Use this learning rate for the next update of every parameter."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def optimiser_tensors(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state, each tensor under `parameter|what`."""
    return {
        f"{name}|{what}": value
        for name, parameter in network.named_parameters()
        for what, value in optimiser.state.get(parameter, {}).items()
    }


def load_optimiser_tensors(
    optimiser: torch.optim.Optimizer, network: nn.Module, tensors: Mapping[str, Tensor], source: str
) -> None:
    """Give the optimiser what `optimiser_tensors` returned; raise CheckpointError when it is of another model."""
    parameters = dict(network.named_parameters())
    for key, value in tensors.items():
        name, _, what = key.partition("|")
        if name not in parameters:
            raise CheckpointError(f"{source}: optimiser state for `{name}`, which this model does not have.")
        if value.ndim and value.shape != parameters[name].shape:
            raise CheckpointError(
                f"{source}: optimiser state for `{name}` should be of shape {tuple(parameters[name].shape)}, "
                f"found {tuple(value.shape)}."
            )
        # A clone: tensors of a mapped file are not aligned as those of an unbroken run are.
        optimiser.state[parameters[name]][what] = value.clone()
