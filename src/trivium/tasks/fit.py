"""A task trained in memory: `fit` does it all, from parts that a run folder's training is made of too."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from trivium.core.batch import AnyBatch
from trivium.core.errors import ConfigError
from trivium.core.progress import Progress, Silent
from trivium.core.random import Key
from trivium.data.loader import ahead
from trivium.model.config import ModelConfig
from trivium.model.folder import load_tensors, unique_tensors
from trivium.model.heads import LanguageModel, SequenceToSequence
from trivium.objectives.base import Learned
from trivium.objectives.regularisers.build import regularised
from trivium.tasks.base import Settles, Task, TaskModel
from trivium.tasks.build import at_epochs, build_model
from trivium.tasks.config import FinetuneConfig, TuningConfig, with_lr
from trivium.tasks.embed.pair_rows import PairRows
from trivium.tasks.embed.task import Embed
from trivium.tasks.epoch_steps import EpochSteps
from trivium.tasks.epochs import Epoch, as_epochs, as_tensors, goodness
from trivium.tasks.folder import TunedModel
from trivium.tasks.metrics import Temperature
from trivium.tasks.pieces import Encoded, TrainingRows
from trivium.tasks.reader import Reader, begin_reader
from trivium.tasks.scores import Scores
from trivium.tasks.start import Start
from trivium.tasks.temperature import tempered
from trivium.train.averaging import Kept, kept_weights
from trivium.train.begin import AVERAGE
from trivium.train.checkpoint import load_checkpoint, save_checkpoint, tensors_beside
from trivium.train.device import open_device, settled_device
from trivium.train.log import Log
from trivium.train.loop import StepReport, require_finite, skips_in_a_row, train_steps
from trivium.train.measure import settled_optimiser, settled_precision
from trivium.train.mixout import trained_weights
from trivium.train.optimisers import Optimiser, build_optimiser
from trivium.train.paces import first_steps, paces
from trivium.train.precision import TrainedWeights
from trivium.train.schedules import decay_share, lr_share
from trivium.train.state import TrainState

C = TypeVar("C", bound=TuningConfig)
BEST, EPOCHS = "best", "epochs"  # files of a checkpoint, see `save_checkpoint`


class Fitted(NamedTuple):
    """A trained task."""

    tuned: TunedModel  # with the weights of the best epoch, in float32
    epochs: list[Epoch]
    best: Epoch  # see `Progressed.best_epoch`
    valid: Scores  # of the validation examples, by the tuned model; of `write`, of as many texts as when an epoch ends
    temperature: Temperature | None  # that the tuned model's probabilities have, see `tempered`
    share_of_real_tokens: float
    tokens: int  # read in training
    seconds: float


class StepRows(Protocol):
    """The batches of a fit's steps."""

    @property
    def epochs(self) -> EpochSteps:
        """The steps of the epochs."""
        ...

    @property
    def share_of_real_tokens(self) -> float:
        """Tokens there are over places that are computed."""
        ...

    def batch(self, step: int) -> AnyBatch:
        """Return the whole batch of one step, counted from 0."""
        ...


class Fitting(NamedTuple):
    """What a fit is made of; nothing of it changes but the model."""

    config: TuningConfig  # nothing left open that a step depends on
    name: str  # what is learned
    chosen_by: str  # the metric of the best epoch
    score: Callable[[nn.Module], dict[str, float]]  # where an epoch ends, on the validation examples
    model: nn.Module  # as it begins
    architecture: ModelConfig  # of the network that what reads is part of
    learned: Learned
    begun: dict[str, Tensor]  # the pretrained weights by their names in the model, where mixout needs them
    rows: StepRows
    key: Key

    @property
    def steps(self) -> int:
        """Number of steps."""
        return min(self.rows.epochs.total, self.config.max_steps or self.rows.epochs.total)

    @property
    def ends(self) -> list[int]:
        """How many steps are done when the model is scored: at the end of each epoch, and of the whole."""
        return sorted({*(end for end in self.rows.epochs.ends if end < self.steps), self.steps})


