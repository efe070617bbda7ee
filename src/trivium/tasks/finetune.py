"""Fine-tuning: `fit` trains a task in memory, `finetune` makes a run folder of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from torch import Tensor

from trivium.core.config import write_toml
from trivium.core.errors import ConfigError, DataError
from trivium.core.files import new_folder, refuse_existing, write_json, write_text
from trivium.core.progress import Progress, Silent
from trivium.core.random import Key
from trivium.data.loader import ahead
from trivium.hub.families import usual_readout
from trivium.model.config import DEFAULT_READOUT, ModelConfig
from trivium.model.count import num_parameters
from trivium.model.folder import load_tensors, unique_tensors
from trivium.objectives.base import Learned
from trivium.objectives.regularisers.build import regularised
from trivium.tasks.answers import Scores, score
from trivium.tasks.base import Example, Task, TaskModel
from trivium.tasks.baselines import Row, baselines
from trivium.tasks.build import build_model, build_task, check_labels, head_kind, learned_task
from trivium.tasks.config import FinetuneConfig
from trivium.tasks.folder import MODEL, TunedModel, save_tuned
from trivium.tasks.pieces import Encoded, TrainingRows
from trivium.tasks.reader import Reader, begin_reader
from trivium.tasks.start import Start
from trivium.train.averaging import Kept, kept_weights
from trivium.train.log import Log
from trivium.train.loop import StepReport, train_steps
from trivium.train.measure import settled_optimiser, settled_precision
from trivium.train.mixout import trained_weights
from trivium.train.optimisers import build_optimiser
from trivium.train.paces import first_steps, paces
from trivium.train.precision import TrainedWeights
from trivium.train.schedules import decay_share, lr_share

CONFIG, LOG, RESULTS = "config.toml", "log.jsonl", "results.json"
Source = Path | Sequence[Example]


class Epoch(NamedTuple):
    """How good the model was when an epoch ended."""

    step: int
    metrics: dict[str, float]  # of the validation examples, see `answers.Scores`


class Fitted(NamedTuple):
    """A trained task."""

    tuned: TunedModel  # with the weights of the best epoch, in float32
    epochs: list[Epoch]
    best: Epoch  # of the highest accuracy; of several the one of the lowest loss
    share_of_real_tokens: float
    tokens: int  # read in training
    seconds: float


class _Material(NamedTuple):
    task: Task
    train: Sequence[Example]
    valid: Sequence[Example]
    test: Sequence[Example] | None


def fit(
    start: Start,
    task: Task,
    train: Encoded,
    valid: Encoded,
    config: FinetuneConfig,
    *,
    progress: Progress | None = None,
    log: Log | None = None,
) -> Fitted:
    """Train a task in memory and return it as it was after its best epoch; equal arguments give equal bytes.

    Args:
        start: the weights to begin with; they are copied, never changed.
        task: what is learned.
        train: examples to learn from (see `Task.encode`).
        valid: examples that say which epoch is best, encoded by the same reading.
        config: the settings; what it says of files and rows' length is not looked at.
        progress: shown what is going on.
        log: where steps and epochs are written.

    Raises:
        ConfigError: regularisers or what the stack begins with do not fit the model (see `regularised` and
            `begin_reader`), or mixout has no weights to pull towards.
        DataError: there is no label to learn from.
        DivergedError: the loss is no longer finite.
    """
    began, progress = perf_counter(), progress or Silent()
    key = Key(config.seed).child("finetune")
    reader = begin_reader(start, config, task.readout, key.child("reader"))
    model = build_model(task, reader.config, reader.part, dropout=config.dropout, key=key)
    rows = TrainingRows(
        train, rows=config.rows, accumulation=config.accumulation, epochs=config.epochs, key=key.child("data")
    )
    steps = min(rows.steps, config.max_steps or rows.steps)
    config = settled(config)
    size = reader.config.hidden_size
    learned = regularised(config.regularisers, task, name=task.name, network=model, hidden_size=size)
    weights, kept = _trained(model, _begun_with(start, reader, config), steps, config, key)
    progress.start(f"fine-tune {task.name}", steps, "steps")
    epochs, ends, tokens = [], {*rows.epoch_ends, steps}, 0
    best: tuple[Epoch, dict[str, Tensor]] | None = None
    for report in _updates(learned, weights, rows, steps, config, reader.config, key):
        kept.update(report.step)
        tokens += report.tokens
        if log is not None:
            log.step(report, tokens=tokens, seconds=perf_counter() - began)
        if report.step in ends:
            epoch = Epoch(report.step, score(kept.computing(), task.labels, valid).metrics)
            epochs.append(epoch)
            _log_epoch(log, epoch, tokens, perf_counter() - began)
            if best is None or _rank(epoch) > _rank(best[0]):
                best = epoch, {name: tensor.clone() for name, tensor in unique_tensors(kept.network).items()}
        progress.advance(report.step, _note(report, best[0] if best else None))
    if best is None:
        raise RuntimeError("training ended without an epoch")
    load_tensors(model, best[1], "the best epoch")
    tuned = TunedModel(model.eval(), reader.config, task, train.reading)
    return Fitted(tuned, epochs, best[0], rows.share_of_real_tokens, tokens, perf_counter() - began)


def _trained(
    model: TaskModel, begun: dict[str, Tensor], steps: int, config: FinetuneConfig, key: Key
) -> tuple[TrainedWeights, Kept]:
    """Return the weights that are trained, and those that are scored and kept."""
    precision = settled(config).precision
    weights = trained_weights(model, precision, mixout=config.mixout, start=begun, key=key, step=0)
    return weights, kept_weights(weights, config.averaging, precision=precision, steps=steps, saved={}, source="")


def _begun_with(start: Start, reader: Reader, config: FinetuneConfig) -> dict[str, Tensor]:
    """Return the pretrained weights by their names in the task's model, for mixout to pull towards."""
    if not config.mixout:
        return {}
    if start.network is None:
        raise ConfigError(f"`mixout` pulls towards pretrained weights, and {start.name} has none; leave it out.")
    return {f"reader.{name}": tensor for name, tensor in reader.pretrained().items()}


