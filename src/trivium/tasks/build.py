"""Tasks by their names, and the networks that learn them."""

from collections.abc import Iterable, Sequence
from typing import assert_never

import torch

from trivium.core.errors import ConfigError, nearest
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, LabelExample, PairExample, text_of
from trivium.hub.family import HeadKind
from trivium.model.build import build_network, build_readout, choose_kernel
from trivium.model.config import DEFAULT_READOUT, ModelConfig, ReadoutConfig
from trivium.model.initialise import initialise
from trivium.objectives.base import as_network
from trivium.tasks.base import Example, Part, Task, TaskModel, TaskNetwork, reading_part
from trivium.tasks.classify import Classify
from trivium.tasks.label import Label
from trivium.tasks.write import Write
from trivium.tasks.write_config import WriteConfig

TASKS = ("classify", "label", "write")


def build_task(
    name: str, labels: Iterable[str], readout: ReadoutConfig | None = None, settings: WriteConfig | None = None
) -> Task:
    """Return the task of this name; raise ConfigError when there is none of that name.

    Args:
        name: what the command line calls it.
        labels: the classes.
        readout: the head; None = the mean of a text, or a word as it stands, and one projection.
        settings: of a task that has some; None = the usual ones.
    """
    match name:
        case "classify":
            return Classify(tuple(labels), readout or DEFAULT_READOUT)
        case "label":
            return Label(tuple(labels), readout or DEFAULT_READOUT)
        case "write":
            return Write(settings or WriteConfig())
        case _:
            raise ConfigError(f"`{name}` is no task.{nearest(name, list(TASKS))}")


def head_kind(name: str) -> HeadKind:
    """Return what a checkpoint calls the head of a task; raise ConfigError when there is none of that name."""
    match name:
        case "classify" | "label":
            return name
        case "write":
            return "language"
        case _:
            raise ConfigError(f"`{name}` is no task.{nearest(name, list(TASKS))}")


def learned_task(
    name: str,
    examples: Sequence[Example],
    readout: ReadoutConfig | None = None,
    settings: WriteConfig | None = None,
) -> Task:
    """Return the task of this name as its training examples define it; raise DataError when they cannot."""
    return build_task(name, (), readout, settings).learned(examples)


def settings_of(task: Task) -> WriteConfig | None:
    """Return the settings of a task that has some."""
    return task.settings if isinstance(task, Write) else None


def at_epochs(task: Task) -> Task:
    """Return the task as it is scored when an epoch ends: what takes long is done on a part of the examples."""
    return task.at_epochs() if isinstance(task, Write) else task


def build_model(task: Task, config: ModelConfig, reader: Part, *, dropout: float, key: Key) -> TaskNetwork:
    """Return the network that learns a task: what reads, and a head drawn anew; or all of the pretrained network.

    Args:
        task: says what the head sees, and how many classes there are.
        config: the architecture that the reader is part of.
        reader: see `reading_part`; it is trained in place.
        dropout: before the head.
        key: of the head's weights.
    """
    if task.readout is None:
        return as_network(reader)
    head = build_readout(task.readout, hidden_size=config.hidden_size, num_classes=task.num_outputs, dropout=dropout)
    model = TaskModel(reader=reader, pick=task.pick, head=head)
    initialise(model.head, config, key.child("head"))
    return model


def empty_model(task: Task, config: ModelConfig) -> TaskNetwork:
    """Return the network of a fine-tuned model, its parameters still to be loaded.

    Raises:
        ConfigError: the head reads a stack that the architecture has not.
    """
    # The kernel is named: the usual one is chosen for the device that a network is built on, here none yet.
    network = build_network(config, kernel=choose_kernel(config, torch.device("cpu")), device="meta")
    if task.readout is None:
        return network.to_empty(device="cpu")
    with torch.device("meta"):
        head = build_readout(task.readout, hidden_size=config.hidden_size, num_classes=task.num_outputs, dropout=0.0)
    return TaskModel(reader=reading_part(network, task.readout), pick=task.pick, head=head).to_empty(device="cpu")


def texts_of(examples: Sequence[Example]) -> list[str]:
    """Return the raw text of each example, for a tokenizer to be made of."""
    return [_raw_text(example) for example in examples]


def _raw_text(example: Example) -> str:
    match example:
        case LabelExample():
            return text_of(example)[0]
        case PairExample(source=source, targets=targets):
            return "\n".join((source, *targets))
        case ClassifyExample(text=text, text_pair=text_pair):
            return " ".join(filter(None, (text, text_pair)))
        case _:
            assert_never(example)
