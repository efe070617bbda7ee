"""Fine-tuning: a run folder is made, trained in, and gone on with where it stopped."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from trivium.core.config import parse, read_toml, write_toml
from trivium.core.errors import ConfigError, Interrupted
from trivium.core.files import alone, new_folder, refuse_existing, write_json, write_text
from trivium.core.progress import Progress, Silent, counter
from trivium.data.labelled import Problem, summed_up
from trivium.model.config import Decoder
from trivium.model.count import num_parameters
from trivium.model.history import Made, write_history
from trivium.tasks.balance import balance_text, class_counts
from trivium.tasks.base import Example, Task
from trivium.tasks.baselines.by_task import Row, baselines
from trivium.tasks.build import build_task, head_kind, learned_task, usual_head
from trivium.tasks.config import FinetuneConfig, Fingerprints, TuningConfig, with_lr
from trivium.tasks.epochs import Epoch
from trivium.tasks.fingerprints import Source, fingerprints, require_unchanged
from trivium.tasks.fit import (
    Fitted,
    Fitting,
    Progressed,
    begin_fit,
    fit_steps,
    fitted,
    make_fitting,
    note,
    save_fit,
    settled_types,
    write_step,
)
from trivium.tasks.folder import MODEL, save_tuned
from trivium.tasks.metrics import Temperature
from trivium.tasks.metrics.likely import told
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Scores
from trivium.tasks.start import Start
from trivium.train.log import Log
from trivium.train.resume import newest_whole, require_same
from trivium.train.signals import stop_signals
from trivium.train.track import Tracker, followed

C = TypeVar("C", bound=TuningConfig)

CONFIG, LOG, RESULTS, PROBLEMS = "config.toml", "log.jsonl", "results.json", "problems.txt"
# Settings that are written when a run begins: the fingerprints say whether they are the same.
_GIVEN = ("start_from", "train", "valid", "test", "fingerprints", "steps", "history", "device")


class Material(NamedTuple):
    """The examples of a task."""

    task: Task
    train: Sequence[Example]
    valid: Sequence[Example]
    test: Sequence[Example] | None
    problems: tuple[Problem, ...] = ()  # of the files they are from


def finetune(
    start: Start,
    config: FinetuneConfig,
    *,
    train: Source,
    valid: Source,
    test: Source | None = None,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    trackers: Sequence[Tracker] = (),
) -> dict[str, Any]:
    """Fine-tune a model into the run folder `out` and return its results.

    Args:
        start: the weights to begin with.
        config: task and settings; the resolved ones are written to `out/config.toml` before step 0.
        train, valid, test: labelled files, or examples. The best epoch is chosen on `valid`; `test` is scored once, in
            float32, by the model that is kept. The baselines are scored on `test`, or on `valid` without it.
        out: the run folder; must not exist unless `resume`. It is not made before what is asked for has been checked.
        progress: shown what is going on.
        resume: go on from the newest whole checkpoint; from the beginning when there is none yet.
        trackers: also get each line of the log, see `train.trackers`; they change nothing in the run.

    Raises:
        ConfigError, DataError, CheckpointError, DivergedError: see `core.errors`.
        Interrupted: SIGTERM or SIGINT came; everything is saved.
    """
    progress, saved = progress or Silent(), out / CONFIG
    build_task(config.task, settings=config.settings)
    config = told_lr(config, start, progress)
    before = _begun(out) if resume and saved.is_file() else None
    if before is None:
        refuse_existing(out)  # to resume as well: what has no configuration is no run of ours
    else:
        require_same(config, before, free=_GIVEN)
    found = fingerprints(start, train, valid, test)
    names = {"start_from": start.name, "train": _name(train), "valid": _name(valid), "test": _name(test)}
    if before is None:
        given = names | {"fingerprints": found, "history": start.history}
        config = settled(config, start).model_copy(update=given)
    else:
        require_unchanged(found, before.fingerprints or Fingerprints(), names)
        config = on_device(before, config)
    material = read_material(config, train, valid, test, progress, out)
    tell_balance(material, progress)
    fitting, held_out = _made(config, start, material, progress)
    compared = score_baselines(material, progress)
    if before is None:
        config = begin_folder(out, config, fitting, material.problems)
    tracked = followed(trackers, out, config.model_dump(mode="json", exclude_none=True), progress)
    with alone(saved), stop_signals() as stopped_by, tracked as followers:
        log = Log(out / LOG, followers)
        done = train_in(out, fitting, log=log, progress=progress, stopped_by=stopped_by)
        best = fitted(fitting, material.task, held_out, done)
        results = _finish(config, material, best, compared, out, progress)
    for line in _said(config, results, best):
        progress.line(line)
    return results


def told_lr(config: C, start: Start, progress: Progress) -> C:
    """Return the settings with a learning rate, see `with_lr`; say which where it was left out."""
    found = with_lr(config, start.config)
    if found is not config:
        lr, width = found.optimiser.lr, start.config.hidden_size
        progress.line(f"learning rate {lr:g}: usual for {width} hidden units; another by optimiser.lr")
    return found


def begin_folder(out: Path, config: C, fitting: Fitting, problems: Sequence[Problem]) -> C:
    """Make a run's folder with its settings, which are returned, nothing left open, and the problems of its files."""
    every = config.checkpoint_steps or checkpoint_every(fitting)
    config = config.model_copy(update={"checkpoint_steps": every, "steps": fitting.steps})
    with new_folder(out) as run:  # never seen without its configuration, without which it could not be resumed
        write_text(run / CONFIG, write_toml(config))
        if problems:
            write_text(run / PROBLEMS, "".join(f"{each}\n" for each in problems))
    return config


