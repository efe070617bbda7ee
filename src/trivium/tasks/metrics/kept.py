"""Numbers kept an example, in blocks, so that a million examples cost their numbers and nothing more."""

import numpy as np

from trivium.core.errors import DataError

_SMALLEST, _LARGEST = 256, 65_536  # rows of a block


def require_ordered(scores: np.ndarray) -> None:
    """Raise DataError when there is a score that is not a number: it is neither above nor below another one."""
    if np.isnan(scores).any():
        first = int(np.flatnonzero(np.isnan(scores).reshape(len(scores), -1).any(axis=1))[0])
        raise DataError(f"Scores are put in order, so they must be numbers; row {first} has NaN: see what made it.")


class Kept:
    """Rows of numbers that are added at the end.

    Args:
        width: numbers of a row.
        dtype: their type.
    """

    def __init__(self, width: int = 1, dtype: type[np.generic] = np.float32) -> None:
        self.width, self.dtype = width, dtype
        self._full: list[np.ndarray] = []
        self._block = np.empty((_SMALLEST, width), dtype=dtype)
        self._used = 0

    def __len__(self) -> int:
        return sum(len(block) for block in self._full) + self._used

    def add(self, rows: np.ndarray) -> None:
        """Keep rows, [rows, width], or [rows] of width 1."""
        rows = np.asarray(rows, dtype=self.dtype).reshape(-1, self.width)
        while len(rows):
            taken = min(len(rows), len(self._block) - self._used)
            self._block[self._used : self._used + taken] = rows[:taken]
            self._used += taken
            rows = rows[taken:]
            if self._used == len(self._block):
                self._full.append(self._block)
                self._block = np.empty((min(_LARGEST, 2 * self._used), self.width), dtype=self.dtype)
                self._used = 0

    def merge(self, other: "Kept") -> None:
        """Keep what another has kept."""
        for block in [*other._full, other._block[: other._used]]:
            self.add(block)

    def column(self, number: int = 0) -> np.ndarray:
        """Return one number of each row, as a new array [rows]."""
        return np.concatenate([block[:, number] for block in [*self._full, self._block[: self._used]]])
