"""A run's settings before its first step: nothing left open, and the same ones when it goes on."""

from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import nn

from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.files import refuse_existing
from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.data.shards import PreparedData
from trivium.model.history import with_name
from trivium.model.initialise import initialise
from trivium.model.warm_start import begins_with
from trivium.train.config import RunConfig
from trivium.train.device import settled_device
from trivium.train.distributed import ALONE, Ranks
from trivium.train.material import Material, Start, fit_to_data, make_material, require_ranks, trained_network
from trivium.train.measure import seconds_a_step, settled_optimiser, settled_precision
from trivium.train.precision import TrainedWeights
from trivium.train.preflight.look import look
from trivium.train.resume import require_same
from trivium.train.validate import HeldOut, held_out_loss

DEFAULT_STEPS = 1000
# How a step is computed and not what: the batches stay the same, and the losses but for rounding and dropout's draws.
_FREE = ("prefetch", "accumulation", "parallel", "recompute", "device")


def ready(
    config: RunConfig,
    data: PreparedData,
    out: Path,
    *,
    progress: Progress,
    minutes: float | None = None,
    start: Start | None = None,
    preflight_seconds: float = 0.0,
    ranks: Ranks = ALONE,
) -> tuple[RunConfig, Material]:
    """Return a run that is to begin, nothing left open, and what it is made of; nothing is written.

    Arguments and errors are those of `pretrain`. What is wrong with the run, as far as pre-flight sees, is raised; the
    rest of what it finds is shown. The first rank alone measures and looks.
    """
    begun = perf_counter()
    # Asked for its tokenizer, its history and its weights, it is opened once.
    start = None if start is None else cache(start)
    # To resume as well: what has no configuration is no run of ours.
    ranks.told(lambda: refuse_existing(out))
    named = config.data.fingerprint
    if named is not None and named != data.fingerprint:
        raise ConfigError(
            f"the recipe was run on other data (data.fingerprint {named}; this is {data.fingerprint}); "
            "remove that line from it to run it on this."
        )
    if config.start_from is not None:
        require_alike(config, start, data)
    earlier = () if config.start_from is None or start is None else with_name(start().history, config.start_from)
    config = fit_to_data(config.model_copy(update={"history": earlier}), data)
    material = make_material(config, data, start)
    require_ranks(config, material, ranks)
    seconds = None if minutes is None else minutes * 60.0
    reserved = 0.0 if seconds is None else min(preflight_seconds, 0.1 * seconds)

    def looked_at() -> RunConfig:
        settled = settle(config, material, None if seconds is None else seconds - reserved, begun, progress)
        if preflight_seconds:
            most = preflight_seconds if seconds is None else reserved
            look(settled, data, material, out, progress, seconds=most, ranks=ranks)
        return settled

    return ranks.told(looked_at), material


def begun_alike(config: RunConfig, before: RunConfig) -> RunConfig:
    """Return the run as it began: what it began with need not be said, or be there, a second time."""
    if before.start_from is None or config.start_from not in (None, before.start_from):
        return config
    return config.model_copy(update={"start_from": before.start_from, "model": before.model})


def require_alike(config: RunConfig, start: Start | None, data: PreparedData) -> None:
    """Raise a UserError unless the run can begin with the model that it names."""
    named = config.start_from
    if start is None:
        raise ConfigError(f"the run begins with {named}: expected that model, found none given.")
    earlier = start()
    if earlier.tokenizer != data.tokenizer.to_bytes():
        raise CheckpointError(
            f"--from {named}: its tokenizer is not that of the data; prepare the data with --tokenizer {named}."
        )
    if not begins_with(config.model, earlier.config):
        raise ConfigError(
            f"--from {named}: expected a model of the family {config.model.family.kind}; "
            f"found {earlier.config.family.kind}."
        )
    for name in ("vocabulary_size", "hidden_size"):
        wanted, found = getattr(config.model, name), getattr(earlier.config, name)
        if wanted != found:
            raise ConfigError(f"--from {named}: expected a model whose `{name}` is the run's, {wanted}; found {found}.")


def settle(config: RunConfig, material: Material, seconds: float | None, begun: float, progress: Progress) -> RunConfig:
    """Return the run with its number of steps and its intervals decided."""
    device = settled_device(config.train.device)
    types = {"device": device, "precision": settled_precision(config.train.precision, device)}
    train = config.train.model_copy(update=types)
    config = config.model_copy(update={"train": train, "optimiser": settled_optimiser(config.optimiser, device)})
    steps = train.steps or DEFAULT_STEPS
    if seconds is not None:
        step_seconds = sum(
            share * seconds_a_step(config, material, batch, budget_seconds=share * seconds)
            for share, batch in material.parts_alone()
        )
        network = trained_network(config, material)
        initialise(network, config.model, Key(config.seed))
        validating = perf_counter()
        held_out(config, material, TrainedWeights(network, train.precision).compute)
        validating = perf_counter() - validating
        # Ten validations with their checkpoints, one at the end, and a little for what nobody foresees.
        left = 0.94 * seconds - (perf_counter() - begun) - 12 * validating
        steps = max(1, int(left / (step_seconds * 1.03)))
        progress.line(f"measured {step_seconds * 1000:.0f} ms a step: {steps} steps in {seconds / 60:.3g} minutes")
    tenth = max(1, steps // 10)
    settled = {
        "steps": steps,
        "log_steps": train.log_steps or max(1, steps // 500),
        "validate_steps": train.validate_steps or tenth,
        "checkpoint_steps": train.checkpoint_steps or tenth,
    }
    return config.model_copy(update={"train": train.model_copy(update=settled)})


def same_run(asked: RunConfig, saved: RunConfig, progress: Progress) -> RunConfig:
    """Return the saved run; raise ConfigError when another is asked for, or is to go on with other data.

    How a step is computed may be asked for anew, and what is not asked for is as it was.
    """
    new, old = asked.data.fingerprint, saved.data.fingerprint
    if new != old:
        raise ConfigError(f"--resume: the data has changed: its fingerprint is {new}, the run began with {old}.")
    require_same(asked, saved, free={"history", *(f"train.{name}" for name in _FREE)})
    changed: dict[str, Any] = {}
    for name in asked.train.model_fields_set.intersection(_FREE):
        value, was = getattr(asked.train, name), getattr(saved.train, name)
        if value != was:
            changed[name] = value
            progress.line(f"goes on with train.{name} {value}; it was {was}")
    return saved.model_copy(update={"train": saved.train.model_copy(update=changed)})


def held_out(config: RunConfig, material: Material, network: nn.Module) -> HeldOut:
    """Return the loss of a network on the run's held-out rows."""
    return held_out_loss(
        network,
        material.objective,
        material.held_out,
        rows=config.train.validate_rows,
        rows_per_batch=config.train.rows,
        key=Key(config.seed).child("validate"),
    )
