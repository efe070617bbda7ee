"""A bounded sample of text, for training a tokenizer on."""

import heapq
from collections.abc import Sequence

import numpy as np

PIECE_CHARACTERS = 8192


class Sample:
    """Pieces of documents with the lowest random priorities, up to a number of bytes.

    The priority is a function of the text, so the sample does not depend on the order of the documents.

    Args:
        max_bytes: of text in UTF-8, at most; no less than one piece (32 KiB).
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._bound = 2**64 - 1  # priorities above it were once too much and stay out, whatever comes later
        self._heap: list[tuple[int, int, int, str]] = []  # -priority, bytes, digest of the document, text
        self._held: set[int] = set()

    def add(self, texts: Sequence[str], digests: np.ndarray) -> None:
        """Offer documents.

        Args:
            texts: of the documents.
            digests: uint64 [documents], 64 bits that name each text.
        """
        pieces = np.array([-(-len(text) // PIECE_CHARACTERS) for text in texts], dtype=np.int64)
        text_U = np.repeat(np.arange(len(texts)), pieces)
        number_U = np.arange(len(text_U)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        priority_U = _mixed(digests[text_U] + number_U.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        low = np.flatnonzero(priority_U <= np.uint64(self._bound))
        columns = (each[low].tolist() for each in (text_U, number_U, priority_U))
        for text, number, priority in zip(*columns, strict=True):
            if priority <= self._bound and priority not in self._held:
                piece = texts[text][number * PIECE_CHARACTERS : (number + 1) * PIECE_CHARACTERS]
                size = len(piece.encode())
                heapq.heappush(self._heap, (-priority, size, int(digests[text]), piece))
                self._held.add(priority)
                self._num_bytes += size
                while self._num_bytes > self._max_bytes:
                    highest, size, _, _ = heapq.heappop(self._heap)
                    self._bound = -highest - 1
                    self._held.remove(-highest)
                    self._num_bytes -= size

    def digests(self) -> list[int]:
        """Return the digests of the documents that pieces are from."""
        return [digest for _, _, digest, _ in self._heap]

    def texts(self, allowed: frozenset[int]) -> list[str]:
        """Return the pieces of the allowed documents, lowest priority first."""
        return [text for _, _, digest, text in sorted(self._heap, reverse=True) if digest in allowed]


def _mixed(values: np.ndarray) -> np.ndarray:
    # SplitMix64's finaliser: the digest itself decides the split, so it cannot decide the sample too.
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
