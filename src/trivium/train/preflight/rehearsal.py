"""A run tried out on a network that is thrown away: its first loss, its gradients, its speed, one batch learned by
heart. Nothing of it is left behind but numbers."""

import math
from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn

from trivium.core.batch import AnyBatch, MixedBatch
from trivium.core.errors import DivergedError
from trivium.core.progress import Silent
from trivium.core.random import Key
from trivium.data.loader import ahead, micro_batches
from trivium.model.folder import unique_tensors
from trivium.train.averaging import kept_weights
from trivium.train.config import RunConfig
from trivium.train.device import open_device
from trivium.train.loop import StepReport, skips_in_a_row, train_steps
from trivium.train.material import Material, draw, trained_network
from trivium.train.mixout import trained_weights
from trivium.train.optimisers import Optimiser, build_optimiser, optimiser_tensors
from trivium.train.paces import run_paces
from trivium.train.precision import TrainedWeights
from trivium.train.preflight.footprint import Sizes, forget_peak, held_bytes, peak_bytes
from trivium.train.validate import held_out_loss

# Enough for any learning rate near a good one to show; fewer tell nothing.
OVERFIT_STEPS, LEAST_OVERFIT_STEPS = 30, 20
_DRAWN_A_SECOND = 4e7  # parameters that are drawn in a second, about
_FEW_STEPS, _SOME_STEPS, _MOST_STEPS, _SURE = 2, 16, 64, 0.01
_SHARE_OF_PASS, _SHARE_OF_HEART, _SHARE_OF_SPEED = 0.35, 0.5, 0.9
_LONG_ENOUGH = 5.0  # seconds that a run takes before trying it out is worth a part of them
_LEAST_SECONDS, _SHARE_OF_RUN = 1.0, 0.1


class Overfit(NamedTuple):
    """One batch, learned by heart at the run's peak learning rate."""

    rows: int
    losses: tuple[float, ...]
    stopped: str  # what ended it before its time; empty = nothing

    @property
    def last(self) -> float:
        """The loss at the end."""
        return mean(self.losses[-3:]) if self.losses else math.nan


class Rehearsal(NamedTuple):
    """What was found out; None = there was no time for it."""

    first_loss: float | None = None
    first_terms: dict[str, float] | None = None
    gradient_norm: float | None = None
    without_gradient: tuple[str, ...] = ()  # parameters that no gradient reaches
    spoilt: tuple[str, ...] = ()  # parameters whose gradient is not finite
    num_parameters: int = 0
    step_seconds: float | None = None
    validation_seconds: float | None = None  # of one batch of held-out rows
    peak: int | None = None  # bytes that the process held at most, in whole steps
    first_peak: int | None = None  # bytes that it held at most with the fewest rows and no optimiser
    row_bytes: float | None = None  # what the activations of one row more take
    state_bytes: int | None = None  # of the optimiser, measured
    overfit: Overfit | None = None
    not_tried: str = ""  # why something was left out, in one line


