"""One pretraining run: settles what is open, trains, logs, validates, saves, and goes on where it stopped."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

from torch import nn

from trivium.core.config import parse, read_toml, write_toml
from trivium.core.errors import CheckpointError, ConfigError, Interrupted
from trivium.core.files import alone, new_folder, refuse_existing, write_json, write_text
from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.data.loader import ahead
from trivium.data.normal import Normal
from trivium.data.shards import PreparedData
from trivium.model.config import ModelConfig
from trivium.model.count import num_parameters
from trivium.model.folder import save_model
from trivium.model.initialise import initialise
from trivium.objectives.base import Objective
from trivium.train.begin import AVERAGE, START, begin
from trivium.train.checkpoint import save_checkpoint
from trivium.train.config import RunConfig
from trivium.train.log import Log
from trivium.train.loop import train_steps
from trivium.train.material import Material, Start, fit_to_data, make_material
from trivium.train.measure import seconds_a_step, settled_optimiser, settled_precision
from trivium.train.plateau import course_of, warn
from trivium.train.precision import TrainedWeights
from trivium.train.preflight import look
from trivium.train.schedules import decay_share, lr_share
from trivium.train.state import TrainState
from trivium.train.validate import HeldOut, held_out_loss

CONFIG, LOG, RESULTS, MODEL = "config.toml", "log.jsonl", "results.json", "model"
DEFAULT_STEPS = 1000


def pretrain(
    config: RunConfig,
    data: PreparedData,
    out: Path,
    *,
    progress: Progress,
    minutes: float | None = None,
    resume: bool = False,
    normal: Normal | None = None,
    start: Start | None = None,
    preflight_seconds: float = 0.0,
) -> dict[str, Any]:
    """Pretrain a model into the run folder `out` and return its results.

    Args:
        config: the run; what it leaves open is settled and written to `out/config.toml` before step 0.
        data: prepared text.
        out: the run folder; must not exist unless `resume`.
        progress: shown what is going on.
        minutes: choose the number of steps so that the whole call takes about this long.
        resume: go on from the newest whole checkpoint; from the beginning when there is none yet.
        start: opens the model that `config.start_from` names, whose weights the run begins with; it is not asked for
            when the run goes on from a checkpoint.
        normal: what loss is normal for the data, said beside the loss and in the results.
        preflight_seconds: how long the run may be looked at before step 0, see `train.preflight`; 0 = it is not.

    Raises:
        ConfigError, DataError, CheckpointError, DivergedError: see `core.errors`.
        Interrupted: SIGTERM or SIGINT came; everything is saved.
    """
    saved = out / CONFIG
    if resume and saved.is_file():
        before = parse(RunConfig, read_toml(saved), str(saved))
        config = _same_run(fit_to_data(_begun_alike(config, before), data), before)
        material = make_material(config, data, start)
    else:
        config, material = ready(
            config, data, out, progress=progress, minutes=minutes, start=start, preflight_seconds=preflight_seconds
        )
        out.mkdir(parents=True, exist_ok=True)
        write_text(saved, write_toml(config))
    with alone(out / CONFIG), _signals() as stopped_by:
        return _train(config, data, material, out, progress=progress, stopped_by=stopped_by, normal=normal)


def ready(
    config: RunConfig,
    data: PreparedData,
    out: Path,
    *,
    progress: Progress,
    minutes: float | None = None,
    start: Start | None = None,
    preflight_seconds: float = 0.0,
) -> tuple[RunConfig, Material]:
    """Return a run that is to begin, nothing left open, and what it is made of; nothing is written.

    Arguments and errors are those of `pretrain`. What is wrong with the run, as far as pre-flight sees, is raised; the
    rest of what it finds is shown.
    """
    begun = perf_counter()
    refuse_existing(out)  # to resume as well: what has no configuration is no run of ours
    named = config.data.fingerprint
    if named is not None and named != data.fingerprint:
        raise ConfigError(
            f"the recipe was run on other data (data.fingerprint {named}; this is {data.fingerprint}); "
            "remove that line from it to run it on this."
        )
    if config.start_from is not None:
        _require_alike(config, start, data)
    config = fit_to_data(config, data)
    material = make_material(config, data, start)
    seconds = None if minutes is None else minutes * 60.0
    reserved = 0.0 if seconds is None else min(preflight_seconds, 0.1 * seconds)
    config = _settle(config, material, None if seconds is None else seconds - reserved, begun, progress)
    if preflight_seconds:
        look(config, data, material, out, progress, seconds=preflight_seconds)
    return config, material


def _train(
    config: RunConfig,
    data: PreparedData,
    material: Material,
    out: Path,
    *,
    progress: Progress,
    stopped_by: Callable[[], int | None],
    normal: Normal | None,
) -> dict[str, Any]:
    """Run the loop and, in plain sight, log, validate, save, stop."""
    train, key, log = config.train, Key(config.seed), Log(out / LOG)
    steps, log_steps = train.steps or 0, train.log_steps or 1
    validate_steps, checkpoint_steps = train.validate_steps or steps, train.checkpoint_steps or steps
    weights, kept, optimiser, start, state = begin(config, material, out, progress)
    log.cut_after(state.step)
    course = course_of(config, material, normal)
    began, before = perf_counter(), state.seconds
    normally = "" if normal is None else f" (unigram {normal.unigram:.2f})"
    progress.start("pretrain", steps, "steps")
    reports = train_steps(
        weights,
        material.learned,
        optimiser,
        ahead(material.batches(steps), state.step, steps, depth=train.prefetch),
        start=state.step,
        lr=lambda step: config.optimiser.lr * lr_share(config.schedule, step, steps),
        accumulation=train.accumulation,
        max_gradient_norm=train.max_gradient_norm,
        key=key,
        decay=lambda step: decay_share(config.optimiser.decay_schedule, config.schedule, step, steps),
    )
    for report in reports:
        kept.update(report.step)
        seconds = before + perf_counter() - began
        state = state._replace(step=report.step, tokens=state.tokens + report.tokens, seconds=seconds)
        if report.step % log_steps == 0 or report.step == steps:
            log.step(report, tokens=state.tokens, seconds=state.seconds)
        improved = False
        if report.step % validate_steps == 0 or report.step == steps:
            loss = _validate(config, material, kept.computing(), log, state)
            if improved := state.best_loss is None or loss < state.best_loss:
                state = state._replace(best_loss=loss, best_step=report.step)
        if report.step in (course.enough, steps) or report.step % validate_steps == 0:
            warn(log, course, report.step, progress)
        signal_number = stopped_by()
        due = report.step % checkpoint_steps == 0 or report.step == steps
        if due or improved or signal_number is not None:
            beside = {AVERAGE: kept.tensors(), START: start}
            save_checkpoint(out, weights.master, optimiser, state, beside=beside, num_kept=train.checkpoints_kept)
        rate = report.tokens / max(sum(report.seconds_by_phase.values()), 1e-9)
        progress.advance(report.step, f"loss {report.loss:.3f}{normally}  {rate:,.0f} tokens/s")
        if signal_number is not None and report.step < steps:
            raise Interrupted(signal_number, report.step)
    return _finish(config, data, material, kept.network, out, state, normal)


def _finish(
    config: RunConfig,
    data: PreparedData,
    material: Material,
    network: nn.Module,
    out: Path,
    state: TrainState,
    normal: Normal | None,
) -> dict[str, Any]:
    """Write `model/` and `results.json`."""
    kept = material.objective.exported(network)
    with new_folder(out / MODEL) as folder:
        save_model(folder, kept, as_trained(config.model, material.objective), data.tokenizer.to_bytes())
    loss, terms = _held_out(config, material, network.eval())
    results: dict[str, Any] = {
        "task": config.objective.kind,
        "valid": {"loss": loss, **terms},
        "seed": config.seed,
        "parameters": num_parameters(kept),
        "tokens": state.tokens,
        "seconds": round(state.seconds, 3),
        "best": {"loss": state.best_loss, "step": state.best_step},
    }
    if normal is not None:
        results["normal"] = normal._asdict()
    write_json(out / RESULTS, results)
    return results


def as_trained(model: ModelConfig, objective: Objective) -> ModelConfig:
    """Return the architecture with its head marked as the objective leaves it, see `HeadConfig.trained`."""
    return model.model_copy(update={"head": model.head.model_copy(update={"trained": objective.speaks})})


def _begun_alike(config: RunConfig, before: RunConfig) -> RunConfig:
    """Return the run as it began: what it began with need not be said, or be there, a second time."""
    if before.start_from is None or config.start_from not in (None, before.start_from):
        return config
    return config.model_copy(update={"start_from": before.start_from, "model": before.model})


def _require_alike(config: RunConfig, start: Start | None, data: PreparedData) -> None:
    """Raise a UserError unless the run can begin with the model that it names."""
    named = config.start_from
    if start is None:
        raise ConfigError(f"the run begins with {named}: expected that model, found none given.")
    earlier = start()
    if earlier.tokenizer != data.tokenizer.to_bytes():
        raise CheckpointError(
            f"--from {named}: its tokenizer is not that of the data; prepare the data with --tokenizer {named}."
        )
    if earlier.config.family.kind != config.model.family.kind:
        raise ConfigError(
            f"--from {named}: expected a model of the family {config.model.family.kind}; "
            f"found {earlier.config.family.kind}."
        )


def _settle(
    config: RunConfig, material: Material, seconds: float | None, begun: float, progress: Progress
) -> RunConfig:
    """Return the run with its number of steps and its intervals decided."""
    train = config.train.model_copy(update={"precision": settled_precision(config.train.precision)})
    config = config.model_copy(update={"train": train, "optimiser": settled_optimiser(config.optimiser)})
    steps = train.steps or DEFAULT_STEPS
    if seconds is not None:
        step_seconds = sum(
            share * seconds_a_step(config, material.objective, material.learned, batch, budget_seconds=share * seconds)
            for share, batch in material.parts_alone()
        )
        network = material.objective.network(config.model)
        initialise(network, config.model, Key(config.seed))
        validating = perf_counter()
        _held_out(config, material, TrainedWeights(network, train.precision).compute)
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


def _same_run(asked: RunConfig, saved: RunConfig) -> RunConfig:
    """Return the saved run; raise ConfigError naming the first setting that was asked for and is another."""
    pairs: list[tuple[str, Any, Any]] = [("", asked.model_dump(mode="json"), saved.model_dump(mode="json"))]
    while pairs:
        path, new, old = pairs.pop(0)
        if isinstance(new, dict) and isinstance(old, dict):
            pairs += [(f"{path}.{key}".lstrip("."), new[key], old.get(key)) for key in new]
        elif path == "data.fingerprint" and new != old:
            raise ConfigError(f"--resume: the data has changed: its fingerprint is {new}, the run began with {old}.")
        elif new not in (None, "auto", old) and path != "train.prefetch":
            raise ConfigError(f"--resume: `{path}` was {old!r} when the run began, now {new!r}; leave it as it was.")
    return saved.model_copy(update={"train": saved.train.model_copy(update={"prefetch": asked.train.prefetch})})


def _validate(config: RunConfig, material: Material, network: nn.Module, log: Log, state: TrainState) -> float:
    loss, terms = _held_out(config, material, network)
    log.write(step=state.step, split="validation", loss=loss, tokens=state.tokens, seconds=state.seconds, **terms)
    return loss


def _held_out(config: RunConfig, material: Material, network: nn.Module) -> HeldOut:
    return held_out_loss(
        network,
        material.objective,
        material.held_out,
        rows=config.train.validate_rows,
        rows_per_batch=config.train.rows,
        key=Key(config.seed).child("validate"),
    )


@contextmanager
def _signals() -> Iterator[Callable[[], int | None]]:
    """Note SIGTERM and SIGINT instead of dying of them; a second one of the same kind does kill."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: somebody else minds the signals
        before = {}
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
