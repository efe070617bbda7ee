"""LAMB: AdamW's update made as long as the weights of its matrix (You et al. 2020, algorithm 2)."""

import torch
from torch import Tensor

from trivium.train.optimisers.adamw import adam_directions
from trivium.train.optimisers.base import Group, Optimiser


class Lamb(Optimiser):
    """A group has `lr`, `weight_decay`, `betas` and `eps`.

    Vectors take AdamW's update as it is, as in the authors' code (`exclude_from_layer_adaptation`).
    """

    def update(self, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update some parameters of one group in place."""
        directions = adam_directions(self, group, parameters, gradients)
        torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        torch._foreach_mul_(directions, [_trust(p, u) for p, u in zip(parameters, directions, strict=True)])
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])


def _trust(parameter: Tensor, direction: Tensor) -> float:
    """Return the length of the weights over that of their update; 1 for vectors, and where one of the two is 0."""
    if parameter.ndim < 2:
        return 1.0
    weights, update = float(parameter.norm()), float(direction.norm())
    return weights / update if weights > 0.0 and update > 0.0 else 1.0