class Trained(NamedTuple):
    """What the steps of a fit change."""

    weights: TrainedWeights
    kept: Kept
    optimiser: Optimiser


class Progressed(NamedTuple):
    """How far a fit is."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    epochs: tuple[Epoch, ...] = ()
    best: Mapping[str, Tensor] = MappingProxyType({})  # the weights of the best epoch
    skipped: int = 0  # updates that were not made, because loss or gradient was not finite
    skipped_in_a_row: int = 0
    chosen_by: str = "accuracy"  # the task's metric

    @property
    def best_epoch(self) -> Epoch | None:
        """The epoch of the highest score, of several the one of the lowest loss, None before the first ends."""
        return max(self.epochs, key=lambda epoch: goodness(epoch.metrics, self.chosen_by), default=None)

    def has_settled(self, patience: int | None) -> bool:
        """Return whether this many epochs have ended since the best one; None = that never ends a run."""
        best = self.best_epoch
        return patience is not None and best is not None and len(self.epochs) - self.epochs.index(best) > patience

    @property
    def scored(self) -> Epoch | None:
        """The epoch that has ended with the last step."""
        return self.epochs[-1] if self.epochs and self.epochs[-1].step == self.step else None


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
        ConfigError, DataError: see `make_fitting`.
        DivergedError: too many updates in a row were not finite.
    """
    progress = progress or Silent()
    fitting = make_fitting(start, task, train, valid, config)
    trained, done = begin_fit(fitting, None)
    progress.start(f"fine-tune {task.name}", fitting.steps, "steps")
    for report, now in fit_steps(fitting, trained, done):
        done = now
        if log is not None:
            write_step(log, report, done)
        progress.advance(report.step, note(report, done))
    return fitted(fitting, task, valid, done)


def make_fitting(start: Start, task: Task, train: Encoded, valid: Encoded, config: FinetuneConfig) -> Fitting:
    """Return what a fit is made of; the arguments are those of `fit`.

    Raises:
        ConfigError: regularisers or what the stack begins with do not fit the model (see `regularised` and
            `begin_reader`), or mixout has no weights to pull towards.
        DataError: there is no label to learn from.
    """
    key = Key(config.seed).child("finetune")
    reader = begin_reader(start, config, task.readout, key.child("reader"))
    model = build_model(task, reader.config, reader.part, dropout=config.dropout, key=key)
    size = reader.config.hidden_size
    learned = regularised(config.regularisers, task, name=task.name, network=model, hidden_size=size)
    rows = _rows(task, train, config, key.child("data"))
    begun = pretrained_weights(start, reader, config, root="" if task.readout is None else "reader.")

    def score(network: nn.Module) -> dict[str, float]:
        return at_epochs(task).score(network, valid).metrics

    settled = settled_types(with_lr(config, start.config))
    return Fitting(settled, task.name, task.chosen_by, score, model, reader.config, learned, begun, rows, key)


def _rows(task: Task, train: Encoded, config: FinetuneConfig, key: Key) -> TrainingRows | PairRows:
    """Return the batches of the steps; those of a task that compares texts hold whole groups of rows."""
    if isinstance(task, Embed):
        return PairRows(
            train,
            group_rows=task.settings.group_rows,
            rows=config.rows,
            accumulation=config.accumulation,
            epochs=config.epochs,
            key=key,
        )
    return TrainingRows(train, rows=config.rows, accumulation=config.accumulation, epochs=config.epochs, key=key)


def settled_types(config: C) -> C:
    """Return the settings with the device to compute on, and the types to compute in, decided."""
    device = settled_device(config.device)
    changed: dict[str, Any] = {"device": device, "precision": settled_precision(config.precision, device)}
    return config.model_copy(update=changed | {"optimiser": settled_optimiser(config.optimiser, device)})


