"""What our optimisers have in common: a loop over groups, state by parameter, and the two ways of decaying weights."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

Group = dict[str, Any]


class Optimiser(ABC):
    """Groups of parameters with their settings, and what is kept of each parameter.

    A parameter that has no gradient is left alone, its state too. Of PyTorch's class it has what is used here, under
    the same names; that one imports the compiler when it is made, 1.6 seconds of every start.

    Args:
        groups: parameters under `params`, with what the optimiser reads of a group.
        defaults: what groups do not say, `lr` among it.
    """

    def __init__(self, groups: Iterable[Group], **defaults: Any) -> None:
        self.param_groups: list[Group] = [defaults | group for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """Make one update of all parameters that have a gradient."""
        for group in self.param_groups:
            members = [parameter for parameter in group["params"] if parameter.grad is not None]
            if members:
                self.update(group, members, [parameter.grad for parameter in members])

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @abstractmethod
    def update(self, group: Group, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update some parameters of one group in place."""

    def kept(self, parameters: Sequence[Tensor], what: str) -> list[Tensor]:
        """Return a tensor of state of each parameter, of its shape and at first 0."""
        return [self.kept_as(parameter, what, parameter.shape) for parameter in parameters]

    def kept_as(self, parameter: Tensor, what: str, shape: Sequence[int]) -> Tensor:
        """Return a tensor of state of one parameter, at first 0; its sizes are the parameter's, or 1."""
        state = self.state[parameter]
        if what not in state:
            state[what] = parameter.new_zeros(shape)
        value: Tensor = state[what]
        return value

    def count_step(self, parameters: Sequence[Tensor]) -> list[int]:
        """Count one more update of each parameter and return how many it has had, this one included."""
        counts = []
        for parameter in parameters:
            state = self.state[parameter]
            if "step" not in state:  # a float32 tensor as in torch.optim, so that it is saved like all else
                state["step"] = torch.zeros((), dtype=torch.float32)
            counts.append(int(state["step"].add_(1.0)))
        return counts


def decay(parameters: list[Tensor], directions: list[Tensor], rate: float, *, cautious: bool) -> None:
    """Make weights smaller by `rate` of themselves, in place.

    Args:
        parameters: the weights.
        directions: what will be taken away from them, up to a positive factor.
        rate: learning rate times weight decay.
        cautious: only those that the update makes smaller too.
    """
    if rate == 0.0:
        return
    if not cautious:
        torch._foreach_mul_(parameters, 1.0 - rate)
        return
    for parameter, direction in zip(parameters, directions, strict=True):
        agrees = (parameter * direction > 0).to(parameter.dtype)
        parameter.sub_(parameter * agrees, alpha=rate)
