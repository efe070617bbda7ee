"""A class for each text, or pair of texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.frame import Framed
from trivium.data.labelled import ClassifyExample, read_classify
from trivium.model.config import DEFAULT_READOUT, ReadoutConfig
from trivium.model.pooling import document_edges, document_means
from trivium.objectives.base import Predicted
from trivium.tasks.base import class_numbers, predicted_classes
from trivium.tasks.pieces import Encoded, Piece, Reading, window_starts


@dataclass(frozen=True)
class Classify:
    """One class a text, read off the mean of its hidden states, or off the first or last of them.

    The mean is no worse than the begin token of an encoder or the end token of a decoder: 700 docstrings by area, two
    pretrained tiny models, two seeds: 57.5 % right against 57.1 %.

    A text longer than a row is read in windows; their log-probabilities are averaged. Of a pair every window shows
    both texts, the shorter one whole where half a row holds it.

    Args:
        labels: the classes.
        readout: the head, and what stands for a text.
    """

    labels: tuple[str, ...]
    readout: ReadoutConfig = DEFAULT_READOUT
    name: str = "classify"

    def read(self, path: Path, *, min_classes: int) -> Sequence[ClassifyExample]:
        """Read texts and their classes."""
        return read_classify(path, min_classes=min_classes)

    def gold(self, example: ClassifyExample) -> Sequence[str]:
        """Return the example's class."""
        return (example.label,)

    def unlabelled(self, value: str | Sequence[str]) -> ClassifyExample:
        """Return a text, or a list of a text and its pair, as an example."""
        texts = (value,) if isinstance(value, str) else tuple(value)
        if len(texts) not in (1, 2):
            raise DataError(f"classify reads a text, or a list of two; found a list of {len(texts)}.")
        return ClassifyExample(texts[0], "", texts[1] if len(texts) == 2 else None)

    def encode(self, examples: Sequence[ClassifyExample], reading: Reading, *, known: bool = True) -> Encoded:
        """Return examples as pieces, each of which answers for the whole example."""
        firsts = reading.tokenizer.encode_batch([example.text for example in examples])
        seconds = iter(reading.tokenizer.encode_batch([e.text_pair for e in examples if e.text_pair is not None]))
        gold = [class_numbers(self.gold(e), self.labels) if known else np.zeros(1, np.int64) for e in examples]
        pieces: list[Piece] = []
        for number, (example, first) in enumerate(zip(examples, firsts, strict=True)):
            parts = [first.ids] if example.text_pair is None else [first.ids, next(seconds).ids]
            windows = _windows(parts, reading)
            share = 1.0 / len(windows)
            pieces += [
                Piece(tokens_L, _ZERO, gold[number], _ZERO, number, share, segments_L=segments_L)
                for tokens_L, segments_L in windows
            ]
        return Encoded(pieces, gold, reading)

    def pick(self, hidden_BLD: Tensor, batch: Batch) -> Tensor:
        """Return what stands for each text."""
        match self.readout.pooling:
            case "mean":
                return document_means(hidden_BLD, batch.layout, batch.places_BN)
            case "first":
                return document_edges(hidden_BLD, batch.layout, batch.places_BN, last=False)
            case "last":
                return document_edges(hidden_BLD, batch.layout, batch.places_BN, last=True)
            case _:
                assert_never(self.readout.pooling)

    def row(self, example: ClassifyExample, log_probabilities_AC: np.ndarray) -> dict[str, Any]:
        """Return the text, its most probable class, and the probability of each class."""
        probabilities_C = np.exp(log_probabilities_AC[0])
        probabilities = {name: round(float(p), 6) for name, p in zip(self.labels, probabilities_C, strict=True)}
        text = {"text": example.text} | ({} if example.text_pair is None else {"text_pair": example.text_pair})
        return {**text, "label": self.labels[int(probabilities_C.argmax())], "probabilities": probabilities}

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of texts; a window counts as its share of one."""
        return {self.name: float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return the cross-entropy of the classes."""
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the classes, and the loss."""
        return predicted_classes(self.name, network, batch)


_ZERO = np.zeros(1, dtype=np.int64)


def _windows(parts: list[np.ndarray], reading: Reading) -> list[Framed]:
    """Return the windows over a text or a pair, as few as show all of it, with their special tokens."""
    frame, special = reading.tokenizer.frame, reading.tokenizer.special
    room = reading.row_length - frame.size(len(parts))
    sizes = [room]
    if len(parts) == 2:
        shorter = int(len(parts[1]) < len(parts[0]))
        held = min(len(parts[shorter]), room // 2)
        sizes = [held, room - held] if shorter == 0 else [room - held, held]
    starts = [window_starts(len(ids), size, overlap=0) for ids, size in zip(parts, sizes, strict=True)]
    count = max(len(each) for each in starts)
    windows = []
    for number in range(count):
        shown = []
        for ids, size, begins in zip(parts, sizes, starts, strict=True):
            begin = int(begins[number * len(begins) // count])
            shown.append(ids[begin : begin + size])
        framed = frame.around(shown)
        # A text of which nothing is left, where the tokenizer puts nothing around it, is its begin alone.
        windows.append(framed if len(framed.tokens_L) else Framed(np.array([special.bos]), _ZERO))
    return windows