def begin_fit(fitting: Fitting, checkpoint: Path | None) -> tuple[Trained, Progressed]:
    """Return what the steps change, and how far it is: as a checkpoint has it, or as it begins.

    Raises:
        CheckpointError: the checkpoint is of another model.
    """
    config, model = fitting.config, fitting.model.to(open_device(fitting.config.device))
    each = paces(
        model,
        fitting.architecture,
        config.optimiser,
        layer_decay=config.layer_decay,
        first_steps=first_steps(config.unfreezing, fitting.rows.epochs.ends),
    )
    optimiser = build_optimiser(config.optimiser, model, each)
    state = TrainState() if checkpoint is None else load_checkpoint(checkpoint, model, optimiser)
    average, epochs, best = (
        {} if checkpoint is None else tensors_beside(checkpoint, name) for name in (AVERAGE, EPOCHS, BEST)
    )
    weights = trained_weights(
        model, config.precision, mixout=config.mixout, start=fitting.begun, key=fitting.key, step=state.step
    )
    kept = kept_weights(
        weights,
        config.averaging,
        precision=config.precision,
        steps=fitting.steps,
        saved=average,
        source=str(checkpoint),
    )
    if epochs and not best:
        best = _copy(kept)  # a checkpoint of the best epoch holds it once
    skips = (state.skipped, state.skipped_in_a_row)
    done = Progressed(state.step, state.tokens, state.seconds, as_epochs(epochs), best, *skips)
    return Trained(weights, kept, optimiser), done._replace(chosen_by=fitting.chosen_by)


def fit_steps(fitting: Fitting, trained: Trained, done: Progressed) -> Iterator[tuple[StepReport, Progressed]]:
    """Yield after each step what it was and how far the fit is; where an epoch ends, it is scored before.

    The steps end early where the settings' `patience` does.

    Args:
        fitting, trained, done: from `begin_fit`; `trained` changes from step to step.

    Raises:
        DivergedError: too many updates in a row were not finite.
    """
    began, before, ends = perf_counter(), done.seconds, set(fitting.ends)
    if done.has_settled(fitting.config.patience):
        return
    for report in _updates(fitting, trained, done.step):
        trained.kept.update(report.step)
        done = done._replace(
            step=report.step,
            tokens=done.tokens + report.tokens,
            skipped=done.skipped + report.skipped,
            skipped_in_a_row=skips_in_a_row(report, done.skipped_in_a_row, most=fitting.config.max_skipped),
        )
        if report.step in ends:
            metrics = fitting.score(trained.kept.computing())
            require_finite(metrics["loss"], report.step)
            epoch = Epoch(report.step, metrics)
            done = done._replace(epochs=(*done.epochs, epoch))
            if done.best_epoch is epoch:
                done = done._replace(best=_copy(trained.kept))
        done = done._replace(seconds=before + perf_counter() - began)
        yield report, done
        if done.scored is not None and done.has_settled(fitting.config.patience):
            return


def save_fit(run: Path, trained: Trained, done: Progressed) -> None:
    """Write a checkpoint from which `begin_fit` goes on."""
    best = done.best_epoch
    skips = {"skipped": done.skipped, "skipped_in_a_row": done.skipped_in_a_row}
    state = TrainState(done.step, done.tokens, done.seconds, **skips)
    if best is not None:
        state = state._replace(best_loss=best.metrics["loss"], best_step=best.step)
    beside = {
        AVERAGE: trained.kept.tensors(),
        EPOCHS: as_tensors(done.epochs),
        # Not read from the best epoch's own checkpoint: each is whole by itself, whatever becomes of others.
        BEST: {} if best is None or best.step == done.step else done.best,
    }
    save_checkpoint(run, trained.weights.master, trained.optimiser, state, beside=beside)


