"""One pretraining run: settles what is open, trains, logs, validates, saves, and goes on where it stopped."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from torch import nn

from trivium.core.config import parse, read_toml, write_toml
from trivium.core.errors import DivergedError, Interrupted
from trivium.core.files import alone, new_folder, write_json, write_text
from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.data.loader import ahead
from trivium.data.normal import Normal
from trivium.data.shards import PreparedData
from trivium.model.config import ModelConfig
from trivium.model.count import num_parameters
from trivium.model.folder import save_model, unique_tensors
from trivium.model.history import Made, write_history
from trivium.objectives.base import Objective
from trivium.train.begin import AVERAGE, START, Begun, begin
from trivium.train.checkpoint import CheckpointWriter, checkpoints
from trivium.train.config import RunConfig
from trivium.train.distributed import ALONE, Ranks
from trivium.train.log import Log
from trivium.train.loop import StepReport, require_finite, skips_in_a_row, train_steps
from trivium.train.material import Material, Start, fit_to_data, make_material, require_ranks, trained_network
from trivium.train.plateau import course_of, warn
from trivium.train.profile import profiled
from trivium.train.roofline import Meter, matmul_peak
from trivium.train.schedules import decay_share, lr_share
from trivium.train.settle import begun_alike, held_out, ready, same_run
from trivium.train.sharded import gathered, is_sharded
from trivium.train.signals import stop_signals
from trivium.train.state import TrainState
from trivium.train.track import Tracker, followed

CONFIG, LOG, RESULTS, MODEL, PROFILE = "config.toml", "log.jsonl", "results.json", "model", "profile"


class _Run(NamedTuple):
    """What does not change in the course of a run."""

    config: RunConfig
    data: PreparedData
    material: Material
    out: Path
    log: Log
    progress: Progress
    ranks: Ranks
    normal: Normal | None
    profile: bool = False


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
    ranks: Ranks = ALONE,
    trackers: Sequence[Tracker] = (),
    preflight_seconds: float = 0.0,
    profile: bool = False,
) -> dict[str, Any]:
    """Pretrain a model into the run folder `out` and return its results.

    Args:
        config: the run; what it leaves open is settled and written to `out/config.toml` before step 0.
        data: prepared text.
        out: the run folder; must not exist unless `resume`.
        progress: shown what is going on.
        minutes: choose the number of steps so that the whole call takes about this long.
        resume: go on from the newest whole checkpoint; from the beginning when there is none yet.
        normal: what loss is normal for the data, said beside the loss and in the results.
        start: opens the model that `config.start_from` names, whose weights the run begins with; it is not asked for
            when the run goes on from a checkpoint.
        ranks: the processes that make the run together; all of them call this, with equal arguments and one `out`.
        trackers: also get each line of the log, see `train.trackers`; they change nothing in the run.
        preflight_seconds: how long the run may be looked at before step 0, see `train.preflight.look`; 0 = it is not.
        profile: record what some of the first steps spend their time on, in `out/profile`.

    Raises:
        ConfigError, DataError, CheckpointError, DivergedError: see `core.errors`.
        Interrupted: SIGTERM or SIGINT came; everything is saved.
    """
    saved = out / CONFIG
    if resume and ranks.told(saved.is_file):
        before = parse(RunConfig, read_toml(saved), str(saved))
        config = same_run(fit_to_data(begun_alike(config, before), data), before, progress)
        material = make_material(config, data, start)
        require_ranks(config, material, ranks)
        if not checkpoints(out):
            progress.line(f"nothing is saved in {out} yet: the run begins at step 0")
    else:
        config, material = ready(
            config,
            data,
            out,
            progress=progress,
            minutes=minutes,
            start=start,
            preflight_seconds=preflight_seconds,
            ranks=ranks,
        )
        ranks.told(lambda: _make_folder(out, config))
    run = _Run(config, data, material, out, Log(out / LOG), progress, ranks, normal, profile)
    if not ranks.first:
        with stop_signals() as stopped_by:
            return _train(run, stopped_by)
    tracked = followed(trackers, out, config.model_dump(mode="json", exclude_none=True), progress)
    with alone(out / CONFIG), stop_signals() as stopped_by, tracked as followers:
        return _train(run._replace(log=Log(out / LOG, followers)), stopped_by)


def _make_folder(out: Path, config: RunConfig) -> None:
    """Make the run's folder: it is never seen without its configuration, without which it could not be resumed."""
    with new_folder(out) as folder:
        write_text(folder / CONFIG, write_toml(config))


