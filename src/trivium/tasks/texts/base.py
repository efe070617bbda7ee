"""What tasks share that read whole texts, or pairs of them: windows, what stands for a text, and how it is printed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, assert_never

import numpy as np
from torch import Tensor

from trivium.core.batch import Batch
from trivium.core.errors import DataError
from trivium.data.frame import Framed
from trivium.model.config import ReadoutConfig
from trivium.model.heads import labelled_states
from trivium.model.pooling import document_edges, document_means, document_weighted_means
from trivium.tasks.base import TaskReader, Unlabelled
from trivium.tasks.pieces import Encoded, Piece, Reading, window_starts

_ZERO = np.zeros(1, dtype=np.int64)


class Texts(Protocol):
    """An example that is a text, or a pair of texts."""

    @property
    def text(self) -> str:
        """The text."""
        ...

    @property
    def text_pair(self) -> str | None:
        """The second text of a pair."""
        ...


def text_windows(examples: Sequence[Texts], reading: Reading) -> Iterator[tuple[int, float, Framed]]:
    """Yield every window over each text or pair: the example's number, the window's share of it, and what it shows."""
    firsts = reading.tokenizer.encode_batch([example.text for example in examples])
    seconds = iter(reading.tokenizer.encode_batch([e.text_pair for e in examples if e.text_pair is not None]))
    for number, (example, first) in enumerate(zip(examples, firsts, strict=True)):
        parts = [first.ids] if example.text_pair is None else [first.ids, next(seconds).ids]
        windows = _windows(parts, reading)
        yield from ((number, 1.0 / len(windows), window) for window in windows)


def pooled(part: TaskReader, batch: Batch, readout: ReadoutConfig) -> Tensor:
    """Return what stands for the text at each place, hidden_ND."""
    match readout.pooling:
        case "mean":
            return document_means(part(batch), batch.layout, batch.places_BN)
        case "first" | "last" as edge:
            edges_BN = document_edges(batch.layout, batch.places_BN, last=edge == "last")
            return labelled_states(part, replace(batch, places_BN=edges_BN))
        case "weighted":
            return document_weighted_means(part(batch), batch.layout, batch.places_BN)
        case _:
            assert_never(readout.pooling)


def one_or_two(value: Unlabelled, task: str) -> tuple[str, str | None]:
    """Return a text and its pair, of a text or a list of two; raise DataError for another number."""
    if isinstance(value, Mapping):
        raise DataError(f"{task} reads a text, or a list of two; found an object.")
    texts = (value,) if isinstance(value, str) else tuple(value)
    if len(texts) not in (1, 2):
        raise DataError(f"{task} reads a text, or a list of two; found a list of {len(texts)}.")
    return texts[0], texts[1] if len(texts) == 2 else None


def encode_numbers(examples: Sequence[Texts], targets_EC: np.ndarray, reading: Reading) -> Encoded:
    """Return examples as pieces, each of which answers for the whole example with numbers.

    Args:
        examples: texts.
        targets_EC: the right numbers of each.
        reading: how the model reads.
    """
    pieces = [
        Piece(tokens_L, _ZERO, _ZERO, _ZERO, number, share, segments_L, targets_EC[number : number + 1])
        for number, share, (tokens_L, segments_L) in text_windows(examples, reading)
    ]
    return Encoded(pieces, [targets_EC[number : number + 1] for number in range(len(examples))], reading)


def shown_texts(example: Texts) -> str:
    """Return the text, and its pair, in one line."""
    return " | ".join(printed_texts(example).values())


def printed_texts(example: Texts) -> dict[str, str]:
    """Return the text, and its pair where there is one, by the names of their columns."""
    return {"text": example.text} | ({} if example.text_pair is None else {"text_pair": example.text_pair})


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
