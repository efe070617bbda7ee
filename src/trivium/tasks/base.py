"""What a task is: what reads the text (a pretrained stack), text to tensors and labels, and a head."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, assert_never, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import ConfigError, DataError, nearest
from trivium.core.random import Key
from trivium.data.labelled import (
    AnswerExample,
    ClassifyExample,
    LabelExample,
    Labelled,
    MultiLabelExample,
    NestedExample,
    PairExample,
    RegressionExample,
    RelationExample,
    SimilarExample,
)
from trivium.data.tokenizer import Tokenizer
from trivium.model.biaffine import SpanHead
from trivium.model.chain import LabelChain
from trivium.model.config import DEFAULT_READOUT, Decoder, Encoder, EncoderDecoder, ModelConfig, ReadoutConfig
from trivium.model.device import device_of
from trivium.model.heads import LanguageModel, Network, Readout, SequenceToSequence, TwoStacks
from trivium.model.stack import Stack
from trivium.objectives.base import Predicted, label_term
from trivium.tasks.pieces import Encoded, Reading
from trivium.tasks.scores import Scores
from trivium.tasks.settings import TaskSettings

Example = (
    ClassifyExample
    | MultiLabelExample
    | RegressionExample
    | LabelExample
    | NestedExample
    | RelationExample
    | AnswerExample
    | SimilarExample
    | PairExample
)
# What a user writes to be answered: a line of text, or what a line of JSON says.
Unlabelled = str | Sequence[str] | Mapping[str, Any]
# What reads for a head of its own.
TaskReader = Stack | TwoStacks
# (reader, batch) -> hidden_ND of the batch's answers, [B * N, D], or [B * N, P * D] where each reads P places
States = Callable[[TaskReader, Batch], Tensor]
# From what is read to numbers; the identity where what is read is the answer.
TaskHead = Readout | SpanHead | nn.Identity
# What of a network a task trains: a stack that reads, two of them, or all of it.
Part = Stack | TwoStacks | LanguageModel


class TaskModel(nn.Module):
    """A stack that reads, or both of an encoder-decoder, and a head over what is read of their hidden states."""

    def __init__(self, *, reader: TaskReader, states: States, head: TaskHead, chain: LabelChain | None = None) -> None:
        super().__init__()
        self.reader = reader
        self.states = states
        self.head = head
        self.chain = chain  # over the labels of neighbouring answers

    def forward(self, batch: Batch) -> Tensor:
        """Return logits_NC of the batch's labelled places, [B * N, C]; of a `SpanHead` logits_NWC."""
        logits_NC: Tensor = self.head(self.states(self.reader, batch))
        return logits_NC


# What learns a task: a stack with a head of the task's own, or the whole of a pretrained network.
TaskNetwork = TaskModel | Network


