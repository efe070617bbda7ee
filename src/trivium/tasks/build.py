"""Tasks by their names, and the networks that learn them."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from trivium.core.errors import ConfigError, nearest
from trivium.core.random import Key
from trivium.data.labelled import AnswerExample, LabelExample, NestedExample, PairExample, RelationExample, text_of
from trivium.hub.families import usual_readout
from trivium.hub.family import HeadKind
from trivium.model.build import build_network, build_readout, build_span_head
from trivium.model.chain import LabelChain
from trivium.model.config import DEFAULT_READOUT, Decoder, ModelConfig, ReadoutConfig
from trivium.model.initialise import initialise
from trivium.objectives.base import as_network
from trivium.tasks.answer.task import Answer
from trivium.tasks.base import Example, Part, Task, TaskHead, TaskModel, TaskNetwork, reading_part, stacks_of
from trivium.tasks.embed.task import Embed
from trivium.tasks.nested.task import Nested
from trivium.tasks.relate.task import Relate
from trivium.tasks.settings import TASKS, task_settings
from trivium.tasks.texts.classify import Classify
from trivium.tasks.texts.multi_label import MultiLabel
from trivium.tasks.texts.regress import Regress
from trivium.tasks.words.label import Label
from trivium.tasks.words.spans import Spans
from trivium.tasks.write.config import WriteConfig
from trivium.tasks.write.task import Write

HEADS = ("classify", "label", "answer")
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
        numbers: what examples define beside labels, see `task_numbers`.
    """
    given: dict[str, Any] = {
        "readout": readout or DEFAULT_READOUT,
        "settings": task_settings(name, settings),
        **numbers,
    }
    match name:
        case "classify":
            return Classify(tuple(labels), **given)
        case "multi_label":
            return MultiLabel(tuple(labels), **given)
        case "regress":
            return Regress(**given)
        case "label":
            return Label(tuple(labels), **given)
        case "spans":
            return Spans(tuple(labels), **given)
        case "nested":
            return Nested(tuple(labels), **given)
        case "relate":
            return Relate(tuple(labels), **given)
        case "answer":
            return Answer(**given)
        case "embed":
            return Embed(**given)
        case "write" if isinstance(given["settings"], WriteConfig):
            return Write(given["settings"])
        case _:
            raise ConfigError(f"`{name}` is no task.{nearest(name, list(TASKS))}")


def task_numbers(task: Task) -> dict[str, float]:
    """Return the numbers that a task has from its examples."""
    match task:
        case Regress():
            return {"centre": task.centre, "spread": task.spread}
        case Answer() if isinstance(task.threshold, float):
            return {"threshold": task.threshold}
        case Embed() if task.lowest is not None and task.highest is not None:
            return {"lowest": task.lowest, "highest": task.highest}
        case _:
            return {}


def head_kind(name: str) -> HeadKind:
    """Return what a checkpoint calls the head of a task; raise ConfigError when there is none of that name."""
    match name:
        case "classify" | "multi_label" | "regress":
            return "classify"
        case "label" | "spans":
            return "label"
        case "answer":
            return "answer"
        case "nested" | "relate" | "embed":
            return "none"
        case "write":
            return "language"
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
    head = build_head(task, config, dropout=dropout)
    chain = LabelChain(num_labels=task.num_outputs) if task.is_chained else None
    model = TaskModel(reader=stacks_of(reader), states=task.states, head=head, chain=chain)
    initialise(model.head, config, key.child("head"))
    return model


def empty_model(task: Task, config: ModelConfig) -> TaskNetwork:
    """Return the network of a fine-tuned model, its parameters still to be loaded.

    Raises:
        ConfigError: the head reads a stack that the architecture has not.
    """
    reader = reading_part(build_network(config), task.readout)
    if task.readout is None:
        return as_network(reader)
    head = build_head(task, config, dropout=0.0)
    chain = LabelChain(num_labels=task.num_outputs) if task.is_chained else None
    return TaskModel(reader=stacks_of(reader), states=task.states, head=head, chain=chain)


def build_head(task: Task, config: ModelConfig, *, dropout: float) -> TaskHead:
    """Return the head of a task, its parameters not yet drawn; the identity where what is picked is the answer."""
    if not task.num_outputs:
        return nn.Identity()
    readout = task.readout or DEFAULT_READOUT
    if isinstance(task, Nested):
        return build_span_head(
            readout,
            hidden_size=config.hidden_size,
            size=task.settings.span_size,
            num_classes=task.num_outputs,
            max_words=task.max_words,
            dropout=dropout,
        )
    return build_readout(
        readout,
        hidden_size=config.hidden_size,
        num_classes=task.num_outputs,
        dropout=dropout,
        num_places=task.num_places,
    )


def texts_of(examples: Sequence[Example]) -> list[str]:
    """Return the raw text of each example, for a tokenizer to be made of, and before them each context once."""
    contexts = dict.fromkeys(example.context for example in examples if isinstance(example, AnswerExample))
    return [*contexts, *map(_text, examples)]


def _text(example: Example) -> str:
    match example:
        case LabelExample() | NestedExample():
            return text_of(example)[0]
        case AnswerExample():
            return example.question
        case RelationExample():
            return example.text
        case PairExample():
            return "\n".join((example.source, *example.targets))
        case _:
            return " ".join(filter(None, (example.text, example.text_pair)))
