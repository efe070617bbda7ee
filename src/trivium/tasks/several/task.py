"""Several tasks in one network, and every step learns from rows of all of them.

Each has a head of its own on one stack; or all of them write, told apart by what stands before their sources (T5).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from trivium.core.batch import AnyBatch, Batch, MixedBatch, Term
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.objectives.base import Learned, as_network
from trivium.objectives.regularisers.build import regularised
from trivium.tasks.base import Task, TaskModel, TaskNetwork
from trivium.tasks.build import at_epochs, build_model
from trivium.tasks.config import TuningConfig, with_lr
from trivium.tasks.fit import Fitting, pretrained_weights, settled_types
from trivium.tasks.pieces import Encoded
from trivium.tasks.reader import begin_reader
from trivium.tasks.several.rows import SeveralRows
from trivium.tasks.start import Start

MEAN = "mean"  # of the metrics that the tasks' best epochs are chosen by


class Part(NamedTuple):
    """One of the tasks."""

    name: str
    task: Task
    weight: float  # of its loss, beside the others'
    train: Encoded
    valid: Encoded


class SeveralModel(nn.Module):
    """A stack that reads, with a head for each of several tasks; or one network that writes for all of them.

    Args:
        models: of the tasks; they have one reader, or are one network.
    """

    def __init__(self, models: Sequence[TaskNetwork]) -> None:
        super().__init__()
        first = models[0]
        # First, so that its parameters are called as those of one task's are.
        self.reader = first.reader if isinstance(first, TaskModel) else first
        self.models = nn.ModuleList(models)

    def of(self, number: int) -> TaskNetwork:
        """Return the model of one task."""
        model = self.models[number]
        return model if isinstance(model, TaskModel) else as_network(model)


@dataclass(frozen=True)
class Several:
    """What several tasks learn together: the sum of their losses, each by its weight.

    Args:
        parts: the tasks.
        learned: what is asked of each in training.
    """

    parts: tuple[Part, ...]
    learned: tuple[Learned, ...]

    def counts(self, batch: AnyBatch) -> dict[str, float]:
        """Return the counts of all tasks that have rows."""
        counts: dict[str, float] = {}
        for number, made, _ in _made(batch):
            own = self.learned[number].counts(made)
            counts |= {self._term(number, name): count for name, count in own.items()}
        return counts

    def loss(self, network: nn.Module, batch: AnyBatch, key: Key) -> tuple[Term, ...]:
        """Return the terms of all tasks that have rows; each draws what it would draw by itself."""
        terms: list[Term] = []
        for number, made, weight in _made(batch):
            for term in self.learned[number].loss(several_model(network).of(number), made, key):
                named = term._replace(name=self._term(number, term.name), weight=term.weight * weight)
                terms.append(named)
        return tuple(terms)

    def score(self, network: nn.Module) -> dict[str, float]:
        """Return how good all tasks' answers to their validation examples are, each metric behind its task's name.

        `mean` is that of what the tasks' best epochs are chosen by, `loss` the weighted mean of their losses.
        """
        model, metrics = several_model(network), {}
        for number, part in enumerate(self.parts):
            metrics[part.name] = at_epochs(part.task).score(model.of(number), part.valid).metrics
        return together(self.parts, metrics)

    def _term(self, number: int, name: str) -> str:
        part = self.parts[number]
        return part.name if name == part.task.name else f"{part.name}.{name}"


def together(parts: Sequence[Part], metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the metrics of all tasks as those of one, see `Several.score`; each task's are under its name."""
    chosen = [metrics[part.name][part.task.chosen_by] for part in parts]
    losses = [part.weight * metrics[part.name]["loss"] for part in parts]
    whole = {MEAN: sum(chosen) / len(parts), "loss": sum(losses) / sum(part.weight for part in parts)}
    return whole | {f"{part.name}.{name}": value for part in parts for name, value in metrics[part.name].items()}


def own_metrics(metrics: Mapping[str, float], name: str) -> dict[str, float]:
    """Return one task's metrics, of those that `together` has put together."""
    before = f"{name}."
    return {key.removeprefix(before): value for key, value in metrics.items() if key.startswith(before)}


def several_model(network: nn.Module) -> SeveralModel:
    """Return a network as the model of several tasks that it is; raise TypeError when it is none."""
    if not isinstance(network, SeveralModel):
        raise TypeError(f"expected a network of several tasks, found {type(network).__name__}")
    return network


def make_several(start: Start, parts: Sequence[Part], config: TuningConfig) -> Fitting:
    """Return what a fit of several tasks is made of.

    With one task it is the fit of that task, to the last bit: heads, orders and draws are those that it would have by
    itself.

    Args:
        start: the weights to begin with; they are copied, never changed.
        parts: the tasks, encoded by readings of the same stack.
        config: the settings that they share.

    Raises:
        ConfigError: heads that read different stacks; fewer rows than tasks; see also `fit.make_fitting`.
        DataError: a task has no label to learn from.
    """
    key = Key(config.seed).child("finetune")
    readouts = [part.task.readout for part in parts]
    stacks = {readout.stack if readout is not None else None for readout in readouts}
    if len(stacks) > 1:
        found = ", ".join(f"{p.name} {r.stack if r else 'none'}" for p, r in zip(parts, readouts, strict=True))
        raise ConfigError(f"tasks that are learned together read one stack; `readout.stack` of each: {found}.")
    reader = begin_reader(start, config, readouts[0], key.child("reader"))
    models = [build_model(part.task, reader.config, reader.part, dropout=config.dropout, key=key) for part in parts]
    model = SeveralModel(models)
    size = reader.config.hidden_size
    learned = tuple(
        regularised(config.regularisers, part.task, name=part.task.name, network=each, hidden_size=size)
        for part, each in zip(parts, models, strict=True)
    )
    rows = SeveralRows(
        [part.train for part in parts],
        [part.weight for part in parts],
        rows=config.rows,
        accumulation=config.accumulation,
        epochs=config.epochs,
        key=key.child("data"),
    )
    several = Several(tuple(parts), learned)
    begun = pretrained_weights(start, reader, config, root="reader.")
    settled = settled_types(with_lr(config, start.config))
    by_loss = all(part.task.chosen_by == "loss" for part in parts)
    chosen_by = "loss" if by_loss else MEAN
    return Fitting(settled, "several", chosen_by, several.score, model, reader.config, several, begun, rows, key)


def _made(batch: AnyBatch) -> Iterator[tuple[int, Batch, float]]:
    """Yield the number of each task that has rows, its batch and its weight."""
    if not isinstance(batch, MixedBatch):
        raise TypeError(f"expected the batch of several tasks, found {type(batch).__name__}")
    for number, (made, weight) in enumerate(zip(batch.parts, batch.weights, strict=True)):
        if made is not None:
            yield number, made, weight
