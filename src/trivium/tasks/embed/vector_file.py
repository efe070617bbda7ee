"""Vectors on disk: a NumPy file that grows row by row, and what makes the vectors of a set of texts as wide as long."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.lib import format as numpy_format

from trivium.core.errors import DataError
from trivium.tasks.embed.vectors import unit

_BLOCK = 8192  # rows read at a time: what bounds memory


class RowFile:
    """A `.npy` file that rows are added to; it can be read once the block has ended well.

    Args:
        path: a file to make.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._kind: tuple[np.dtype, tuple[int, ...]] | None = None
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            if self._kind is not None:
                # NumPy leaves room in a header for its first number to grow.
                end = self._file.tell()
                self._file.seek(0)
                self._write_header()
                self._file.seek(end)

    def add(self, rows: np.ndarray) -> None:
        """Write rows, [rows, ...], all of one type and shape."""
        kind = (rows.dtype, rows.shape[1:])
        if self._kind is None:
            self._kind = kind
            self._write_header()
        if kind != self._kind:
            raise ValueError(f"expected rows of {self._kind}, found {kind}")
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self.rows += len(rows)

    def _write_header(self) -> None:
        if self._kind is None:
            return
        kind, shape = self._kind
        description = {"descr": numpy_format.dtype_to_descr(kind), "fortran_order": False, "shape": (self.rows, *shape)}
        numpy_format.write_array_header_1_0(self._file, description)


class Whitening(NamedTuple):
    """What makes a set of vectors centred, uncorrelated and equally wide (Su et al. 2021, equations 5 and 7)."""

    mean_D: np.ndarray
    matrix_DD: np.ndarray  # a direction in which the set has no width is left out of what it gives

    def applied(self, vectors_SD: np.ndarray) -> np.ndarray:
        """Return vectors made so, float64, not of length 1."""
        return np.asarray((vectors_SD - self.mean_D) @ self.matrix_DD)


def fitted_whitening(blocks: Iterable[np.ndarray]) -> Whitening:
    """Return the whitening of a set of vectors; mean and covariance are updated block by block (Chan et al. 1983).

    Args:
        blocks: the vectors, [some, D] each.

    Raises:
        DataError: there are fewer than two different vectors.
    """
    count, mean_D, moments_DD = 0, np.zeros(0), np.zeros((0, 0))
    for block in blocks:
        block_SD = np.asarray(block, dtype=np.float64)
        if not len(block_SD):
            continue
        if not count:
            mean_D, moments_DD = np.zeros(block_SD.shape[1]), np.zeros((block_SD.shape[1],) * 2)
        own_D = block_SD.mean(axis=0)
        centred_SD, apart_D, together = block_SD - own_D, own_D - mean_D, count + len(block_SD)
        moments_DD = (
            moments_DD + centred_SD.T @ centred_SD + np.outer(apart_D, apart_D) * (count * len(block_SD) / together)
        )
        mean_D, count = mean_D + apart_D * (len(block_SD) / together), together
    widths_D, directions_DD = np.linalg.eigh(moments_DD / max(1, count))
    # Of n vectors at most n - 1 directions have a width; of the others only rounding is left, relative to the widest.
    floor = 1e-7 * max(widths_D, default=0.0)
    if not count or max(widths_D) <= 1e-12 * float(mean_D @ mean_D):
        raise DataError(f"--whiten needs vectors that differ, of two texts at least; found {count} that do not.")
    scale_D = np.where(widths_D > floor, 1.0 / np.sqrt(np.maximum(widths_D, floor)), 0.0)
    return Whitening(mean_D, directions_DD * scale_D)


def row_blocks(path: Path) -> Iterator[np.ndarray]:
    """Yield the rows of a `.npy` file some thousand at a time, in memory that does not grow."""
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    for start in range(0, len(rows), _BLOCK):
        yield np.array(rows[start : start + _BLOCK])


def save_vectors(path: Path, blocks: Iterable[np.ndarray], *, whiten: bool) -> tuple[int, int]:
    """Write vectors of length 1 as a float32 array [texts, D], whole or not at all; return its shape.

    Args:
        path: a `.npy` file to make.
        blocks: vectors of any length, [some, D] each.
        whiten: see `Whitening`; it is fitted on these vectors.

    Raises:
        DataError: there is no vector, or nothing to fit on.
    """
    partial, raw = (path.with_name(f".{path.name}.{part}") for part in ("partial", "raw"))
    try:
        if whiten:
            _write(raw, blocks)
            whitening = fitted_whitening(row_blocks(raw))
            blocks = map(whitening.applied, row_blocks(raw))
        shape = _write(partial, map(unit, blocks))
        partial.replace(path)
    finally:
        for file in (partial, raw):
            file.unlink(missing_ok=True)
    return shape


def _write(path: Path, blocks: Iterable[np.ndarray]) -> tuple[int, int]:
    size = 0
    with RowFile(path) as file:
        for block in blocks:
            file.add(block)
            size = block.shape[1]
    if not file.rows:
        raise DataError("there are no texts; expected at least one.")
    return file.rows, size