def on_device(before: C, asked: C) -> C:
    """Return a run as it began, to go on where it is asked to compute; where nothing is asked, as before."""
    return before if asked.device == "auto" else before.model_copy(update={"device": asked.device})


def settled(config: FinetuneConfig, start: Start) -> FinetuneConfig:
    """Return the settings with rows' length, head, a task's own and the types to compute in decided."""
    changed: dict[str, Any] = {"row_length": config.row_length or start.row_length}
    if head_kind(config.task) != "language":
        changed["readout"] = config.readout or usual_head(config.task, start.config)
    elif config.settings.get("prefix") is None:
        prefix = start.prefix and isinstance(start.config.family, Decoder)
        changed["settings"] = config.settings | {"prefix": prefix}
    return settled_types(config).model_copy(update=changed)


def _begun(out: Path) -> FinetuneConfig:
    """Return a run as it began; raise ConfigError when it is none of fine-tuning."""
    tree = read_toml(out / CONFIG)
    if "objective" in tree:
        raise ConfigError(f"--out {out}: a pretraining run; expected one that `trivium finetune` began.")
    if "tasks" in tree:
        raise ConfigError(f"--out {out}: a run of several tasks; go on with it by --tasks.")
    return parse(FinetuneConfig, tree, str(out / CONFIG))


def _made(config: FinetuneConfig, start: Start, material: Material, progress: Progress) -> tuple[Fitting, Encoded]:
    """Return what the fit is made of, and the validation examples; raise a UserError for what cannot be trained."""
    start = start.for_rows(config.row_length or start.row_length)
    train, valid = encoded(material, start.reading(material.task.readout), progress)
    return make_fitting(start, material.task, train, valid, config), valid


def encoded(material: Material, reading: Reading, progress: Progress, name: str = "") -> tuple[Encoded, Encoded]:
    """Return the training and the validation examples as one reading sees them; say what of them cannot be answered.

    Args:
        material: the examples.
        reading: how the model reads them.
        progress: told.
        name: said before; of the task, where there are several.
    """
    task = material.task
    train, valid = (task.encode(examples, reading) for examples in (material.train, material.valid))
    for what, pieces in (("training", train), ("validation", valid)):
        for said in pieces.said:
            progress.warn(f"{name}{what}: {said}")
    return train, valid


