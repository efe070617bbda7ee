"""Pieces side by side in the rows of a batch: all of them at once, for there are many and they are small."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np


class Laid(NamedTuple):
    """Where the parts of pieces (tokens, answers) lie in a batch's rows; see `side_by_side`.

    Args:
        shape: rows of the batch, and places in a row.
        number_U, start_U, size_U: int64, of each piece the how-manieth of its row it is, where in the row its parts
            begin, and how many they are.
        places: int64, of all parts of all pieces, one after another, in the flattened batch.
    """

    shape: tuple[int, int]
    number_U: np.ndarray
    start_U: np.ndarray
    size_U: np.ndarray
    places: np.ndarray

    @classmethod
    def side_by_side(cls, counts: Sequence[int], sizes: Sequence[int], shape: tuple[int, int]) -> Self:
        """Return where the parts lie when those of a row's pieces follow each other without a gap.

        Args:
            counts: pieces of each row.
            sizes: parts of each piece, those of the first row first.
            shape: of the batch.

        Raises:
            ValueError: there are more rows than the batch has, or a row has no room for its parts.
        """
        row_U, size_U = np.repeat(np.arange(len(counts)), list(counts)), np.array(sizes, dtype=np.int64)
        before_U, first_U = np.cumsum(size_U) - size_U, np.searchsorted(row_U, row_U)
        start_U = before_U - before_U[first_U]
        if len(counts) > shape[0] or (start_U + size_U).max(initial=0) > shape[1]:
            raise ValueError(f"{len(counts)} rows of pieces do not fit into {shape[0]} of {shape[1]} places")
        places = np.repeat(row_U * shape[1] + start_U - before_U, size_U) + np.arange(size_U.sum())
        return cls(shape, np.arange(len(row_U)) - first_U, start_U, size_U, places)

    def all(self, parts: Sequence[np.ndarray], *, unused: int = 0, dtype: Any = np.int64) -> np.ndarray:
        """Return the batch of what is given of each part, [rows, places] or [rows, places, ...]."""
        found = np.full((self.shape[0] * self.shape[1], *(parts[0].shape[1:] if parts else ())), unused, dtype=dtype)
        if parts:
            found[self.places] = np.concatenate(parts)
        return found.reshape(*self.shape, *found.shape[1:])

    def each(self, values: Sequence[float] | np.ndarray, *, unused: int = 0, dtype: Any = np.int64) -> np.ndarray:
        """Return the batch, [rows, places], of what is given of each piece: the same in all of its parts."""
        found = np.full(self.shape[0] * self.shape[1], unused, dtype=dtype)
        found[self.places] = np.repeat(np.asarray(values, dtype=dtype), self.size_U)
        return found.reshape(self.shape)