def rehearse(
    config: RunConfig, material: Material, sizes: Sizes, *, memory: int | None, begun: float, seconds: float
) -> Rehearsal:
    """Try out a run for so long at most, and for no more than a tenth of what it will take.

    Args:
        config: the run, nothing left open.
        material: of the run.
        sizes: of its network and optimiser.
        memory: bytes that the process may still take; a step that needs more is not made. None = not known.
        begun: when the time began to count, of `perf_counter`.
        seconds: that may be used.
    """
    parameters = sizes.weights // 4
    if memory is not None and sizes.training > memory:
        return Rehearsal(not_tried="weights, gradients and optimiser do not fit the memory")
    if parameters > _DRAWN_A_SECOND * 0.3 * (seconds - (perf_counter() - begun)):
        return Rehearsal(not_tried=f"{parameters:,} parameters are too many to be drawn and tried in {seconds:.0f} s")
    device = open_device(config.train.device)
    forget_peak(device)
    network = trained_network(config, material)
    draw(network, config, material, Silent())
    key = Key(config.seed).child("preflight")
    weights = trained_weights(
        network, config.train.precision, mixout=config.mixout, start=unique_tensors(network), key=key, step=0
    )
    whole = material.batches(config.train.steps or 1)(0)
    micro = micro_batches(whole, config.train.accumulation)[0]
    least = material.objective.rows_together
    some = micro.rows(0, least)
    held = held_bytes(device)
    found = _pass(weights, material, some, key)  # the first is slow: libraries make themselves ready
    peak = peak_bytes(device)
    row_bytes = None if held is None or peak is None else max(0, peak - held - sizes.weights) / least
    found = found._replace(row_bytes=row_bytes, num_parameters=sum(1 for _ in network.parameters()))
    if memory is not None and row_bytes is not None and sizes.training + row_bytes * micro.num_rows > memory:
        return found._replace(not_tried="a whole step does not fit the memory")
    rows, row_seconds = 0, math.inf
    # More rows at once take less time each: as many as a part of the time allows.
    while rows < micro.num_rows:
        rows = min(max(4 * rows, least), micro.num_rows)
        if rows > least and row_seconds * rows > _SHARE_OF_PASS * (seconds - (perf_counter() - begun)):
            break
        timed = perf_counter()
        fuller = _pass(weights, material, micro.rows(0, rows), key)
        row_seconds = min(row_seconds, (perf_counter() - timed) / rows)
        highest = peak_bytes(device)
        if rows > least and peak is not None and highest is not None:
            row_bytes = max(0, highest - peak) / (rows - least)
        found = fuller._replace(row_bytes=row_bytes, first_peak=peak, num_parameters=found.num_parameters)
    expected = row_seconds * whole.num_rows * (config.train.steps or 1)
    hopeless = found.spoilt or len(found.without_gradient) == found.num_parameters
    if hopeless or expected < _LONG_ENOUGH:
        short = f"the run takes about {expected:.1f} s, too little to be tried out first"
        return found._replace(step_seconds=row_seconds * whole.num_rows, not_tried="" if hopeless else short)
    deadline = begun + min(seconds, max(_LEAST_SECONDS, _SHARE_OF_RUN * expected))
    found = found._replace(step_seconds=row_seconds * whole.num_rows)
    half = perf_counter() + _SHARE_OF_HEART * (deadline - perf_counter())
    found = _by_heart(config, material, weights, micro, key, found, half)
    return _speed(config, material, weights, found, row_seconds * whole.num_rows, deadline)


def _pass(weights: TrainedWeights, material: Material, batch: AnyBatch, key: Key) -> Rehearsal:
    """Compute loss and gradients of some rows, and look at them."""
    counts = material.learned.counts(batch)
    torch.manual_seed(key.integer())
    weights.compute.train()
    terms = material.learned.loss(weights.compute, batch.to(weights.device), key)
    total = torch.stack([term.weight * term.sum / (counts[term.name] or 1.0) for term in terms]).sum()
    if total.requires_grad:
        weights.backward(total)
    named = [(name, parameter.grad) for name, parameter in weights.master.named_parameters()]
    shown = _shown_share(batch)
    untouched = tuple(name for name, gradient in named if shown == 1.0 and (gradient is None or not gradient.any()))
    spoilt = tuple(name for name, gradient in named if gradient is not None and not bool(gradient.isfinite().all()))
    norm = float(nn.utils.get_total_norm([gradient for _, gradient in named if gradient is not None]))
    _clear(weights)
    means = {term.name: float(term.sum.detach()) / (counts[term.name] or 1.0) for term in terms}
    return Rehearsal(float(total.detach()) / shown, means, norm, untouched, spoilt)


def _shown_share(batch: AnyBatch) -> float:
    """Return what share of the weight of a mixture's parts those have that have rows here; 1 for all else."""
    if not isinstance(batch, MixedBatch):
        return 1.0
    there = [weight for part, weight in zip(batch.parts, batch.weights, strict=True) if part is not None and weight]
    every = [weight for weight in batch.weights if weight]
    return 1.0 if len(there) == len(every) else sum(there) / sum(every)


def _clear(weights: TrainedWeights) -> None:
    for parameter in weights.master.parameters():
        parameter.grad = None