def train_in(
    out: Path, fitting: Fitting, *, log: Log, progress: Progress, stopped_by: Callable[[], int | None]
) -> Progressed:
    """Run the steps in a run's folder and, in plain sight, log, save, stop."""
    checkpoint_steps = fitting.config.checkpoint_steps or checkpoint_every(fitting)
    trained, begun = begin_fit(fitting, newest_whole(out, progress))
    if begun.step:
        progress.line(f"resumed at step {begun.step} of {fitting.steps}")
    log.cut_after(begun.step)
    progress.start(f"fine-tune {fitting.name}", fitting.steps, "steps")
    done = begun
    for report, now in fit_steps(fitting, trained, begun):
        done = now
        write_step(log, report, done)
        signal_number = stopped_by()
        in_epoch = done.step - max((end for end in fitting.ends if end < done.step), default=0)
        if done.scored is not None or in_epoch % checkpoint_steps == 0 or signal_number is not None:
            save_fit(out, trained, done)
        progress.advance(report.step, note(report, done))
        if signal_number is not None and report.step < fitting.steps:
            raise Interrupted(signal_number, report.step)
    return done


def checkpoint_every(fitting: Fitting) -> int:
    """Return after how many steps of an epoch a checkpoint is written, where nothing is said."""
    return -(-fitting.steps // 10)


def _finish(
    config: FinetuneConfig,
    material: Material,
    fitted: Fitted,
    compared: dict[str, Row],
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write `model/` and `results.json`."""
    data = config.fingerprints.train if config.fingerprints is not None else None
    steps = fitted.epochs[-1].step
    made = Made(verb="finetune", task=config.task, data=data, steps=steps, tokens=fitted.tokens)
    with new_folder(out / MODEL) as folder:
        save_tuned(folder, fitted.tuned)
        history = write_history(folder, config.history, made)
    results = results_of(config, fitted, material, progress) | {
        "baselines": compared,
        "seconds": round(fitted.seconds, 3),
        "history": history,
    }
    write_json(out / RESULTS, results)
    return results


def tell(problems: Sequence[Problem], progress: Progress, file: Path | None = None) -> None:
    """Say what of a file was mended or left out; `file`: where all of it will be read."""
    if problems:
        progress.warn(summed_up(problems, file))


def read_material(
    config: FinetuneConfig, train: Source, valid: Source, test: Source | None, progress: Progress, out: Path
) -> Material:
    """Read the examples and check that nothing is asked for that cannot be learned.

    Arguments are those of `finetune`. What of the files was mended or left out is told, and written when `out` is made.
    """
    reader = build_task(config.task, settings=config.settings)
    found: list[Problem] = []

    def read(source: Source, min_classes: int) -> Sequence[Example]:
        if not isinstance(source, Path):
            return source
        examples, problems = reader.read(source, min_classes=min_classes)
        tell(problems, progress, out / PROBLEMS)
        found.extend(problems)
        return examples

    examples = read(train, 2)
    task = learned_task(config.task, examples, config.readout, config.settings)
    others: list[Sequence[Example]] = []
    for what, source in (("valid", valid), ("test", test)):
        if source is not None:
            others.append(read(source, 1))
            task.check(others[-1], _name(source) or what)
    return Material(task, examples, others[0], others[1] if len(others) > 1 else None, tuple(found))


def tell_balance(material: Material, progress: Progress, name: str = "") -> None:
    """Say how many training examples there are, and of which classes; `name`: said before."""
    counts = class_counts(material.task, material.train)
    progress.line(f"{name}training: {balance_text(len(material.train), counts)}")


def score_baselines(material: Material, progress: Progress) -> dict[str, Row]:
    """Return the scores of simple baselines on the test examples, on the validation examples where there are none."""
    which, scored = ("validation", material.valid) if material.test is None else ("test", material.test)
    progress.line(f"simple baselines, on {len(scored):,} {which} examples:")
    rows = baselines(material.task, material.train, material.valid, scored)
    for name, row in rows.items():
        known = [metric for metric, value in row.items() if isinstance(value, float)]
        shown = [each for each in (material.task.chosen_by, *known) if each in known][:1]
        said = [f"{metric} {row[metric]:.4f}" for metric in shown]
        said += [value for value in row.values() if isinstance(value, str)]
        progress.line(f"baseline, {name}: {', '.join(said)}")
    return rows


def results_of(config: FinetuneConfig, fitted: Fitted, material: Material, progress: Progress) -> dict[str, Any]:
    """Return what is known of a trained task, its test examples answered; without any, those of validation."""
    task, valid, scores, examples = fitted.tuned.task, fitted.valid.metrics, fitted.valid, material.valid
    results: dict[str, Any] = {"task": config.task, "chosen_by": task.chosen_by, "valid": valid}
    if material.test is not None:
        examples = material.test
        asked = task.encode(examples, fitted.tuned.reading)
        for said in asked.said:
            progress.warn(f"test: {said}")
        read = counter(progress, "score test", len(asked.pieces), "pieces of text")
        scores = task.score(fitted.tuned.model, asked._replace(told=read))
        results["test"] = scores.metrics
    splits = {"train": material.train, "valid": material.valid, "test": material.test}
    mistakes = [{"text": task.shown(examples[each.example], each.answer), **each.row()} for each in scores.mistakes]
    return results | {
        "by_label": dict(scores.by_label),
        "confusion": scores.confusion,
        "mistakes": mistakes,
        "balance": {split: class_counts(task, found) for split, found in splits.items() if found is not None},
        **_sureness(fitted, scores),
        "coverage": min(metrics["coverage"] for metrics in (valid, results.get("test", valid))),
        "seed": config.seed,
        "parameters": num_parameters(fitted.tuned.model),
        "best_step": fitted.best.step,
        "tokens": fitted.tokens,
        "share_of_real_tokens": fitted.share_of_real_tokens,
        "from": config.start_from,
    }


def _sureness(fitted: Fitted, scores: Scores) -> dict[str, Any]:
    """Return how sure the main score is, how sure the model's answers are and how right, and its temperature."""
    task, temperature = fitted.tuned.task, fitted.temperature
    found: dict[str, Any] = {"intervals": told(task.chosen_by, scores.likely)}
    if scores.reliability is not None:
        found["reliability"] = scores.reliability
    if temperature is not None:
        found["temperature"] = temperature._asdict()
    return found


def kept_epoch(epochs: Sequence[Epoch], best: Epoch, chosen_by: str, config: TuningConfig) -> str:
    """Return which epoch's weights are kept, and that there were no more because none was better, for eyes."""
    number, done = epochs.index(best) + 1, len(epochs)
    said = f"kept: epoch {number} of {done}, {chosen_by.replace('_', ' ')} {best.metrics[chosen_by]:.4f} on validation"
    if done < config.epochs and config.patience is not None and done - number >= config.patience:
        return f"{said}; {config.patience} more were no better, so that {config.epochs - done} were not trained"
    return said


def calibrated(temperature: Temperature) -> str:
    """Return what a temperature has done, for eyes."""
    before, after = temperature.before, temperature.after
    return (
        f"temperature {temperature.value:.3g}, fitted to the validation examples: "
        f"ECE {before['ece']:.3f} -> {after['ece']:.3f}, nats {before['nll']:.3f} -> {after['nll']:.3f}"
        + (" (few examples, all but sure: it is careful)" if after["nll"] > before["nll"] else "")
    )


def _said(config: FinetuneConfig, results: dict[str, Any], fitted: Fitted) -> Iterator[str]:
    """Yield what is told at the end."""
    yield kept_epoch(fitted.epochs, fitted.best, fitted.tuned.task.chosen_by, config)
    if fitted.temperature is not None:
        yield calibrated(fitted.temperature)
    what = "of the examples are whole" if config.task == "write" else "of what was asked is answered"
    yield (
        f"{results['coverage']:.0%} {what}; "
        f"{fitted.share_of_real_tokens:.0%} of the places read in training were real tokens"
    )


def _name(source: Source | None) -> str | None:
    return str(source) if isinstance(source, Path) else None
