"""Which learning rate to try: it grows from step to step on a network that is thrown away (Smith 2017)."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from trivium.core.errors import ConfigError
from trivium.core.progress import Progress, Silent
from trivium.core.random import Key
from trivium.data.loader import ahead
from trivium.data.shards import PreparedData
from trivium.train.config import RunConfig
from trivium.train.device import settled_device
from trivium.train.loop import StepReport, train_steps
from trivium.train.material import Start, draw, fit_to_data, make_material, trained_network
from trivium.train.measure import settled_optimiser, settled_precision
from trivium.train.optimisers import build_optimiser
from trivium.train.paces import run_paces
from trivium.train.precision import TrainedWeights

DEFAULT_STEPS = 120
_SMOOTHING = 0.9
_LEAST_FALL = 0.002  # of the first loss; less is noise
_MOST_RISE = 1.15  # times the first loss; beyond it there is nothing to learn


class Tried(NamedTuple):
    """One step."""

    lr: float
    loss: float
    smoothed: float  # a running mean over the steps before, freed of its bias towards 0


class Found(NamedTuple):
    """What the steps say."""

    tried: list[Tried]
    steepest: float  # where the loss fell fastest for a factor of the learning rate
    lowest: float  # where it was lowest
    suggestion: float


def find_lr(
    config: RunConfig,
    data: PreparedData,
    *,
    steps: int = DEFAULT_STEPS,
    low: float | None = None,
    high: float | None = None,
    start: Start | None = None,
    progress: Progress | None = None,
) -> Found:
    """Train a throw-away network at a learning rate that grows by the same factor in every step.

    Args:
        config: the run whose learning rate is looked for; its schedule plays no part.
        data: prepared text.
        steps: at most; it ends when the loss has risen well above where it began.
        low, high: first and last learning rate; None = a thousandth, and a hundred times, of `optimiser.lr`.
        start: opens the model that `config.start_from` names.
        progress: shown what is going on.

    Raises:
        ConfigError: the range is none, or the loss never fell in it.
    """
    progress = progress or Silent()
    low, high = low or config.optimiser.lr / 1000, high or config.optimiser.lr * 100
    if low >= high:
        raise ConfigError(f"--low must be less than --high: {low:g} is not less than {high:g}.")
    tried: list[Tried] = []
    progress.start("find-lr", steps, "steps")
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    for lr, loss in _losses(config, data, start, progress, rates):
        tried.append(Tried(lr, loss, _smoothed([*(each.loss for each in tried[-60:]), loss])))
        progress.advance(len(tried), f"lr {lr:.2e}  loss {loss:.3f}")
        if tried[-1].smoothed > _MOST_RISE * tried[0].loss:
            break
    return suggest(tried)


def _losses(
    config: RunConfig, data: PreparedData, start: Start | None, progress: Progress, rates: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Yield each learning rate with the loss before its update, until the loss is no longer finite."""
    config = fit_to_data(config, data)
    material = make_material(config, data, start)
    network = trained_network(config, material)
    draw(network, config, material, progress)
    # Every layer takes part from the first step on.
    config = config.model_copy(update={"train": config.train.model_copy(update={"unfreezing": None})})
    device = settled_device(config.train.device)
    reports: Iterator[StepReport] = train_steps(
        TrainedWeights(network, settled_precision(config.train.precision, device)),
        material.learned,
        build_optimiser(settled_optimiser(config.optimiser, device), network, run_paces(config, network)),
        ahead(material.batches(len(rates)), 0, len(rates), depth=config.train.prefetch),
        start=0,
        lr=lambda step: rates[step],
        accumulation=config.train.accumulation,
        max_gradient_norm=config.train.max_gradient_norm,
        key=Key(config.seed),
    )
    for report in islice(reports, len(rates)):
        if report.skipped:
            return
        yield report.lr, report.loss


def _smoothed(losses: Sequence[float]) -> float:
    """Return the mean of the losses, later ones weighing more."""
    weights = [_SMOOTHING ** (len(losses) - 1 - number) for number in range(len(losses))]
    return math.fsum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / math.fsum(weights)


def suggest(tried: Sequence[Tried]) -> Found:
    """Return the learning rate that a curve suggests: the steepest, but at most a third of the lowest.

    A running mean lags behind, so that the lowest place is well beyond what can be trained with for long.

    Raises:
        ConfigError: the loss never fell.
    """
    if len(tried) < 10:
        raise ConfigError(f"find-lr: {len(tried)} steps are too few to tell; lower --low, or raise --steps.")
    lowest = min(range(len(tried)), key=lambda number: tried[number].smoothed)
    if tried[lowest].smoothed > (1.0 - _LEAST_FALL) * tried[0].loss:
        raise ConfigError(
            f"find-lr: the loss did not fall between {tried[0].lr:.2g} and {tried[-1].lr:.2g}; "
            "expected it to. Lower --low, or raise --high or --steps."
        )
    reach = max(1, len(tried) // 20)

    def slope(number: int) -> float:
        first, last = tried[max(0, number - reach)], tried[min(lowest, number + reach)]
        return (last.smoothed - first.smoothed) / math.log(last.lr / first.lr)

    steepest = min(range(lowest + 1), key=slope) if lowest else 0
    suggestion = min(tried[steepest].lr, tried[lowest].lr / 3)
    return Found(list(tried), tried[steepest].lr, tried[lowest].lr, float(f"{suggestion:.2g}"))