def _speed(
    config: RunConfig,
    material: Material,
    weights: TrainedWeights,
    found: Rehearsal,
    expected: float,
    deadline: float,
) -> Rehearsal:
    """Measure whole steps as the run makes them, and a batch of held-out rows, if there is time for some."""
    left = deadline - perf_counter()
    if (_FEW_STEPS + 1) * expected > _SHARE_OF_SPEED * left:
        slow = f"whole steps, of about {1000 * expected:,.0f} ms, estimated from fewer rows"
        return found._replace(not_tried="; ".join(filter(None, [found.not_tried, slow])))
    optimiser = build_optimiser(config.optimiser, weights.master)
    kept = kept_weights(
        weights, config.averaging, precision=config.train.precision, steps=1_000_000, saved={}, source=""
    )
    steps = config.train.steps or 1
    batches = material.batches(steps)
    # Learning rate 0: the weights stay as they are drawn.
    reports = _steps(
        config, material, weights, optimiser, ahead(batches, 0, steps, depth=config.train.prefetch), lr=0.0
    )
    times: list[float] = []
    until = perf_counter() + _SHARE_OF_SPEED * left
    timed = perf_counter()
    try:
        for report in reports:
            kept.update(report.step)
            now = perf_counter()
            times.append(now - timed)
            timed = now
            if now > deadline or (len(times) > _FEW_STEPS and (now > until or _is_sure(times[1:]))):
                break
    except DivergedError as error:
        return found if found.overfit is not None else found._replace(not_tried=str(error))
    warm = times[1:] or times
    begun = perf_counter()
    rows = min(config.train.rows, config.train.validate_rows)
    held_out_loss(
        kept.computing(),
        material.objective,
        material.held_out,
        rows=rows,
        rows_per_batch=config.train.rows,
        key=Key(config.seed).child("validate"),
    )
    state = sum(
        tensor.numel() * tensor.element_size() for tensor in optimiser_tensors(optimiser, weights.master).values()
    )
    return found._replace(
        step_seconds=mean(warm),
        validation_seconds=perf_counter() - begun,
        peak=peak_bytes(weights.device),
        state_bytes=state,
    )


def _is_sure(times: Sequence[float]) -> bool:
    """Return whether further steps would hardly change the mean."""
    return len(times) >= _MOST_STEPS or (
        len(times) >= _SOME_STEPS and stdev(times) / len(times) ** 0.5 < _SURE * mean(times)
    )


def _by_heart(
    config: RunConfig,
    material: Material,
    weights: TrainedWeights,
    micro: AnyBatch,
    key: Key,
    found: Rehearsal,
    deadline: float,
) -> Rehearsal:
    """Train on one batch over and over, if there is time for enough steps."""
    rows, together = micro.num_rows, material.objective.rows_together
    row_seconds = (found.step_seconds or 0.0) / config.train.rows
    affordable = int((deadline - perf_counter()) / (LEAST_OVERFIT_STEPS * row_seconds * 1.3))
    rows = min(rows, affordable) // together * together
    if rows < together:
        reason = f"one batch was not learned by heart: {LEAST_OVERFIT_STEPS} steps of {together} rows take longer"
        return found._replace(not_tried="; ".join(filter(None, [found.not_tried, reason])))
    batch = micro.rows(0, rows)
    paced = config.model_copy(update={"train": config.train.model_copy(update={"unfreezing": None})})
    optimiser = build_optimiser(config.optimiser, weights.master, run_paces(paced, weights.master))
    losses: list[float] = []
    stopped = ""
    alone = config.model_copy(update={"train": config.train.model_copy(update={"accumulation": 1})})
    again = (batch for _ in range(OVERFIT_STEPS))
    try:
        for report in _steps(alone, material, weights, optimiser, again, lr=config.optimiser.lr):
            losses.append(report.loss)
            if perf_counter() > deadline:
                break
    except DivergedError as error:
        stopped = str(error)
    if not stopped and len(losses) < LEAST_OVERFIT_STEPS:
        reason = f"one batch was not learned by heart: only {len(losses)} steps were made in time"
        return found._replace(not_tried="; ".join(filter(None, [found.not_tried, reason])))
    untouched = set(found.without_gradient)
    if not stopped and untouched:
        untouched &= set(_pass(weights, material, batch, key).without_gradient)
    return found._replace(overfit=Overfit(rows, tuple(losses), stopped), without_gradient=tuple(sorted(untouched)))


def _steps(
    config: RunConfig,
    material: Material,
    weights: TrainedWeights,
    optimiser: Optimiser,
    batches: Iterator[AnyBatch],
    *,
    lr: float,
) -> Iterator[StepReport]:
    """Yield the steps; raise DivergedError at the first that is skipped."""
    reports = train_steps(
        weights,
        material.learned,
        optimiser,
        batches,
        start=0,
        lr=lambda step: lr,
        accumulation=config.train.accumulation,
        max_gradient_norm=config.train.max_gradient_norm,
        key=Key(config.seed).child("preflight"),
    )
    for report in reports:
        skips_in_a_row(report, 0, most=0)
        yield report
