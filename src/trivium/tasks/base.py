"""What a task is: what reads the text (a pretrained stack), text to tensors and labels, and a head."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, LabelExample
from trivium.data.tokenizer import Tokenizer
from trivium.model.config import Decoder, Encoder, EncoderDecoder, ModelConfig, ReadoutConfig
from trivium.model.heads import Readout, at_places
from trivium.model.stack import Stack
from trivium.objectives.base import Predicted, label_term
from trivium.tasks.pieces import Encoded, Reading

Example = ClassifyExample | LabelExample
# (hidden_BLD, batch) -> hidden_ND of the batch's labelled places, [B * N, D]
Pick = Callable[[Tensor, Batch], Tensor]


class TaskModel(nn.Module):
    """A stack that reads, and a head over what is picked of its hidden states."""

    def __init__(self, *, reader: Stack, pick: Pick, head: Readout) -> None:
        super().__init__()
        self.reader = reader
        self.pick = pick
        self.head = head

    def forward(self, batch: Batch) -> Tensor:
        """Return logits_NC of the batch's labelled places, [B * N, C]."""
        return self.head(self.pick(self.reader(batch), batch))


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
    def readout(self) -> ReadoutConfig:
        """The head."""
        ...

    def read(self, path: Path, *, min_classes: int) -> Sequence[Example]:
        """Read examples from a file; raise DataError when it is not of this task."""
        ...

    def gold(self, example: Any) -> Sequence[str]:
        """Return the labels of the example that are learned and counted."""
        ...

    def unlabelled(self, value: str | Sequence[str]) -> Example:
        """Return what a user wrote as an example without labels; raise DataError when it is not of this task."""
        ...

    def encode(self, examples: Sequence[Any], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces of tokens; `known` False: all that can be answered is asked, no answer is read."""
        ...

    def pick(self, hidden_BLD: Tensor, batch: Batch) -> Tensor:
        """Return what the head sees of each labelled place, hidden_ND."""
        ...

    def row(self, example: Any, log_probabilities_AC: np.ndarray) -> dict[str, Any]:
        """Return an example's answers as they are printed, given the logarithm of each class's probability."""
        ...

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the weight of the labels of this batch."""
        ...

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the labels."""
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


def reading_of(tokenizer: Tokenizer, row_length: int, config: ModelConfig) -> Reading:
    """Return how a model of this architecture reads texts in rows of this length."""
    # A table of one segment (RoBERTa) is added to everything; which texts are of which it does not know.
    segments = config.stacks()[0].embedding.num_segments > 1
    return Reading(tokenizer, row_length, reads_both_ways(config), segments)


def predicted_classes(name: str, network: nn.Module, batch: Batch) -> Predicted:
    """Return the logits of the labelled places, and their summed cross-entropy, weighted."""
    logits_NC = class_logits(network, batch)
    return Predicted(logits_NC, (label_term(name, logits_NC, batch),))


def class_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return logits_NC of the labelled places, in float32 or better."""
    logits_NC: Tensor = network(batch)
    return logits_NC if logits_NC.dtype == torch.float64 else logits_NC.float()


def document_means(hidden_BLD: Tensor, batch: Batch) -> Tensor:
    """Return, for each labelled place, the mean hidden state of its document, hidden_ND."""
    document_BL = batch.layout.document_BL
    document_BN = document_BL.gather(1, batch.places_BN)
    member_BNL = (document_BN[:, :, None] == document_BL[:, None, :]).to(hidden_BLD.dtype)
    mean_BND = torch.bmm(member_BNL, hidden_BLD) / member_BNL.sum(-1, keepdim=True)
    return mean_BND.flatten(0, 1)


def document_edges(hidden_BLD: Tensor, batch: Batch, *, last: bool) -> Tensor:
    """Return, for each labelled place, the first or last hidden state of its document, hidden_ND."""
    document_BL = batch.layout.document_BL
    document_BN = document_BL.gather(1, batch.places_BN)
    member_BNL = document_BN[:, :, None] == document_BL[:, None, :]
    place_L = torch.arange(document_BL.shape[1], device=document_BL.device)
    if last:
        places_BN = place_L.masked_fill(~member_BNL, -1).amax(-1)
    else:
        places_BN = place_L.masked_fill(~member_BNL, len(place_L)).amin(-1)
    return at_places(hidden_BLD, places_BN)


def class_numbers(labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the number of each label, int64; raise DataError for one that is no class of the task."""
    numbers = {name: number for number, name in enumerate(names)}
    try:
        return np.array([numbers[label] for label in labels], dtype=np.int64)
    except KeyError as error:
        raise DataError(f"label {error.args[0]!r} is not one of those learned: {', '.join(names)}.") from None
