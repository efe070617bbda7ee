"""What a pretraining run is made of before its first step: settings that fit the data, batches, first weights."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from trivium.core.batch import AnyBatch
from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.data.loader import StepRows, staged_batches, step_batches
from trivium.data.packing import RowReader
from trivium.data.shards import PreparedData
from trivium.data.tokenizer import Tokenizer
from trivium.model.config import EncoderDecoder, ModelConfig, with_max_length, with_vocabulary
from trivium.model.folder import SavedModel, load_matching, unique_tensors
from trivium.model.initialise import initialise
from trivium.model.stack import recompute_blocks
from trivium.model.warm_start import on_both_sides
from trivium.objectives.base import Learned, Objective, has_experts
from trivium.objectives.build import DistilConfig, Vocabulary, build_objective
from trivium.objectives.distil import Distil, teacher_hash
from trivium.objectives.regularisers.build import regularised
from trivium.train.config import RunConfig, Stage
from trivium.train.device import open_device
from trivium.train.distributed import Ranks
from trivium.train.sharded import is_sharding, require_shardable

Start = Callable[[], SavedModel]


class Part(NamedTuple):
    """A part of a run whose steps have as many rows, of one length."""

    until: float  # share of the steps
    reader: RowReader
    rows: int


class Material(NamedTuple):
    """What a run reads and learns."""

    objective: Objective
    learned: Learned  # the objective, with what is asked of it in training only
    parts: tuple[Part, ...]  # the last until 1.0
    held_out: RowReader
    key: Key  # of what the objective draws
    start: Start | None  # opens the model whose weights it begins with
    sentinels: frozenset[int] = frozenset()  # ids that mark spans and are no text

    def batches(self, steps: int, *, passed_over: int = 0) -> Callable[[int], AnyBatch]:
        """Return the function from a step's number to its whole batch, in a run of so many steps."""
        begins = self._begins(steps)
        stages = [StepRows(step, part.reader, part.rows) for step, part in zip(begins, self.parts, strict=True)]
        return staged_batches(stages, self.objective.make, key=self.key, steps=steps, passed_over=passed_over)

    def changes(self, steps: int) -> Callable[[int], bool]:
        """Return whether a step of a run of so many is the first whose rows have another number or length."""
        return frozenset(self._begins(steps)[1:]).__contains__

    def parts_alone(self) -> list[tuple[float, Callable[[int], AnyBatch]]]:
        """Return the share of the steps that each part has, with its batches as if there were no other."""
        begins = [0.0, *(part.until for part in self.parts)]
        return [
            (
                part.until - begin,
                step_batches(part.reader, self.objective.make, rows_per_step=part.rows, key=self.key),
            )
            for begin, part in zip(begins, self.parts, strict=False)
        ]

    def _begins(self, steps: int) -> list[int]:
        return [0, *(round(part.until * steps) for part in self.parts[:-1])]


def trained_network(config: RunConfig, material: Material) -> nn.Module:
    """Build what is trained, as the run trains it and where."""
    with open_device(config.train.device):
        network = material.objective.network(config.model)
    if config.train.recompute:
        recompute_blocks(network)
    return network


def fit_to_data(config: RunConfig, data: PreparedData) -> RunConfig:
    """Return the run with the data's vocabulary, a model long enough for its rows, and the data's fingerprint.

    A run that begins with a model has that one's vocabulary, which may have more rows than the tokenizer has ids.
    """
    accumulation = config.train.accumulation
    for rows in (config.train.rows, *(stage.rows for stage in config.train.stages if stage.rows is not None)):
        if rows % accumulation:
            raise ConfigError(f"`train.accumulation` must divide `train.rows`: {accumulation} does not divide {rows}.")
    if config.mixout and config.start_from is None:
        raise ConfigError("`mixout` pulls towards the weights that a run begins with, and this one begins with none.")
    model = config.model
    if config.start_from is None:
        model = with_vocabulary(model, data.tokenizer.vocabulary_size)
    longest = max(config.data.row_length, *(stage.row_length or 0 for stage in config.train.stages), 0)
    if longest > model.max_length:
        model = with_max_length(model, longest)
    objective = config.objective
    if isinstance(objective, DistilConfig) and objective.teacher_sha256 is None:
        path = Path(objective.teacher)
        named = {"teacher": str(path.resolve()), "teacher_sha256": teacher_hash(path)}
        objective = objective.model_copy(update=named)
    return config.model_copy(
        update={
            "model": model,
            "objective": objective,
            "data": config.data.model_copy(update={"fingerprint": data.fingerprint}),
        }
    )