def as_at_best(fitting: Fitting, done: Progressed) -> Epoch:
    """Give the model the weights of its best epoch, and return that."""
    if done.best_epoch is None:
        raise RuntimeError("training ended without an epoch")
    load_tensors(fitting.model, dict(done.best), "the best epoch")
    fitting.model.eval()
    return done.best_epoch


def fitted(fitting: Fitting, task: Task, valid: Encoded, done: Progressed) -> Fitted:
    """Return a task that was learned by itself as it was after its best epoch; see `settled_on`."""
    best, model = as_at_best(fitting, done), fitting.model
    if not isinstance(model, TaskModel | LanguageModel | SequenceToSequence):
        raise TypeError(f"expected the network of one task, found {type(model).__name__}")
    return settled_on(valid, TunedModel(model, fitting.architecture, task, valid.reading), best, fitting, done)


def settled_on(valid: Encoded, tuned: TunedModel, best: Epoch, fitting: Fitting, done: Progressed) -> Fitted:
    """Return a trained task with what is chosen on the validation examples, when all else is learned, chosen.

    Args:
        valid: the validation examples.
        tuned: the task's model with the weights of the best epoch; a temperature is put into those of its head.
        best: the best epoch, by the metrics of this task.
        fitting, done: what the task was learned in.
    """
    task = tuned.task.settled(best.metrics) if isinstance(tuned.task, Settles) else tuned.task
    temperature = tempered(tuned.model, task, valid)
    # Once more, in float32 and with the temperature: the epoch's own metrics are of the types of training.
    scores = at_epochs(task).score(tuned.model, valid)
    share = fitting.rows.share_of_real_tokens
    epochs = list(done.epochs)
    return Fitted(tuned._replace(task=task), epochs, best, scores, temperature, share, done.tokens, done.seconds)


def write_step(log: Log, report: StepReport, done: Progressed) -> None:
    """Write a line of the step, and one of the epoch that has ended with it."""
    log.step(report, tokens=done.tokens, seconds=done.seconds, skipped=done.skipped)
    if done.scored is not None:
        metrics = done.scored.metrics
        log.write(step=done.step, split="validation", tokens=done.tokens, seconds=done.seconds, **metrics)


def note(report: StepReport, done: Progressed) -> str:
    """Return what is said beside the progress."""
    rate = report.tokens / max(sum(report.seconds_by_phase.values()), 1e-9)
    name, best = done.chosen_by, done.best_epoch
    known = "" if best is None else f"  best {name.replace('_', ' ')} {best.metrics[name]:.3f}"
    return f"loss {report.loss:.3f}{known}  {rate:,.0f} tokens/s"


def _updates(fitting: Fitting, trained: Trained, start: int) -> Iterator[StepReport]:
    """Return the loop over the steps: the one that pretrains."""
    config, steps = fitting.config, fitting.steps
    return train_steps(
        trained.weights,
        fitting.learned,
        trained.optimiser,
        ahead(fitting.rows.batch, start, steps),
        start=start,
        lr=lambda step: config.optimiser.lr * lr_share(config.schedule, step, steps),
        accumulation=config.accumulation,
        max_gradient_norm=config.max_gradient_norm,
        key=fitting.key,
        decay=lambda step: decay_share(config.optimiser.decay_schedule, config.schedule, step, steps),
    )


def pretrained_weights(start: Start, reader: Reader, config: TuningConfig, *, root: str) -> dict[str, Tensor]:
    """Return the pretrained weights by their names in the task's model, below `root`, for mixout to pull towards.

    Raises:
        ConfigError: there are none.
    """
    if not config.mixout:
        return {}
    if start.network is None:
        raise ConfigError(f"`mixout` pulls towards pretrained weights, and {start.name} has none; leave it out.")
    return {f"{root}{name}": tensor for name, tensor in reader.pretrained().items()}


def _copy(kept: Kept) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in unique_tensors(kept.network).items()}
