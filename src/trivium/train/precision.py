"""The type that is computed in, and the float32 weights that are trained."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from trivium.train.optimiser_config import Precision


class TrainedWeights:
    """A network's float32 weights and, in bfloat16, the copy that forward and backward passes use.

    Gradients of the copy are added up in float32 after every micro-batch; after an update the copy is written anew.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        self.master = network
        self.compute = deepcopy(network).to(torch.bfloat16) if precision == "bfloat16" else network
        self._pairs = [
            (master, copy)
            for master, copy in zip(self.master.parameters(), self.compute.parameters(), strict=True)
            if master.requires_grad and copy is not master
        ]

    def collect_gradients(self) -> None:
        """Add the gradients of one micro-batch to the float32 ones."""
        for master, copy in self._pairs:
            if copy.grad is not None:
                gradient = copy.grad.to(master.dtype)
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                copy.grad = None

    def publish(self) -> None:
        """Round the updated weights into the copy."""
        if self._pairs:
            masters: list[Tensor] = [master.detach() for master, _ in self._pairs]
            torch._foreach_copy_([copy.detach() for _, copy in self._pairs], masters)
