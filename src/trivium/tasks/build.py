"""Tasks by their names, and the networks that learn them."""

from collections.abc import Iterable, Sequence
from typing import assert_never

import torch

from trivium.core.errors import ConfigError, nearest
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, LabelExample, RelationExample, text_of
from trivium.hub.family import HeadKind
from trivium.model.build import build_network, build_readout, choose_kernel
from trivium.model.config import DEFAULT_READOUT, ModelConfig, ReadoutConfig
from trivium.model.heads import Readout, TwoStacks
from trivium.model.initialise import initialise
from trivium.model.stack import Stack
from trivium.tasks.base import Example, Task, TaskModel, reading_part
from trivium.tasks.classify import Classify
from trivium.tasks.label import Label
from trivium.tasks.relate import USUAL, Relate, RelateConfig

TASKS = ("classify", "label", "relate")


def build_task(
    name: str, labels: Iterable[str], readout: ReadoutConfig | None = None, *, relate: RelateConfig | None = None
) -> Task:
    """Return the task of this name; raise ConfigError when there is none of that name.

    Args:
        name: what the command line calls it.
        labels: the classes.
        readout: the head; None = the mean of a text, or a word as it stands, and one projection.
        relate: settings of the task of this name; None = the usual ones.
    """
    match name:
        case "classify":
            return Classify(tuple(labels), readout or DEFAULT_READOUT)
        case "label":
            return Label(tuple(labels), readout or DEFAULT_READOUT)
        case "relate":
            return Relate(tuple(labels), readout or DEFAULT_READOUT, relate or USUAL)
        case _:
            raise ConfigError(f"`{name}` is no task.{nearest(name, list(TASKS))}")


def head_kind(name: str) -> HeadKind:
    """Return what a checkpoint calls the head of a task; raise ConfigError when there is none of that name."""
    match name:
        case "classify" | "label":
            return name
        case "relate":
            return "none"
        case _:
            raise ConfigError(f"`{name}` is no task.{nearest(name, list(TASKS))}")


def learned_task(
    name: str,
    examples: Sequence[Example],
    readout: ReadoutConfig | None = None,
    *,
    relate: RelateConfig | None = None,
) -> Task:
    """Return the task of this name as its training examples define it; raise DataError when they cannot."""
    return build_task(name, (), readout, relate=relate).learned(examples)


def build_model(task: Task, config: ModelConfig, reader: Stack | TwoStacks, *, dropout: float, key: Key) -> TaskModel:
    """Return the network that learns a task: what reads, and a head drawn anew.

    Args:
        task: says what the head sees, and how many classes there are.
        config: the architecture that the reader is part of.
        reader: see `reading_part`; it is trained in place.
        dropout: before the head.
        key: of the head's weights.
    """
    head = _head(task, config, dropout)
    model = TaskModel(reader=reader, pick=task.pick, head=head)
    initialise(model.head, config, key.child("head"))
    return model


def empty_model(task: Task, config: ModelConfig) -> TaskModel:
    """Return the network of a fine-tuned model, its parameters still to be loaded.

    Raises:
        ConfigError: the head reads a stack that the architecture has not.
    """
    # The kernel is named: the usual one is chosen for the device that a network is built on, here none yet.
    network = build_network(config, kernel=choose_kernel(config, torch.device("cpu")), device="meta")
    with torch.device("meta"):
        head = _head(task, config, 0.0)
    return TaskModel(reader=reading_part(network, task.readout), pick=task.pick, head=head).to_empty(device="cpu")


def texts_of(examples: Sequence[Example]) -> list[str]:
    """Return the raw text of each example, for a tokenizer to be made of."""
    return [_text(example) for example in examples]


def _text(example: Example) -> str:
    match example:
        case LabelExample():
            return text_of(example)[0]
        case ClassifyExample():
            return " ".join(filter(None, (example.text, example.text_pair)))
        case RelationExample():
            return example.text
        case _:
            assert_never(example)


def _head(task: Task, config: ModelConfig, dropout: float) -> Readout:
    return build_readout(
        task.readout,
        hidden_size=config.hidden_size,
        num_classes=task.num_outputs,
        dropout=dropout,
        num_places=task.num_places,
    )
