"""What a pretraining run is made of before its first step: settings that fit the data, batches, first weights."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from trivium.core.batch import Batch
from trivium.core.errors import ConfigError
from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.data.loader import StepRows, staged_batches, step_batches
from trivium.data.packing import RowReader
from trivium.data.shards import PreparedData
from trivium.model.config import with_max_length, with_vocabulary
from trivium.model.folder import SavedModel, load_matching, unique_tensors
from trivium.model.initialise import initialise
from trivium.objectives.base import Objective, has_experts
from trivium.objectives.build import build_objective
from trivium.train.config import RunConfig, Stage

Start = Callable[[], SavedModel]


class Part(NamedTuple):
    """A part of a run whose steps have as many rows, of one length."""

    until: float  # share of the steps
    reader: RowReader
    rows: int


class Material(NamedTuple):
    """What a run reads and learns."""

    objective: Objective
    parts: tuple[Part, ...]  # the last until 1.0
    held_out: RowReader
    key: Key  # of what the objective draws
    start: Start | None  # opens the model whose weights it begins with

    def batches(self, steps: int) -> Callable[[int], Batch]:
        """Return the function from a step's number to its whole batch, in a run of so many steps."""
        begins = [0, *(round(part.until * steps) for part in self.parts[:-1])]
        stages = [StepRows(step, part.reader, part.rows) for step, part in zip(begins, self.parts, strict=True)]
        return staged_batches(stages, self.objective.make, key=self.key)

    def parts_alone(self) -> list[tuple[float, Callable[[int], Batch]]]:
        """Return the share of the steps that each part has, with its batches as if there were no other."""
        begins = [0.0, *(part.until for part in self.parts)]
        return [
            (
                part.until - begin,
                step_batches(part.reader, self.objective.make, rows_per_step=part.rows, key=self.key),
            )
            for begin, part in zip(begins, self.parts, strict=False)
        ]


def fit_to_data(config: RunConfig, data: PreparedData) -> RunConfig:
    """Return the run with the data's vocabulary, a model long enough for its rows, and the data's fingerprint.

    A run that begins with a model has that one's vocabulary, which may have more rows than the tokenizer has ids.
    """
    accumulation = config.train.accumulation
    for rows in (config.train.rows, *(stage.rows for stage in config.train.stages if stage.rows is not None)):
        if rows % accumulation:
            raise ConfigError(f"`train.accumulation` must divide `train.rows`: {accumulation} does not divide {rows}.")
    model = config.model
    if config.start_from is None:
        model = with_vocabulary(model, data.tokenizer.vocabulary_size)
    longest = max(config.data.row_length, *(stage.row_length or 0 for stage in config.train.stages), 0)
    if longest > model.max_length:
        model = with_max_length(model, longest)
    return config.model_copy(
        update={
            "model": model,
            "data": config.data.model_copy(update={"fingerprint": data.fingerprint}),
        }
    )


def make_material(config: RunConfig, data: PreparedData, start: Start | None) -> Material:
    """Return the objective, the function from a step to its batch, and the held-out rows."""
    special, key = data.tokenizer.special, Key(config.seed)
    objective = build_objective(
        config.objective, special, data.tokenizer.vocabulary_size, balanced=has_experts(config.model)
    )
    objective.network(config.model.model_copy(update={"vocabulary_size": 8}))  # refuses a family it cannot train
    length, order = config.data.row_length, key.child("data")
    held_out = RowReader(data.split("validation"), row_length=length, key=None, pad=special.pad)
    lengths = {length, *(stage.row_length for stage in config.train.stages if stage.row_length is not None)}
    readers = {size: RowReader(data.split("train"), row_length=size, key=order, pad=special.pad) for size in lengths}
    stages = [*config.train.stages, Stage.model_construct(until=1.0)]
    parts = tuple(
        Part(stage.until, readers[stage.row_length or length], stage.rows or config.train.rows) for stage in stages
    )
    return Material(objective, parts, held_out, key.child("make"), start)


def draw(network: nn.Module, config: RunConfig, material: Material, progress: Progress) -> None:
    """Give a network the weights that the run begins with."""
    initialise(network, config.model, Key(config.seed))
    if config.start_from is not None and material.start is not None:
        anew = load_matching(network, unique_tensors(material.start().network))
        if anew:
            shown = ", ".join(anew[:3]) + (f" and {len(anew) - 3} more" if len(anew) > 3 else "")
            progress.line(f"begins with {config.start_from}, but for what it has not and is drawn anew: {shown}")
