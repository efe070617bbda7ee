"""The training loop, as a generator: it updates weights and reports; what to do about it is its caller's business."""

import math
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.core.batch import AnyBatch
from trivium.core.errors import DivergedError
from trivium.core.random import Key
from trivium.data.loader import micro_batches
from trivium.objectives.base import Learned
from trivium.train.distributed import ALONE, Ranks
from trivium.train.optimisers import Optimiser, drop_frozen, set_lr
from trivium.train.precision import TrainedWeights, terms_of

# Waiting for the batch, computing, updating, waiting for the other ranks.
PHASES = ("data", "forward", "backward", "optimiser", "waiting")


class StepReport(NamedTuple):
    """One optimiser update."""

    step: int  # updates done, this one included
    loss: float  # weighted sum of the terms
    terms: dict[str, float]  # mean of each term, nats
    gradient_norm: float  # before clipping
    lr: float
    tokens: int  # used places in the step's rows, of all ranks
    seconds_by_phase: dict[str, float]  # by `PHASES`
    skipped: bool = False  # loss or gradient was not finite: the update was not made
    asked: int = 0  # the highest of what `request` said on any rank


def train_steps(
    weights: TrainedWeights,
    learned: Learned,
    optimiser: Optimiser,
    batches: Iterable[AnyBatch],
    *,
    start: int,
    lr: Callable[[int], float],
    accumulation: int,
    max_gradient_norm: float,
    key: Key,
    decay: Callable[[int], float] = lambda step: 1.0,
    ranks: Ranks = ALONE,
    request: Callable[[], int] = lambda: 0,
) -> Iterator[StepReport]:
    """Make one update a batch and report it.

    An update whose loss or gradient is not finite is not made, and reported as skipped: nothing of it reaches weights
    or optimiser. What to do about it is the caller's business, see `skips_in_a_row`.

    Every term is divided by its count over the whole step, so that cutting the step into micro-batches changes
    nothing but memory. Dropout is seeded by (key, step, rank, micro-batch): no random state needs to be kept.

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
        ranks: the processes that share the rows of each step.
        request: a number of this rank that all are to know of after the step, such as a signal that came.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    weights.compute.train()
    watch = _Stopwatch()
    for step, batch in enumerate(batches, start):
        watch.lap("data")
        counts = learned.counts(batch)
        loss, sums = _accumulate(weights, learned, batch, counts, accumulation, step, key, ranks, watch)
        asked, loss, terms = _of_all_ranks(ranks, request(), loss, sums, counts)
        drop_frozen(optimiser, step)
        weights.add_up_gradients(parameters, ranks)
        watch.lap("waiting")
        norm = weights.clip_gradients(parameters, ranks, max_norm=max_gradient_norm)
        skipped = not (math.isfinite(loss) and math.isfinite(norm))
        if not skipped:
            set_lr(optimiser, lr(step), decay=decay(step))
            optimiser.step()
        optimiser.zero_grad()
        weights.publish()
        watch.lap("optimiser")
        yield StepReport(step + 1, loss, terms, norm, lr(step), batch.num_tokens, watch.seconds, skipped, asked)
        watch = _Stopwatch()


def skips_in_a_row(report: StepReport, before: int, *, most: int) -> int:
    """Return how many updates in a row were skipped, this one included.

    Args:
        report: of this update.
        before: in a row before it.
        most: that are borne.

    Raises:
        DivergedError: there were more.
    """
    if not report.skipped:
        return 0
    if before + 1 > most:
        found = f"loss {report.loss:.4g} and gradient norm {report.gradient_norm:.4g} must be finite"
        times = f"{before + 1} updates in a row were not made" if most else "the update was not made"
        raise DivergedError(
            f"step {report.step}: {found}; {times}, the weights are those before. "
            "In a new run, lower optimiser.lr or lengthen schedule.warmup_share."
        )
    return before + 1


def require_finite(held_out: float, step: int) -> None:
    """Raise DivergedError when a held-out loss is not finite: the weights themselves are spoilt."""
    if not math.isfinite(held_out):
        raise DivergedError(
            f"step {step}: the held-out loss is {held_out}, so the weights have run away. "
            "In a new run, lower optimiser.lr or lengthen schedule.warmup_share."
        )


class _Stopwatch:
    """Seconds of one step by what they were for."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._last = perf_counter()

    def lap(self, phase: str) -> None:
        """Say what the time since the last lap was for."""
        now = perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now


def _accumulate(
    weights: TrainedWeights,
    learned: Learned,
    batch: AnyBatch,
    counts: dict[str, float],
    accumulation: int,
    step: int,
    key: Key,
    ranks: Ranks,
    watch: _Stopwatch,
) -> tuple[float, dict[str, float]]:
    """Add up the gradients of this rank's micro-batches; return its part of the step's loss and its terms' sums.

    Args:
        counts: of the whole step's terms; a term that the step does not have (count 0) has no gradient either.
    """
    sums: dict[str, list[Tensor]] = {name: [] for name in counts}
    losses: list[Tensor] = []
    for number, micro in enumerate(micro_batches(ranks.own(batch), accumulation)):
        torch.manual_seed(key.child("dropout", step, ranks.rank, number).integer())
        terms = terms_of(weights.compute, learned, micro.to(weights.device), key.child("loss", step))
        total = torch.stack([term.weight * term.sum / (counts[term.name] or 1.0) for term in terms]).sum()
        watch.lap("forward")
        weights.backward(total)
        losses.append(total.detach())
        for term in terms:
            sums[term.name].append(term.sum.detach())
        watch.lap("backward")
    # Asked for when all is under way: a GPU would be waited for at each.
    found = sum(map(float, losses)), {name: sum(map(float, each), 0.0) for name, each in sums.items()}
    watch.lap("backward")
    return found


def _of_all_ranks(
    ranks: Ranks, request: int, loss: float, sums: dict[str, float], counts: dict[str, float]
) -> tuple[int, float, dict[str, float]]:
    """Return the highest request, the step's loss and the means of its terms."""
    requests, losses, *everyones = zip(*ranks.gathered([request, loss, *sums.values()]), strict=True)
    means = {name: sum(own) / (counts[name] or 1.0) for name, own in zip(sums, everyones, strict=True)}
    return int(max(requests)), sum(losses), means
