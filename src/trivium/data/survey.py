"""The first pass over text: a digest of each document, how much there is, a sample, and where each document goes."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import compress
from typing import NamedTuple

import numpy as np

from trivium.core.errors import DataError
from trivium.data.file_bytes import Document, Dropped
from trivium.data.sample import Sample

Report = Callable[[str, float, float], None]
TRAIN, _VALIDATION, _TEST, DUPLICATE = 0, 1, 2, 3  # the first three as in SPLITS
UNDECIDED = -1
_PART_BYTES, _PART_ITEMS = 1_000_000, 1 << 14


class Assigned(NamedTuple):
    """A document whose split is decided already: a place in SPLITS."""

    text: str
    num_bytes: int
    split: int


Stream = Callable[[], Iterator[Document | Assigned | Dropped]]


class Part(NamedTuple):
    """What comes next of a stream: documents, one list a column, and what was dropped among them.

    A document's split is a place in SPLITS, or `UNDECIDED`.
    """

    texts: list[str]
    num_bytes: list[int]
    splits: list[int]
    dropped: list[Dropped]


def parts(stream: Stream) -> Iterator[Part]:
    """Yield a stream in parts of bounded size: what is done with all of a part costs less than with each."""
    part, size = Part([], [], [], []), 0
    for item in stream():
        if isinstance(item, Dropped):
            part.dropped.append(item)
        else:
            part.texts.append(item.text)
            part.num_bytes.append(item.num_bytes)
            part.splits.append(item.split if isinstance(item, Assigned) else UNDECIDED)
        size += item.num_bytes
        if size >= _PART_BYTES or len(part.texts) + len(part.dropped) >= _PART_ITEMS:
            yield part
            part, size = Part([], [], [], []), 0
    if part.texts or part.dropped:
        yield part


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
        for part in parts(stream):
            digests = np.frombuffer(b"".join(map(_digest, part.texts)), dtype="<u8").astype(np.uint64)
            self._digests.frombytes(digests.tobytes())
            self._hashes.extend(map(hash, part.texts))
            self._splits.extend(part.splits)
            may_train = np.isin(part.splits, (TRAIN, UNDECIDED))
            self.sample.add(list(compress(part.texts, may_train)), digests[may_train])
            self.documents_in += len(part.texts) + sum(each.documents for each in part.dropped)
            self.bytes_in += sum(part.num_bytes) + sum(each.num_bytes for each in part.dropped)
            if total:
                report("read", float(self.bytes_in), max(total, float(self.bytes_in)))
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
        plan[first] = _splits(unique, shares, boundary) if given[0] == UNDECIDED else given
        if not (plan == TRAIN).any():
            raise DataError("expected documents of the split `train`, found none.")
        return plan

    def digests(self, plan: np.ndarray, split: int) -> frozenset[int]:
        """Return the digests of the documents of a split, when a document of the sample may be of another."""
        chosen = np.frombuffer(self._digests, dtype=np.uint64)[plan == split]
        return frozenset(chosen[np.isin(chosen, np.array(self.sample.digests(), dtype=np.uint64))].tolist())

    def are_same(self, first: int, texts: Sequence[str]) -> bool:
        """Return whether documents of the second pass, `first` and those after it, are those of the first."""
        return self._hashes[first : first + len(texts)] == array("q", map(hash, texts))

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


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
