"""The processes of one run: which rows each computes, and what they tell each other."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from trivium.core.batch import AnyBatch
from trivium.core.errors import ConfigError, SaidElsewhere
from trivium.train.device import CPU

T = TypeVar("T")

_BUCKET = 1 << 23  # numbers that are sent at once: enough to be worth a message, little beside the gradients


@dataclass(frozen=True)
class Ranks:
    """One of the processes of a run. Alone, it has nobody to tell.

    Args:
        rank: which it is.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def own(self, batch: AnyBatch) -> AnyBatch:
        """Return this rank's rows of a whole step.

        Every rank makes the step's whole batch and takes its rows. So the batches are the same for any number of ranks,
        the counts of the whole step need not be asked for, and rows that belong together stay together.
        """
        if self.count == 1:
            return batch
        rows = batch.num_rows // self.count
        return batch.rows(self.rank * rows, (self.rank + 1) * rows)

    def gathered(self, values: Sequence[float]) -> list[list[float]]:
        """Return the numbers of each rank, the same on all of them."""
        if self.count == 1:
            return [list(values)]
        own = torch.tensor(values, dtype=torch.float64)
        everyones = [torch.empty_like(own) for _ in range(self.count)]
        distributed.all_gather(everyones, own)
        return [[float(value) for value in each] for each in everyones]

    def told(self, work: Callable[[], T]) -> T:
        """Return what `work` returns on the first rank, which alone does it; what it raises ends all of them.

        Raises:
            SaidElsewhere: on the other ranks, in place of what the first one raises.
        """
        if self.count == 1:
            return work()
        box: list[Any] = [None, None]  # what work returns, or the words of its error
        if self.first:
            try:
                box[0] = work()
            except Exception as error:
                distributed.broadcast_object_list([None, str(error)], src=0, device=CPU)
                raise
        distributed.broadcast_object_list(box, src=0, device=CPU)
        if box[1] is not None:
            raise SaidElsewhere(box[1])
        value: T = box[0]
        return value

    def wait(self) -> None:
        """Return when all ranks have come here."""
        if self.count > 1:
            distributed.all_reduce(torch.zeros(1))  # a barrier would choose the device by itself

    def add_up(self, parameters: Sequence[Tensor]) -> None:
        """Replace the gradients of each parameter by their sum over all ranks; where no rank has one, there is none."""
        if self.count == 1:
            return
        there = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
        distributed.all_reduce(there)
        gradients: list[Tensor] = []
        for parameter, known in zip(parameters, there.tolist(), strict=True):
            if known:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            distributed.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            torch._foreach_copy_(bucket, [part.view_as(own) for part, own in zip(parts, bucket, strict=True)])


ALONE = Ranks()


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the gradients in runs of about `_BUCKET` numbers."""
    ends = accumulate(gradient.numel() for gradient in gradients)
    bucket: list[Tensor] = []
    number = 0
    for gradient, end in zip(gradients, ends, strict=True):
        if bucket and end // _BUCKET != number:
            yield bucket
            bucket = []
        number = end // _BUCKET
        bucket.append(gradient)
    if bucket:
        yield bucket


def num_processes() -> int:
    """Return how many processes were started for this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_one_process(verb: str) -> None:
    """Raise ConfigError when several processes were started for what one does."""
    if num_processes() > 1:
        raise ConfigError(
            f"`trivium {verb}` runs in one process, and {num_processes()} were started; only pretrain is shared."
        )


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes that `torchrun` has started, if it has; leave them at the end.

    Raises:
        ConfigError: this PyTorch was built without torch.distributed.
    """
    count = num_processes()
    if count == 1:
        yield ALONE
        return
    if not distributed.is_available():
        raise ConfigError("several processes were started, and this PyTorch has no torch.distributed; start one.")
    # What the ranks tell each other lies on the processor, gradients where the run computes.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
