"""AdamW, fused, or with cautious updates and cautious decay; and its direction, which others use."""

import torch
from torch import Tensor

from trivium.train.optimisers.base import Group, Optimiser, decay


class FusedAdamW(Optimiser):
    """AdamW (Loshchilov & Hutter 2019) in PyTorch's one pass over memory.

    A group has `lr`, `weight_decay`, `betas` and `eps`.
    """

    def update(self, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update some parameters of one group in place."""
        means, squares = self.kept(parameters, "exp_avg"), self.kept(parameters, "exp_avg_sq")
        counts, device = self.count_step(parameters), parameters[0].device
        # Counted on the processor, and read where the parameters are.
        step_of = {count: torch.tensor(float(count), device=device) for count in set(counts)}
        steps = [step_of[count] for count in counts]
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class CautiousAdamW(Optimiser):
    """AdamW (Loshchilov & Hutter 2019) with `cautious` updates and `cautious_decay`.

    A group has `lr`, `weight_decay`, `betas`, `eps`, and these two.
    """

    def update(self, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update some parameters of one group in place."""
        adamw_update(self, group, parameters, gradients)


def adamw_update(optimiser: Optimiser, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
    """Make AdamW's update of some parameters of one group in place."""
    directions = adam_directions(optimiser, group, parameters, gradients)
    if group["cautious"]:
        for direction, gradient in zip(directions, gradients, strict=True):
            agrees = (direction * gradient > 0).to(direction.dtype)
            # Liang et al. 2024, algorithm 2 as in their code: what is left grows by the share that was left out.
            direction.mul_(agrees.div_(agrees.mean().clamp_(min=1e-3)))
    decay(parameters, directions, group["lr"] * group["weight_decay"], cautious=group["cautious_decay"])
    torch._foreach_add_(parameters, directions, alpha=-group["lr"])


def adam_directions(
    optimiser: Optimiser, group: Group, parameters: list[Tensor], gradients: list[Tensor]
) -> list[Tensor]:
    """Return the mean of the gradients over their spread, both freed of their bias towards 0 (Kingma & Ba 2015)."""
    beta1, beta2 = group["betas"]
    means, squares = optimiser.kept(parameters, "exp_avg"), optimiser.kept(parameters, "exp_avg_sq")
    steps = optimiser.count_step(parameters)
    torch._foreach_lerp_(means, gradients, 1.0 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, value=1.0 - beta2)
    spreads = torch._foreach_sqrt(squares)
    torch._foreach_div_(spreads, [(1.0 - beta2**step) ** 0.5 for step in steps])
    torch._foreach_add_(spreads, group["eps"])
    directions = torch._foreach_div(means, spreads)
    torch._foreach_div_(directions, [1.0 - beta1**step for step in steps])
    return list(directions)
