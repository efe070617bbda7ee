"""What a pretraining run is made of before its first step: settings that fit the data, batches, first weights."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from trivium.core.batch import Batch
from trivium.core.errors import ConfigError
from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.data.loader import step_batches
from trivium.data.packing import RowReader
from trivium.data.shards import PreparedData
from trivium.model.config import with_max_length, with_vocabulary
from trivium.model.folder import SavedModel, load_matching, unique_tensors
from trivium.model.initialise import initialise
from trivium.objectives.base import Objective, has_experts
from trivium.objectives.build import build_objective
from trivium.train.config import RunConfig

Start = Callable[[], SavedModel]


class Material(NamedTuple):
    """What a run reads and learns."""

    objective: Objective
    batch: Callable[[int], Batch]
    held_out: RowReader
    start: Start | None  # opens the model whose weights it begins with


def fit_to_data(config: RunConfig, data: PreparedData) -> RunConfig:
    """Return the run with the data's vocabulary, a model long enough for its rows, and the data's fingerprint.

    A run that begins with a model has that one's vocabulary, which may have more rows than the tokenizer has ids.
    """
    if config.train.rows % config.train.accumulation:
        raise ConfigError(
            f"`train.accumulation` must divide `train.rows`: "
            f"{config.train.accumulation} does not divide {config.train.rows}."
        )
    model = config.model
    if config.start_from is None:
        model = with_vocabulary(model, data.tokenizer.vocabulary_size)
    if config.data.row_length > model.max_length:
        model = with_max_length(model, config.data.row_length)
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
    length = config.data.row_length
    reader = RowReader(data.split("train"), row_length=length, key=key.child("data"), pad=special.pad)
    held_out = RowReader(data.split("validation"), row_length=length, key=None, pad=special.pad)
    batch = step_batches(reader, objective.make, rows_per_step=config.train.rows, key=key.child("make"))
    return Material(objective, batch, held_out, start)


def draw(network: nn.Module, config: RunConfig, material: Material, progress: Progress) -> None:
    """Give a network the weights that the run begins with."""
    initialise(network, config.model, Key(config.seed))
    if config.start_from is not None and material.start is not None:
        anew = load_matching(network, unique_tensors(material.start().network))
        if anew:
            shown = ", ".join(anew[:3]) + (f" and {len(anew) - 3} more" if len(anew) > 3 else "")
            progress.line(f"begins with {config.start_from}, but for what it has not and is drawn anew: {shown}")
