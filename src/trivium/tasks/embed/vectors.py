"""What a network makes of texts: a vector each, from packed rows, whatever they are read with and however long."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from torch import nn

from trivium.core.progress import nobody
from trivium.data.frame import Framed
from trivium.tasks.base import read_logits
from trivium.tasks.pieces import Piece, Reading
from trivium.tasks.read_batches import PLACES, read_batches

_PIECES = 512  # packed at a time: what bounds memory
_ZERO = np.zeros(1, dtype=np.int64)


def text_pieces(texts: Sequence[str], reading: Reading) -> list[Piece]:
    """Return every window of each text as a piece of its own; those of a text come one after the other.

    A text longer than a row is cut into windows that are as few and as equal as can be, and share no token. A window's
    weight is its share of the text's tokens, those of the tokenizer's frame counted in.

    Args:
        texts: their numbers are the pieces' examples.
        reading: how the model reads.
    """
    pieces = []
    for number, spans in enumerate(reading.tokenizer.encode_batch(texts)):
        windows = _windows(spans.ids, reading)
        tokens = sum(len(window.tokens_L) for window in windows)
        pieces += [
            Piece(window.tokens_L, _ZERO, _ZERO, _ZERO, number, len(window.tokens_L) / tokens, window.segments_L)
            for window in windows
        ]
    return pieces


def text_vectors(
    network: nn.Module,
    pieces: Sequence[Piece],
    reading: Reading,
    *,
    places: int = PLACES,
    told: Callable[[int], None] = nobody,
) -> np.ndarray:
    """Return what stands for each text, float32 [texts, D], as the network has it and of any length.

    Args:
        network: a `TaskModel`, in any type; it is left in the mode (training or not) it was in.
        pieces: of `text_pieces`; a text's windows are averaged by their weights.
        reading: how the model reads.
        places: read at once, see `read_batches`.
        told: how many more pieces have been read.
    """
    vectors = [_read(network, some, reading, places, told) for some in _some(pieces)]
    return np.concatenate(vectors) if vectors else np.zeros((0, 0), dtype=np.float32)


def unit(vectors_SD: np.ndarray) -> np.ndarray:
    """Return vectors of length 1, float32; one of zeros stays what it is."""
    length_S1 = np.linalg.norm(vectors_SD.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors_SD / np.where(length_S1 > 0, length_S1, 1.0), dtype=np.float32)


def _some(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces of a few hundred texts at a time."""
    some: list[Piece] = []
    for _, windows in groupby(pieces, lambda piece: piece.example):
        some += windows
        if len(some) >= _PIECES:
            yield some
            some = []
    if some:
        yield some


def _read(
    network: nn.Module, pieces: list[Piece], reading: Reading, places: int, told: Callable[[int], None]
) -> np.ndarray:
    first, sums_SD = pieces[0].example, np.zeros((0, 0))
    was_training = network.training
    network.eval()
    for _, (batch, example_BN, _) in read_batches(pieces, reading, places=places, told=told):
        vectors_ND = read_logits(network, batch).numpy()
        if not len(sums_SD):
            sums_SD = np.zeros((pieces[-1].example - first + 1, vectors_ND.shape[1]))
        used_N = example_BN.reshape(-1) >= 0
        weights_N = batch.weights_BN.double().numpy().reshape(-1)[used_N]
        np.add.at(sums_SD, example_BN.reshape(-1)[used_N] - first, vectors_ND[used_N] * weights_N[:, None])
    network.train(was_training)
    return sums_SD.astype(np.float32)


def _windows(ids: np.ndarray, reading: Reading) -> list[Framed]:
    frame = reading.tokenizer.frame
    count = max(1, -(-len(ids) // (reading.row_length - frame.size(1))))
    edges = np.arange(count + 1) * len(ids) // count
    framed = [frame.around([ids[edges[number] : edges[number + 1]]]) for number in range(count)]
    # A text of which nothing is left, where the tokenizer puts nothing around it, is its begin alone.
    begin = np.array([reading.tokenizer.special.bos])
    return [window if len(window.tokens_L) else Framed(begin, _ZERO) for window in framed]