def make_material(config: RunConfig, data: PreparedData, start: Start | None) -> Material:
    """Return the objective, the function from a step to its batch, and the held-out rows."""
    special, key = data.tokenizer.special, Key(config.seed)
    objective = build_objective(config.objective, vocabulary_of(config.model, data.tokenizer, data))
    if isinstance(objective, Distil):
        _require_teacher(config, objective, data)
    # Built small: it refuses a family that it cannot train.
    network = objective.network(config.model.model_copy(update={"vocabulary_size": 8}))
    learned = regularised(
        config.regularisers,
        objective,
        name=config.objective.kind,
        network=network,
        hidden_size=config.model.hidden_size,
    )
    length, order = config.data.row_length, key.child("data")
    held_out = RowReader(data.split("validation"), row_length=length, key=None, pad=special.pad)
    lengths = {length, *(stage.row_length for stage in config.train.stages if stage.row_length is not None)}
    readers = {size: RowReader(data.split("train"), row_length=size, key=order, pad=special.pad) for size in lengths}
    stages = [*config.train.stages, Stage.model_construct(until=1.0)]
    parts = tuple(
        Part(stage.until, readers[stage.row_length or length], stage.rows or config.train.rows) for stage in stages
    )
    _require_groups(config, objective, parts, held_out)
    return Material(objective, learned, parts, held_out, key.child("make"), start, frozenset(special.sentinels))


def require_ranks(config: RunConfig, material: Material, ranks: Ranks) -> None:
    """Raise ConfigError unless so many processes can make the run together."""
    if ranks.count == 1:
        return
    together = material.objective.rows_together
    for part in material.parts:
        whole = ranks.count * config.train.accumulation * together
        if part.rows % whole:
            groups = f" x the {together} rows that are compared" if together > 1 else ""
            raise ConfigError(
                f"`train.rows` must be a multiple of {whole}, ranks x `train.accumulation`{groups}: found {part.rows}."
            )
    if is_sharding(config, ranks):
        require_shardable(config)


def _require_teacher(config: RunConfig, objective: Distil, data: PreparedData) -> None:
    """Raise a UserError where a teacher cannot be asked about the run's rows."""
    teacher = objective.teacher
    named = f"`objective.teacher` {teacher.name}"
    if teacher.tokenizer != data.tokenizer.to_bytes():
        raise CheckpointError(
            f"{named}: its tokenizer is not that of the data; prepare the data with --tokenizer {teacher.name}."
        )
    if objective.weights.logits and not teacher.config.head.trained:
        raise ConfigError(f"{named}: its objective has not taught it to name tokens; set objective.logits=0.")
    if objective.weights.logits and teacher.config.vocabulary_size != config.model.vocabulary_size:
        raise ConfigError(
            f"{named}: it has {teacher.config.vocabulary_size} rows for tokens, the student "
            f"{config.model.vocabulary_size}; expected as many."
        )
    longest = max(config.data.row_length, *(stage.row_length or 0 for stage in config.train.stages), 0)
    if longest > teacher.config.max_length:
        try:
            with_max_length(teacher.config, longest)
        except ConfigError as error:
            raise ConfigError(f"{named}: {error}") from None


def _require_groups(config: RunConfig, objective: Objective, parts: tuple[Part, ...], held_out: RowReader) -> None:
    """Raise ConfigError where rows that are compared with each other would come apart."""
    kind, together = config.objective.kind, objective.rows_together
    for part in parts:
        if part.rows % (together * config.train.accumulation):
            raise ConfigError(
                f"objective `{kind}` compares rows in groups of {together}: `train.rows` must be a multiple of "
                f"{together * config.train.accumulation}, `train.accumulation` counted in; found {part.rows}."
            )
    if held_out.rows_per_epoch < together:
        raise ConfigError(
            f"objective `{kind}` compares {together} rows with each other; the validation split has "
            f"{held_out.rows_per_epoch}: hold out more text, or make data.row_length shorter."
        )
    if config.train.validate_rows < together:
        raise ConfigError(
            f"objective `{kind}` compares {together} rows with each other: `train.validate_rows` must be as many at "
            f"least; found {config.train.validate_rows}."
        )


def vocabulary_of(model: ModelConfig, tokenizer: Tokenizer, data: PreparedData | None) -> Vocabulary:
    """Return what an objective knows of the texts; without data all tokens are taken to be equally frequent."""
    size = tokenizer.vocabulary_size

    def counts_V() -> np.ndarray:
        return np.ones(size) if data is None else data.split("train").token_counts(size)

    segments = model.stacks()[0].embedding.num_segments > 1
    balanced, two_stacks = has_experts(model), isinstance(model.family, EncoderDecoder)
    return Vocabulary(tokenizer.special, size, counts_V, segments, balanced, two_stacks)


def draw(network: nn.Module, config: RunConfig, material: Material, progress: Progress) -> list[str]:
    """Give a network the weights that the run begins with; return those that are drawn."""
    initialise(network, config.model, Key(config.seed))
    if config.start_from is None or material.start is None:
        return list(unique_tensors(network))
    earlier = material.start()
    tensors = unique_tensors(earlier.network)
    if config.model.family.kind != earlier.config.family.kind:
        tensors = on_both_sides(tensors)
    named = material.objective.trained_name
    anew = load_matching(network, {named(name): tensor for name, tensor in tensors.items()})
    if anew and all(".cross_attention." in name for name in anew):
        progress.line(f"begins with {config.start_from} on both sides; what looks from one to the other is drawn anew")
    elif anew:
        shown = ", ".join(anew[:3]) + (f" and {len(anew) - 3} more" if len(anew) > 3 else "")
        progress.line(f"begins with {config.start_from}, but for what it has not and is drawn anew: {shown}")
    return anew
