"""The first pass over text: a digest of each document, how much there is, a sample, and where each document goes."""

from array import array
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from trivium.core.errors import DataError
from trivium.data.file_bytes import Document, Dropped
from trivium.data.sample import Sample

Report = Callable[[str, float, float], None]
TRAIN, _VALIDATION, _TEST, DUPLICATE = 0, 1, 2, 3  # the first three as in SPLITS
_UNDECIDED = -1
_REPORT_BYTES = 1 << 20


class Assigned(NamedTuple):
    """A document whose split is decided already: a place in SPLITS."""

    text: str
    num_bytes: int
    split: int


Stream = Callable[[], Iterator[Document | Assigned | Dropped]]


class Survey:
    """What the first pass learns: a digest a document, how much there is, and a sample of the text.

    Python's own hash, which is another in every process, is kept beside the digest: it says ten times sooner whether
    the second pass reads the same.
    """

    def __init__(self, sample_bytes: int) -> None:
        self.sample = Sample(sample_bytes)
        self.documents_in = self.bytes_in = 0
        self._digests = array("Q")
        self._splits, self._hashes = array("b"), array("q")

    def read(self, stream: Stream, total: float, report: Report) -> None:
        """Read the stream once."""
        reported = 0
        for item in stream():
            self.bytes_in += item.num_bytes
            if isinstance(item, Dropped):
                self.documents_in += item.documents
            else:
                self.documents_in += 1
                digest, split = _digest(item.text), item.split if isinstance(item, Assigned) else _UNDECIDED
                self._digests.append(digest)
                self._hashes.append(hash(item.text))
                self._splits.append(split)
                if split in (TRAIN, _UNDECIDED):
                    self.sample.add(item.text, digest)
            if total and self.bytes_in - reported >= _REPORT_BYTES:
                reported = self.bytes_in
                report("read", float(reported), max(total, float(reported)))
        if total:
            report("read", float(self.bytes_in), float(self.bytes_in))

    def plan(self, shares: tuple[float, float], boundary: str) -> np.ndarray:
        """Return where each document goes; uint8 [documents], a place in SPLITS or `DUPLICATE`.

        Args:
            shares: of validation and test, where splits are not given.
            boundary: what separates documents, for an error.
        """
        if not self._digests:
            raise DataError("expected documents with text, found none.")
        unique, first = np.unique(np.frombuffer(self._digests, dtype=np.uint64), return_index=True)
        given = np.frombuffer(self._splits, dtype=np.int8)[first]
        plan = np.full(len(self._digests), DUPLICATE, dtype=np.uint8)
        plan[first] = _splits(unique, shares, boundary) if given[0] == _UNDECIDED else given
        if not (plan == TRAIN).any():
            raise DataError("expected documents of the split `train`, found none.")
        return plan

    def digests(self, plan: np.ndarray, split: int) -> frozenset[int]:
        """Return the digests of the documents of a split, when a document of the sample may be of another."""
        chosen = np.frombuffer(self._digests, dtype=np.uint64)[plan == split]
        return frozenset(chosen[np.isin(chosen, np.array(self.sample.digests(), dtype=np.uint64))].tolist())

    def is_same(self, number: int, text: str) -> bool:
        """Return whether a document of the second pass is that of the first."""
        return number < len(self._hashes) and self._hashes[number] == hash(text)

    def __len__(self) -> int:
        return len(self._digests)


def _splits(unique: np.ndarray, shares: tuple[float, float], boundary: str) -> np.ndarray:
    """Return the split of each distinct document, by the place of its digest among all that there could be.

    Args:
        unique: uint64 [documents], sorted.
        shares: of validation and test.
        boundary: what separates documents, for an error.
    """
    count = len(unique)
    validation_share, test_share = shares
    wants_validation = validation_share > 0
    if count == 1 and wants_validation:
        raise DataError(
            f"expected at least 2 different documents, one of them to be held out, found 1; what separates documents "
            f"is --boundary, now {boundary}: try line or blank-line."
        )
    wants_test = test_share > 0 and count >= 2 + wants_validation
    bounds = (validation_share, validation_share + test_share)
    validation, test = np.searchsorted(unique, np.array([int(bound * 2**64) for bound in bounds], dtype=np.uint64))
    num_validation = min(max(int(validation), 1), count - 1 - wants_test) if wants_validation else 0
    num_test = min(max(int(test - validation), 1), count - 1 - num_validation) if wants_test else 0
    splits = np.full(count, TRAIN, dtype=np.uint8)
    splits[:num_validation] = _VALIDATION
    splits[num_validation : num_validation + num_test] = _TEST
    return splits


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