def _train(run: _Run, stopped_by: Callable[[], int | None]) -> dict[str, Any]:
    """Train to the end, going back to a checkpoint where the run may and must."""
    train, diverged, error = run.config.train, None, None
    while True:
        begun = begin(run.config, run.material, run.out, run.progress, run.ranks)
        if diverged is not None:
            begun = begun._replace(state=_passing_over(begun.state, diverged))
        if run.ranks.first:
            run.log.cut_after(begun.state.step)
            if error is not None:
                run.log.write(step=begun.state.step, split="warning", check="rollback", warning=str(error))
        with CheckpointWriter(run.out, ranks=run.ranks, num_kept=train.checkpoints_kept) as writer:
            state, error = _steps(run, begun, writer, stopped_by)
        if error is None:
            break
        if state.rollbacks >= train.max_rollbacks:
            raise error
        times = f"{state.rollbacks + 1} of {train.max_rollbacks}"
        run.progress.warn(f"{error} Going back to the last checkpoint ({times}); the batches since are passed over.")
        diverged = state
    return _finish(run, begun.kept.network, state)


def _passing_over(saved: TrainState, diverged: TrainState) -> TrainState:
    """Return the state of a checkpoint, to go on with the batches after those that led to nothing finite."""
    return saved._replace(
        passed_over=diverged.passed_over + diverged.step - saved.step,
        rollbacks=diverged.rollbacks + 1,
        skipped=diverged.skipped,
        skipped_in_a_row=0,
    )


def _steps(
    run: _Run, begun: Begun, writer: CheckpointWriter, stopped_by: Callable[[], int | None]
) -> tuple[TrainState, DivergedError | None]:
    """Run the loop and, in plain sight, log, validate, save, stop; return where it ended and why, if too early."""
    train, state = run.config.train, begun.state
    steps, log_steps = train.steps or 0, train.log_steps or 1
    validate_steps, checkpoint_steps = train.validate_steps or steps, train.checkpoint_steps or steps
    course = course_of(run.config, run.material, run.normal)
    peak = partial(matmul_peak, train.precision, begun.weights.device)
    meter = Meter(lambda reached: peak(above=reached), anew=run.material.changes(steps))
    began, before = perf_counter(), state.seconds
    run.progress.start("pretrain", steps, "steps")
    reports = _reports(run, begun, stopped_by)
    if run.profile and run.ranks.first:
        reports = profiled(reports, run.out / PROFILE, run.progress)
    for report in meter.over(reports, start=state.step):
        begun.kept.update(report.step)
        seconds = before + perf_counter() - began
        state = state._replace(
            step=report.step,
            tokens=state.tokens + report.tokens,
            seconds=seconds,
            skipped=state.skipped + report.skipped,
        )
        if run.ranks.first and (report.step % log_steps == 0 or report.step == steps or report.skipped):
            speed = meter.read().line()
            run.log.step(report, tokens=state.tokens, seconds=state.seconds, skipped=state.skipped, speed=speed)
        improved = False
        try:
            in_a_row = skips_in_a_row(report, state.skipped_in_a_row, most=train.max_skipped)
            state = state._replace(skipped_in_a_row=in_a_row)
            if report.step % validate_steps == 0 or report.step == steps:
                loss = _validate(run, begun.kept.computing(), state)
                if improved := state.best_loss is None or loss < state.best_loss:
                    state = state._replace(best_loss=loss, best_step=report.step)
        except DivergedError as error:
            return state, error
        if run.ranks.first and (report.step in (course.enough, steps) or report.step % validate_steps == 0):
            warn(run.log, course, report.step, run.progress)
        if report.step % checkpoint_steps == 0 or report.step == steps or improved or report.asked:
            beside = {AVERAGE: begun.kept.tensors(), START: begun.start}
            writer.save(begun.weights.master, begun.optimiser, state, beside=beside)
        run.progress.advance(report.step, _words(run, report, state))
        if report.asked and report.step < steps:
            writer.wait()
            raise Interrupted(report.asked, report.step)
    return state, None