def _updates(
    learned: Learned,
    weights: TrainedWeights,
    rows: TrainingRows,
    steps: int,
    config: FinetuneConfig,
    model: ModelConfig,
    key: Key,
) -> Iterator[StepReport]:
    """Return the loop over the epochs' steps: the one that pretrains."""
    each = paces(
        weights.master,
        model,
        config.optimiser,
        layer_decay=config.layer_decay,
        first_steps=first_steps(config.unfreezing, rows.epoch_ends),
    )
    return train_steps(
        weights,
        learned,
        build_optimiser(config.optimiser, weights.master, each),
        ahead(rows.batch, 0, steps),
        start=0,
        lr=lambda step: config.optimiser.lr * lr_share(config.schedule, step, steps),
        accumulation=config.accumulation,
        max_gradient_norm=config.max_gradient_norm,
        key=key,
        decay=lambda step: decay_share(config.optimiser.decay_schedule, config.schedule, step, steps),
    )


def finetune(
    start: Start,
    config: FinetuneConfig,
    *,
    train: Source,
    valid: Source,
    test: Source | None = None,
    out: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fine-tune a model into the run folder `out` and return its results.

    Args:
        start: the weights to begin with.
        config: task and settings; the resolved ones are written to `out/config.toml`.
        train, valid, test: labelled files, or examples. The best epoch is chosen on `valid`; `test` is scored once, in
            float32, by the model that is kept. The baselines are scored on `test`, or on `valid` without it.
        out: the run folder; must not exist. It is there whole at the end, or not at all.
        progress: shown what is going on.

    Raises:
        ConfigError, DataError, DivergedError: see `core.errors`.
    """
    began, progress = perf_counter(), progress or Silent()
    refuse_existing(out)
    build_task(config.task, ())
    config = settled(config, start)
    material = _read(config, train, valid, test)
    task = material.task
    config = config.model_copy(
        update={"start_from": start.name, "train": _name(train), "valid": _name(valid), "test": _name(test)}
    )
    start = start.for_rows(config.row_length or start.row_length)
    reading = start.reading(task.readout)
    compared = _baselines(material, progress)
    with new_folder(out) as run:
        write_text(run / CONFIG, write_toml(config))
        learned, held_out = (task.encode(examples, reading) for examples in (material.train, material.valid))
        fitted = fit(start, task, learned, held_out, config, progress=progress, log=Log(run / LOG))
        (run / MODEL).mkdir()
        save_tuned(run / MODEL, fitted.tuned)
        scores = None
        if material.test is not None:
            scores = score(fitted.tuned.model, task.labels, task.encode(material.test, reading))
        results = _results(config, fitted, scores) | {"baselines": compared}
        results["seconds"] = round(perf_counter() - began, 3)
        write_json(run / RESULTS, results)
    progress.line(
        f"{results['coverage']:.0%} of what was asked is answered; "
        f"{fitted.share_of_real_tokens:.0%} of the places read in training were real tokens"
    )
    return results


def settled(config: FinetuneConfig, start: Start | None = None) -> FinetuneConfig:
    """Return the settings with the type to compute in decided, and rows' length and head where a start is given."""
    precision = settled_precision(config.precision)
    changed: dict[str, Any] = {"precision": precision, "optimiser": settled_optimiser(config.optimiser)}
    if start is not None:
        changed["row_length"] = config.row_length or start.row_length
        changed["readout"] = config.readout or usual_readout(start.config, head_kind(config.task)) or DEFAULT_READOUT
    return config.model_copy(update=changed)


def _read(config: FinetuneConfig, train: Source, valid: Source, test: Source | None) -> _Material:
    """Read the examples and check that nothing is asked for that cannot be learned."""
    reader = build_task(config.task, ())

    def read(source: Source, min_classes: int) -> Sequence[Example]:
        return reader.read(source, min_classes=min_classes) if isinstance(source, Path) else source

    examples = read(train, 2)
    task = learned_task(config.task, examples, config.readout)
    if len(task.labels) < 2:
        raise DataError(f"the training examples have {len(task.labels)} classes; expected at least 2.")
    others: list[Sequence[Example]] = []
    for what, source in (("valid", valid), ("test", test)):
        if source is not None:
            others.append(read(source, 1))
            check_labels(task, others[-1], _name(source) or what)
    return _Material(task, examples, others[0], others[1] if len(others) > 1 else None)


def _baselines(material: _Material, progress: Progress) -> dict[str, Row]:
    scored = material.valid if material.test is None else material.test
    rows = baselines(material.task, material.train, material.valid, scored)
    for name, row in rows.items():
        progress.line(f"{name}: " + ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else v for k, v in row.items()))
    return rows


