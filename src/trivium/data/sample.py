"""A bounded sample of text, for training a tokenizer on."""

import heapq

PIECE_CHARACTERS = 8192
_MASK = 2**64 - 1


class Sample:
    """Pieces of documents with the lowest random priorities, up to a number of bytes.

    The priority is a function of the text, so the sample does not depend on the order of the documents.

    Args:
        max_bytes: of text in UTF-8, at most; no less than one piece (32 KiB).
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._bound = _MASK + 1  # what was once too much stays out, whatever comes later
        self._heap: list[tuple[int, int, int, str]] = []  # -priority, bytes, digest of the document, text
        self._held: set[int] = set()

    def add(self, text: str, digest: int) -> None:
        """Offer a document, named by a 64-bit digest of its text."""
        for number in range(-(-len(text) // PIECE_CHARACTERS)):
            priority = _mixed(digest + number * 0x9E3779B97F4A7C15)
            if priority < self._bound and priority not in self._held:
                piece = text[number * PIECE_CHARACTERS : (number + 1) * PIECE_CHARACTERS]
                size = len(piece.encode())
                heapq.heappush(self._heap, (-priority, size, digest, piece))
                self._held.add(priority)
                self._num_bytes += size
                while self._num_bytes > self._max_bytes:
                    highest, size, _, _ = heapq.heappop(self._heap)
                    self._bound = -highest
                    self._held.remove(-highest)
                    self._num_bytes -= size

    def digests(self) -> list[int]:
        """Return the digests of the documents that pieces are from."""
        return [digest for _, _, digest, _ in self._heap]

    def texts(self, allowed: frozenset[int]) -> list[str]:
        """Return the pieces of the allowed documents, lowest priority first."""
        return [text for _, _, digest, text in sorted(self._heap, reverse=True) if digest in allowed]


def _mixed(value: int) -> int:
    # SplitMix64's finaliser: the digest itself decides the split, so it cannot decide the sample too.
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
