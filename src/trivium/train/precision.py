"""The type that is computed in, and the float32 weights that are trained."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from trivium.core.batch import AnyBatch, Term
from trivium.core.random import Key
from trivium.model.device import device_of
from trivium.objectives.base import Learned
from trivium.train.distributed import Ranks
from trivium.train.optimiser_config import Precision


class TrainedWeights:
    """A network's float32 weights and, in bfloat16, the copy that forward and backward passes use.

    Gradients of the copy are added up in float32 after every micro-batch; after an update the copy is written anew.

    Args:
        network: what is trained.
        precision: the type that is computed in.
        apart: compute with a copy in float32 too.
    """

    def __init__(self, network: nn.Module, precision: Precision, *, apart: bool = False) -> None:
        self.master = network
        self.compute = deepcopy(network) if apart or precision == "bfloat16" else network
        if precision == "bfloat16":
            self.compute.to(torch.bfloat16)
        self._pairs = [
            (master, copy)
            for master, copy in zip(self.master.parameters(), self.compute.parameters(), strict=True)
            if master.requires_grad and copy is not master
        ]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return device_of(self.master)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch to the float32 ones."""
        loss.backward()  # type: ignore[no-untyped-call]
        self.collect_gradients()

    def add_up_gradients(self, parameters: Sequence[Tensor], ranks: Ranks) -> None:
        """Add up the step's gradients over all ranks."""
        ranks.add_up(parameters)

    def clip_gradients(self, parameters: Sequence[Tensor], ranks: Ranks, *, max_norm: float) -> float:
        """Make the step's gradients as short as `max_norm` where they are longer, and return their norm."""
        norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
        length = float(norm)
        if length > max_norm:  # multiplying by 1 is a pass over all gradients, too
            nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return length

    def collect_gradients(self) -> None:
        """Move the gradients of the copy to the float32 ones."""
        for number, (master, copy) in enumerate(self._pairs):
            if copy.grad is not None:
                gradient = self._of_master(number, copy.grad.to(master.dtype))
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                copy.grad = None

    def publish(self) -> None:
        """Round the updated weights into the copy."""
        if self._pairs:
            masters: list[Tensor] = [master.detach() for master, _ in self._pairs]
            torch._foreach_copy_([copy.detach() for _, copy in self._pairs], masters)

    def exact(self) -> nn.Module:
        """Return the network with the weights as they are, in the type that is computed in."""
        return self.compute

    def _of_master(self, number: int, gradient: Tensor) -> Tensor:
        """Return the gradient of a float32 weight, given that of its copy."""
        return gradient


class Whole(nn.Module):
    """A network whose parameters are there only while something is computed with it: everything goes through `forward`.

    Args:
        network: what is computed with.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, learned: Learned, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the terms of the loss."""
        return learned.loss(self.network, batch, key)


def terms_of(network: nn.Module, learned: Learned, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
    """Return the terms of the loss of a network, which may be a `Whole`."""
    if isinstance(network, Whole):
        terms: tuple[Term, ...] = network(learned, batch, key)
        return terms
    return learned.loss(network, batch, key)
