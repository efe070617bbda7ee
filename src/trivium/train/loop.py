"""The training loop, as a generator: it updates weights and reports; what to do about it is its caller's business."""

import math
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn

from trivium.core.batch import AnyBatch
from trivium.core.errors import DivergedError
from trivium.core.random import Key
from trivium.data.loader import micro_batches
from trivium.objectives.base import Learned
from trivium.train.optimisers import drop_frozen, set_lr
from trivium.train.precision import TrainedWeights


class StepReport(NamedTuple):
    """One optimiser update."""

    step: int  # updates done, this one included
    loss: float  # weighted sum of the terms
    terms: dict[str, float]  # mean of each term, nats
    gradient_norm: float  # before clipping
    lr: float
    tokens: int  # used places in the step's rows
    seconds_by_phase: dict[str, float]


def train_steps(
    weights: TrainedWeights,
    learned: Learned,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[AnyBatch],
    *,
    start: int,
    lr: Callable[[int], float],
    accumulation: int,
    max_gradient_norm: float,
    key: Key,
    decay: Callable[[int], float] = lambda step: 1.0,
) -> Iterator[StepReport]:
    """Make one update a batch and report it.

    Every term is divided by its count over the whole step, so that cutting the step into micro-batches changes
    nothing but memory. Dropout is seeded by (key, step, micro-batch): no random state needs to be kept.

    Args:
        weights: what is trained, and the type it is computed in.
        learned: gives counts and loss.
        optimiser: over the float32 weights.
        batches: the whole batch of each step, from step `start` on.
        start: updates already done.
        lr: learning rate of each step, counted from 0.
        accumulation: micro-batches a step.
        max_gradient_norm: longer gradients are scaled down to this.
        key: of dropout.
        decay: share of the weight decay of each step, counted from 0.

    Raises:
        DivergedError: the loss or the gradient is no longer finite; the weights are those before the update.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    weights.compute.train()
    waiting = perf_counter()
    for step, batch in enumerate(batches, start):
        begun = perf_counter()
        loss, terms = _accumulate(
            weights, learned, micro_batches(batch, accumulation), learned.counts(batch), step, key
        )
        drop_frozen(optimiser, step)
        computed = perf_counter()
        norm = float(nn.utils.clip_grad_norm_(parameters, max_gradient_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            optimiser.zero_grad(set_to_none=True)
            raise DivergedError(
                f"step {step + 1}: loss {loss:.4g} and gradient norm {norm:.4g} must be finite; "
                "the update was not made. Lower optimiser.lr, or lengthen schedule.warmup_share."
            )
        set_lr(optimiser, lr(step), decay=decay(step))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        weights.publish()
        done = perf_counter()
        phases = {"data": begun - waiting, "compute": computed - begun, "update": done - computed}
        yield StepReport(step + 1, loss, terms, norm, lr(step), batch.num_tokens, phases)
        waiting = perf_counter()


def _accumulate(
    weights: TrainedWeights,
    learned: Learned,
    micros: list[AnyBatch],
    counts: dict[str, float],
    step: int,
    key: Key,
) -> tuple[float, dict[str, float]]:
    """Add up the gradients of a step's micro-batches; return the step's loss and the mean of each term.

    Args:
        counts: of the whole step's terms; a term that the step does not have (count 0) has no gradient either.
    """
    sums = dict.fromkeys(counts, 0.0)
    loss = 0.0
    for number, micro in enumerate(micros):
        torch.manual_seed(key.child("dropout", step, 0, number).integer())
        terms = learned.loss(weights.compute, micro, key.child("loss", step))
        total = torch.stack([term.weight * term.sum / (counts[term.name] or 1.0) for term in terms]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        weights.collect_gradients()
        loss += float(total.detach())
        for term in terms:
            sums[term.name] += float(term.sum.detach())
    return loss, {name: sums[name] / (counts[name] or 1.0) for name in sums}