class Task(Protocol):
    """A task's examples, features and head; `counts` and `loss` are what the training loop asks for."""

    @property
    def name(self) -> str:
        """What the command line calls it."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the head's outputs."""
        ...

    @property
    def readout(self) -> ReadoutConfig | None:
        """The head; None = the network's own over the vocabulary, and the whole network is trained."""
        ...

    @property
    def settings(self) -> TaskSettings:
        """What its user chose."""
        ...

    @property
    def num_outputs(self) -> int:
        """Numbers that the head gives for each answer; 0 = there is no head, what is picked is the answer."""
        ...

    @property
    def is_chained(self) -> bool:
        """Whether how likely each label comes after each other is learned, see `LabelChain`."""
        ...

    @property
    def num_places(self) -> int:
        """Places that each answer is read off (P); the head sees their hidden states side by side."""
        ...

    @property
    def chosen_by(self) -> str:
        """The metric by which the best epoch is chosen; the larger, the better."""
        ...

    def read(self, path: Path, *, min_classes: int) -> Labelled[Any]:
        """Read examples from a file, and what of it was mended or left out; raise DataError when it is of no use."""
        ...

    def learned(self, examples: Sequence[Any]) -> "Task":
        """Return the task as these training examples define it; raise DataError when there is nothing to learn."""
        ...

    def check(self, examples: Sequence[Any], source: str) -> None:
        """Raise DataError naming what in other examples cannot have been learned."""
        ...

    def unlabelled(self, value: Unlabelled) -> Example:
        """Return what a user wrote as an example without labels; raise DataError when it is not of this task.

        A string is a line of input: the task says how it becomes an example, so that one that needs more than a text
        reads JSON out of it.
        """
        ...

    def encode(self, examples: Sequence[Any], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces of tokens; `known` False: all that can be answered is asked, no answer is read."""
        ...

    def states(self, part: TaskReader, batch: Batch) -> Tensor:
        """Return what the head sees of each labelled place, hidden_ND."""
        ...

    def answered(self, network: nn.Module, examples: Sequence[Any], encoded: Encoded) -> Iterator[dict[str, Any]]:
        """Yield the answers to each example as they are printed, in order."""
        ...

    def score(self, network: nn.Module, encoded: Encoded) -> Scores:
        """Return how good the answers to labelled examples are."""
        ...

    def shown(self, example: Any, answer: int) -> str:
        """Return what an answer of an example is about, for eyes."""
        ...

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the weight of the labels of this batch."""
        ...

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the terms of the loss."""
        ...


@runtime_checkable
class Settles(Protocol):
    """A task of which something is chosen on the validation examples, when all else is learned."""

    def settled(self, chosen: Mapping[str, float]) -> Task:
        """Return the task with what the best epoch's metrics of the validation examples say."""
        ...


def reads_both_ways(config: ModelConfig) -> bool:
    """Return whether the stack that reads for a task sees what comes after a token: all but a decoder's does."""
    match config.family:
        case Encoder() | EncoderDecoder():
            return True
        case Decoder():
            return False
        case _:
            assert_never(config.family)


def reading_of(
    tokenizer: Tokenizer, row_length: int, config: ModelConfig, readout: ReadoutConfig | None = DEFAULT_READOUT
) -> Reading:
    """Return how a model of this architecture reads texts for a head, in rows of this length.

    Raises:
        ConfigError: the head reads a stack that the model has not, or the model is to write and is an encoder.
    """
    # A table of one segment (RoBERTa) is added to everything; which texts are of which it does not know.
    segments = config.stacks()[0].embedding.num_segments > 1
    if readout is None:
        if isinstance(config.family, Encoder):
            raise ConfigError(
                "an encoder does not write texts: expected a decoder or an encoder-decoder, found an encoder."
            )
        source = isinstance(config.family, EncoderDecoder)
        return Reading(tokenizer, row_length, reads_both_ways(config), segments, source=source)
    again = readout.stack == "writer"
    if again and not isinstance(config.family, EncoderDecoder):
        raise _no_writer(config.family.kind)
    return Reading(tokenizer, row_length, reads_both_ways(config), segments, again)


def reading_part(network: Network, readout: ReadoutConfig | None) -> Part:
    """Return what of a network reads texts for a head, all of it for its own; raise ConfigError: no such stack."""
    if readout is None:
        return network
    match readout.stack:
        case "reader":
            return network.reader
        case "writer":
            if isinstance(network, SequenceToSequence):
                return TwoStacks(encoder=network.encoder, decoder=network.decoder)
            raise _no_writer("model of one stack")
        case _:
            assert_never(readout.stack)


def _no_writer(found: str) -> ConfigError:
    return ConfigError(f"`readout.stack` writer needs an encoder_decoder, found: {found}; use readout.stack=reader.")


def predicted_classes(name: str, network: nn.Module, batch: Batch) -> Predicted:
    """Return the logits of the labelled places, and their summed cross-entropy, weighted."""
    logits_NC = class_logits(network, batch)
    return Predicted(logits_NC, (label_term(name, logits_NC, batch),))


def class_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return logits_NC of the labelled places, in float32 or better."""
    logits_NC: Tensor = network(batch)
    return logits_NC if logits_NC.dtype == torch.float64 else logits_NC.float()


def read_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits_NC of a batch that is only read, in float64, on the processor, wherever the network is."""
    with torch.inference_mode():
        return class_logits(network, batch.to(device_of(network))).double().cpu()


def class_numbers(labels: Iterable[Sequence[str]], names: Sequence[str]) -> list[np.ndarray]:
    """Return the numbers of each example's labels, int64; raise DataError for one that is no class of the task."""
    numbers = {name: number for number, name in enumerate(names)}
    try:
        return [np.array([numbers[label] for label in each], dtype=np.int64) for each in labels]
    except KeyError as error:
        label = error.args[0]
        raise DataError(f"label {label!r} is not one of those learned.{nearest(label, list(names))}") from None


def classes_of(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the classes of the training examples, in alphabetical order; raise DataError for fewer than two."""
    found = tuple(sorted(set(labels)))
    if len(found) < 2:
        raise DataError(f"the training examples have {len(found)} classes; expected at least 2.")
    return found


def check_known(labels: Iterable[str], known: Collection[str], where: str) -> None:
    """Raise DataError naming the first label that is no class of the task."""
    for label in labels:
        if label not in known:
            raise DataError(
                f"{where}: the label `{label}` is not one of the training examples', "
                f"so the model cannot give it.{nearest(label, list(known))}"
            )


def stacks_of(part: Part) -> Stack | TwoStacks:
    """Return what reads for a head of its own; raise TypeError for a whole network."""
    if isinstance(part, LanguageModel):
        raise TypeError("a head of its own reads a stack, and this is a whole network")
    return part


def task_model(network: nn.Module) -> TaskModel:
    """Return a network as the model with a head of its own that it is; raise TypeError when it is none."""
    if not isinstance(network, TaskModel):
        raise TypeError(f"expected a network with a head of its own, found {type(network).__name__}")
    return network
