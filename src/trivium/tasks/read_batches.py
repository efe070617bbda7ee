"""Pieces in batches that are only read: those of like lengths together, as many as a budget of places has room for."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from trivium.core.progress import nobody
from trivium.tasks.pieces import Packed, Piece, Reading, pack

PLACES = 2048  # a batch: enough for fast products, and its widest states stay near a small machine's cache


class ReadBatch(NamedTuple):
    """A batch of one piece a row."""

    pieces: list[Piece]
    packed: Packed


def read_batches(
    pieces: Sequence[Piece], reading: Reading, *, places: int = PLACES, told: Callable[[int], None] = nobody
) -> Iterator[ReadBatch]:
    """Yield all pieces in batches, the longest first.

    Rows are as long as a batch's longest piece: with enough pieces to choose from hardly a place is padding, and a
    token is compared with the tokens of its own text alone, which packed rows cost several times as much.

    Args:
        pieces: in any order.
        reading: how they are read.
        places: rows times their length, at most, unless a piece alone is longer.
        told: how many more pieces have been read, when the next batch is asked for.
    """
    longest_first = sorted(pieces, key=lambda piece: -len(piece.tokens_L))
    start = 0
    while start < len(longest_first):
        length = len(longest_first[start].tokens_L)
        chosen = longest_first[start : start + max(1, places // length)]
        # At least one, so that what is read has no empty shapes.
        capacity = max(1, *(len(piece.places_N) for piece in chosen))
        rows = [[piece] for piece in chosen]
        yield ReadBatch(chosen, pack(rows, reading, num_rows=len(chosen), capacity=capacity, length=length))
        start += len(chosen)
        told(len(chosen))
