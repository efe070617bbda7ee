"""Tasks by their names, and the networks that learn them."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from trivium.core.errors import ConfigError, nearest
from trivium.core.random import Key
from trivium.data.labelled import LabelExample, text_of
from trivium.hub.families import usual_readout
from trivium.hub.family import HeadKind
from trivium.model.build import build_network, build_readout, choose_kernel
from trivium.model.config import DEFAULT_READOUT, Decoder, ModelConfig, ReadoutConfig
from trivium.model.heads import Readout, TwoStacks
from trivium.model.initialise import initialise
from trivium.model.stack import Stack
from trivium.tasks.base import Example, Task, TaskModel, reading_part
from trivium.tasks.classify import Classify
from trivium.tasks.embed import Embed
from trivium.tasks.label import Label
from trivium.tasks.settings import TASKS, EmbedSettings, task_settings

HEADS = ("classify", "label")
"""The heads of other libraries' checkpoints that do a task of ours."""


def build_task(
    name: str,
    labels: Iterable[str] = (),
    readout: ReadoutConfig | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    numbers: Mapping[str, float] = MappingProxyType({}),
) -> Task:
    """Return the task of this name; raise ConfigError when there is none of that name, or a setting does not fit it.

    Args:
        name: what the command line calls it.
        labels: the classes.
        readout: the head; None = the mean of a text, or a word as it stands, and one projection.
        settings: see `tasks.settings`.
        numbers: what the training examples define beside labels, see `task_numbers`.
    """
    chosen, readout = task_settings(name, settings), readout or DEFAULT_READOUT
    match name:
        case "classify":
            return Classify(tuple(labels), readout)
        case "label":
            return Label(tuple(labels), readout)
        case "embed" if isinstance(chosen, EmbedSettings):
            return Embed(readout, chosen, **numbers)
        case _:
            raise ConfigError(f"`{name}` is no task.{nearest(name, list(TASKS))}")


def task_numbers(task: Task) -> dict[str, float]:
    """Return the numbers that a task has from its training examples."""
    if isinstance(task, Embed) and task.lowest is not None and task.highest is not None:
        return {"lowest": task.lowest, "highest": task.highest}
    return {}


def head_kind(name: str) -> HeadKind:
    """Return what a checkpoint calls the head of a task; raise ConfigError when there is none of that name."""
    match name:
        case "classify" | "label":
            return name
        case "embed":
            return "none"
        case _:
            raise ConfigError(f"`{name}` is no task.{nearest(name, list(TASKS))}")


def usual_head(name: str, config: ModelConfig) -> ReadoutConfig:
    """Return a task's head for this architecture where its user has chosen none.

    It is that of transformers, so that the result can be exported, or the mean of a text where it has none that the
    reading stack is enough for. What embeds texts from left to right lets later tokens weigh more.
    """
    if name == "embed":
        return ReadoutConfig(pooling="weighted" if isinstance(config.family, Decoder) else "mean")
    return usual_readout(config, head_kind(name)) or DEFAULT_READOUT


def learned_task(
    name: str,
    examples: Sequence[Example],
    readout: ReadoutConfig | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Task:
    """Return the task of this name as its training examples define it; raise DataError when they cannot."""
    return build_task(name, (), readout, settings).learned(examples)


def build_model(task: Task, config: ModelConfig, reader: Stack | TwoStacks, *, dropout: float, key: Key) -> TaskModel:
    """Return the network that learns a task: what reads, and a head drawn anew.

    Args:
        task: says what the head sees, and how many classes there are.
        config: the architecture that the reader is part of.
        reader: see `reading_part`; it is trained in place.
        dropout: before the head.
        key: of the head's weights.
    """
    head = build_head(task, config, dropout=dropout)
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
        head = build_head(task, config, dropout=0.0)
    return TaskModel(reader=reading_part(network, task.readout), pick=task.pick, head=head).to_empty(device="cpu")


def build_head(task: Task, config: ModelConfig, *, dropout: float) -> Readout | nn.Identity:
    """Return the head of a task, its parameters not yet drawn; the identity where what is picked is the answer."""
    if not task.num_outputs:
        return nn.Identity()
    return build_readout(task.readout, hidden_size=config.hidden_size, num_classes=task.num_outputs, dropout=dropout)


def texts_of(examples: Sequence[Example]) -> list[str]:
    """Return the raw text of each example, for a tokenizer to be made of."""
    return [
        text_of(example)[0]
        if isinstance(example, LabelExample)
        else " ".join(filter(None, (example.text, example.text_pair)))
        for example in examples
    ]