def _results(config: FinetuneConfig, fitted: Fitted, test: Scores | None) -> dict[str, Any]:
    valid = fitted.best.metrics
    results: dict[str, Any] = {"task": config.task, "valid": valid}
    if test is not None:
        results |= {"test": test.metrics, "by_label": test.confusion.by_label()}
    return results | {
        "coverage": min(metrics["coverage"] for metrics in (valid, results.get("test", valid))),
        "seed": config.seed,
        "parameters": num_parameters(fitted.tuned.model),
        "best_step": fitted.best.step,
        "tokens": fitted.tokens,
        "share_of_real_tokens": fitted.share_of_real_tokens,
        "from": config.start_from,
    }


def _log_epoch(log: Log | None, epoch: Epoch, tokens: int, seconds: float) -> None:
    if log is not None:
        log.write(step=epoch.step, split="validation", tokens=tokens, seconds=seconds, **epoch.metrics)


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.metrics["accuracy"], -epoch.metrics["loss"]


def _note(report: StepReport, best: Epoch | None) -> str:
    rate = report.tokens / max(sum(report.seconds_by_phase.values()), 1e-9)
    known = "" if best is None else f"  best accuracy {best.metrics['accuracy']:.3f}"
    return f"loss {report.loss:.3f}{known}  {rate:,.0f} tokens/s"


def _name(source: Source | None) -> str | None:
    return str(source) if isinstance(source, Path) else None
