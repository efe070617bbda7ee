"""Lion: the sign of a momentum (Chen et al. 2023, algorithm 2)."""

import torch
from torch import Tensor

from trivium.train.optimisers.base import Group, Optimiser, decay


class Lion(Optimiser):
    """A group has `lr`, `weight_decay`, `betas` and `cautious_decay`."""

    def update(self, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update some parameters of one group in place."""
        beta1, beta2 = group["betas"]
        means = self.kept(parameters, "exp_avg")
        directions = list(torch._foreach_lerp(means, gradients, 1.0 - beta1))
        torch._foreach_sign_(directions)
        decay(parameters, directions, group["lr"] * group["weight_decay"], cautious=group["cautious_decay"])
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])
        torch._foreach_lerp_(means, gradients, 1.0 - beta2)
