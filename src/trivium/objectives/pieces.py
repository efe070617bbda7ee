"""The documents of a packed row, one piece after the other."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from trivium.core.special import SpecialTokens


class Piece(NamedTuple):
    """What one row holds of a document: `start` to `stop` of its places."""

    document: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of its tokens."""
        return self.stop - self.start


def pieces_of(document_L: np.ndarray) -> Iterator[Piece]:
    """Yield the documents of a row in their order; unused places are of none.

    Args:
        document_L: int32, the document of each place, -1 = unused; each lies in one piece.
    """
    edges = np.flatnonzero(np.diff(document_L, prepend=-2, append=-2))
    for start, stop in pairwise(edges):
        if document_L[start] >= 0:
            yield Piece(int(document_L[start]), int(start), int(stop))


def without_ends(tokens_L: np.ndarray, special: SpecialTokens) -> slice:
    """Return where the text of a document lies between its begin and its end token, each of which may be missing."""
    begin = int(len(tokens_L) > 0 and tokens_L[0] == special.bos)
    end = int(len(tokens_L) > begin and tokens_L[-1] == special.eos)
    return slice(begin, len(tokens_L) - end)