def _reports(run: _Run, begun: Begun, stopped_by: Callable[[], int | None]) -> Iterator[StepReport]:
    """Return the loop, from where the run is to its end."""
    config, train, state = run.config, run.config.train, begun.state
    steps = train.steps or 0
    return train_steps(
        begun.weights,
        run.material.learned,
        begun.optimiser,
        ahead(run.material.batches(steps, passed_over=state.passed_over), state.step, steps, depth=train.prefetch),
        start=state.step,
        lr=lambda step: config.optimiser.lr * lr_share(config.schedule, step, steps),
        accumulation=train.accumulation,
        max_gradient_norm=train.max_gradient_norm,
        key=Key(config.seed),
        decay=lambda step: decay_share(config.optimiser.decay_schedule, config.schedule, step, steps),
        ranks=run.ranks,
        request=lambda: stopped_by() or 0,
    )


def _words(run: _Run, report: StepReport, state: TrainState) -> str:
    """Return what is said beside the bar."""
    normally = "" if run.normal is None else f" (unigram {run.normal.unigram:.2f})"
    skipped = f"  {state.skipped} skipped" if state.skipped else ""
    rate = report.tokens / max(sum(report.seconds_by_phase.values()), 1e-9)
    return f"loss {report.loss:.3f}{normally}  {rate:,.0f} tokens/s{skipped}"


def _finish(run: _Run, network: nn.Module, state: TrainState) -> dict[str, Any]:
    """Write `model/` and `results.json`."""
    if is_sharded(unique_tensors(network)):
        network = gathered(network, trained_network(run.config, run.material))
    return run.ranks.told(lambda: _write_results(run, network, state))


def _write_results(run: _Run, network: nn.Module, state: TrainState) -> dict[str, Any]:
    config, material = run.config, run.material
    kept = material.objective.exported(network)
    with new_folder(run.out / MODEL) as folder:
        save_model(folder, kept, as_trained(config.model, material.objective), run.data.tokenizer.to_bytes())
        made = Made(
            verb="pretrain",
            objective=config.objective.kind,
            data=config.data.fingerprint,
            steps=state.step,
            tokens=state.tokens,
        )
        history = write_history(folder, config.history, made)
    loss, terms = held_out(config, material, network.eval())
    results: dict[str, Any] = {
        "task": config.objective.kind,
        "valid": {"loss": loss, **terms},
        "seed": config.seed,
        "parameters": num_parameters(kept),
        "tokens": state.tokens,
        "seconds": round(state.seconds, 3),
        "best": {"loss": state.best_loss, "step": state.best_step},
    }
    if state.skipped:
        results["skipped"] = {"updates": state.skipped, "rollbacks": state.rollbacks}
    if run.normal is not None:
        results["normal"] = run.normal._asdict()
    results["history"] = history
    write_json(run.out / RESULTS, results)
    return results


def as_trained(model: ModelConfig, objective: Objective) -> ModelConfig:
    """Return the architecture with its head marked as the objective leaves it, see `HeadConfig.trained`."""
    return model.model_copy(update={"head": model.head.model_copy(update={"trained": objective.speaks})})


def _validate(run: _Run, network: nn.Module, state: TrainState) -> float:
    found, terms = held_out(run.config, run.material, network)
    loss = run.ranks.told(lambda: found)  # machines of different kinds may round differently, and must agree
    require_finite(loss, state.step)
    if run.ranks.first:
        line = {"split": "validation", "loss": loss, "tokens": state.tokens, "seconds": state.seconds, **terms}
        run.log.write(step=state.step, **line)
    return loss
