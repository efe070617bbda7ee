"""Prepared data on disk: memory-mapped tokens, two bits a token, document offsets, and a manifest of it all."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from trivium.core.errors import DataError
from trivium.core.files import sha256, write_json
from trivium.data.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    SEGMENTER,
    Ledger,
    Manifest,
    ShardEntry,
    SplitEntry,
    TokenizerEntry,
    fingerprint_of,
    read_manifest,
)
from trivium.data.tokenizer import Tokenizer
from trivium.data.words import WORD_BIT

TOKENIZER = "tokenizer.json"
SPLITS = ("train", "validation", "test")
DEFAULT_SHARD_TOKENS = 2**28
_ENDINGS = ("tokens", "bits", "offsets")
_PIECE_BYTES = 1 << 16


class ShardWriter:
    """Writes the documents of one split as they come, in shards of about `max_shard_tokens`, in constant memory.

    Args:
        folder: of the split; it is made.
        vocabulary_size: ids are stored in 2 bytes up to 65,535 of them, in 4 above.
        max_shard_tokens: a new shard begins after the document that reaches this; no document is cut.
    """

    def __init__(self, folder: Path, *, vocabulary_size: int, max_shard_tokens: int = DEFAULT_SHARD_TOKENS) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._dtype = _token_type(vocabulary_size)
        self._max_shard_tokens = max_shard_tokens
        self._shards: list[ShardEntry] = []
        self._num_bytes = 0
        self._files = ExitStack()
        self._open: tuple[_HashedFile, ...] = ()
        self._tokens = self._documents = 0

    def add(self, tokens: np.ndarray, bits: np.ndarray, counts: np.ndarray, num_bytes: int) -> None:
        """Write some documents.

        Args:
            tokens: integer [tokens], as they are to be read again (bos and eos included), one document after another.
            bits: uint8 [tokens], see `words.token_bits`.
            counts: integer [documents], how many tokens each has.
            num_bytes: of all their text in UTF-8.
        """
        ends = np.cumsum(counts)
        if not len(tokens) == len(bits) == (ends[-1] if len(ends) else 0):
            raise ValueError(f"tokens and bits differ in length: {len(tokens)}, {len(bits)}, {counts.sum()}.")
        self._num_bytes += num_bytes
        first = begin = 0
        while first < len(ends):
            if not self._open:
                self._begin()
            # Up to the document that fills the shard.
            last = int(np.searchsorted(ends, begin + self._max_shard_tokens - self._tokens)) + 1
            here, end = ends[first:last], int(ends[min(last, len(ends)) - 1])
            token_file, bit_file, offset_file = self._open
            token_file.write(tokens[begin:end].astype(self._dtype))
            bit_file.write(bits[begin:end].astype(np.uint8))
            offset_file.write((here - begin + self._tokens).astype("<i8"))
            self._tokens += end - begin
            self._documents += len(here)
            first, begin = first + len(here), end
            if self._tokens >= self._max_shard_tokens:
                self._end()

    def close(self) -> SplitEntry:
        """Finish the last shard and return what was written."""
        self._end()
        return SplitEntry(
            documents=sum(shard.documents for shard in self._shards),
            tokens=sum(shard.tokens for shard in self._shards),
            bytes=self._num_bytes,
            shards=tuple(self._shards),
        )

    def abandon(self) -> None:
        """Close the files, which are of no more use."""
        self._files.close()

    def _begin(self) -> None:
        paths = _shard_files(self._folder, len(self._shards))
        self._open = tuple(_HashedFile(self._files.enter_context(path.open("wb"))) for path in paths)
        self._open[2].write(np.zeros(1, dtype="<i8"))
        self._tokens = self._documents = 0

    def _end(self) -> None:
        if self._open:
            digest = _combined([file.digest() for file in self._open])
            self._files.close()  # a disk that is full may say so only here
            self._shards.append(ShardEntry(tokens=self._tokens, documents=self._documents, sha256=digest))
            self._open = ()


class DataWriter:
    """Writes a prepared folder: documents as ids to any split, then the manifest. A context manager.

    Args:
        folder: an existing empty folder, see `core.files.new_folder`.
        tokenizer: that made the ids.
        max_shard_tokens: see `ShardWriter`.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, max_shard_tokens: int = DEFAULT_SHARD_TOKENS) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._max_shard_tokens = max_shard_tokens
        self._writers: dict[str, ShardWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.abandon()

    def add(self, split: str, tokens: np.ndarray, bits: np.ndarray, counts: np.ndarray, num_bytes: int) -> None:
        """Write some documents, each between bos and eos.

        Bos and eos carry the word bit, so that no word reaches over a document's end, and not the sentence bit.

        Args:
            split: "train", "validation" or "test".
            tokens: integer [tokens], the ids without bos and eos, one document after another.
            bits: uint8 [tokens], see `words.token_bits`.
            counts: integer [documents], how many tokens each has.
            num_bytes: of all their text in UTF-8.
        """
        if split not in self._writers:
            self._writers[split] = ShardWriter(
                self._folder / split,
                vocabulary_size=self._tokenizer.vocabulary_size,
                max_shard_tokens=self._max_shard_tokens,
            )
        special, size = self._tokenizer.special, len(tokens) + 2 * len(counts)
        whole_tokens, whole_bits = np.empty(size, dtype=np.int64), np.full(size, WORD_BIT, dtype=np.uint8)
        ends = np.cumsum(counts + 2)
        whole_tokens[ends - counts - 2], whole_tokens[ends - 1] = special.bos, special.eos
        own = np.arange(len(tokens)) + np.repeat(2 * np.arange(len(counts)) + 1, counts)
        whole_tokens[own], whole_bits[own] = tokens, bits
        self._writers[split].add(whole_tokens, whole_bits, counts + 2, num_bytes)

    def finish(
        self, *, ledger: Ledger, lossless: bool, boundary: str, vocabulary_requested: int | None = None
    ) -> Manifest:
        """Write the tokenizer and the manifest, and return the manifest, whose fields the arguments are."""
        (self._folder / TOKENIZER).write_bytes(self._tokenizer.to_bytes())
        splits = {name: self._writers[name].close() for name in SPLITS if name in self._writers}
        tokenizer = TokenizerEntry(kind=self._tokenizer.kind, sha256=sha256(self._folder / TOKENIZER))
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            tokenizer=tokenizer,
            vocabulary_size=self._tokenizer.vocabulary_size,
            vocabulary_requested=vocabulary_requested,
            lossless=lossless,
            segmenter=SEGMENTER,
            boundary=boundary,
            splits=splits,
            ledger=ledger,
            fingerprint=fingerprint_of(tokenizer.sha256, splits),
        )
        write_json(self._folder / MANIFEST, manifest.model_dump(mode="json"))
        return manifest


class Split:
    """The documents of one split, read from disk as they are asked for.

    Args:
        name: of the split.
        folder: that holds its shards.
        entry: what the manifest says of it.
        vocabulary_size: which decides in how many bytes an id is stored.
    """

    def __init__(self, name: str, folder: Path, entry: SplitEntry, vocabulary_size: int) -> None:
        self.name = name
        self.num_documents = entry.documents
        self.num_tokens = entry.tokens
        self.num_bytes = entry.bytes
        dtypes: tuple[np.dtype[Any], ...] = (_token_type(vocabulary_size), np.dtype("u1"), np.dtype("<i8"))
        self._shards = [
            tuple(_mapped(path, dtype) for path, dtype in zip(_shard_files(folder, number), dtypes, strict=True))
            for number in range(len(entry.shards))
        ]
        self._ends = np.cumsum([shard.documents for shard in entry.shards])

    @cached_property
    def lengths_S(self) -> np.ndarray:
        """Tokens of each document, bos and eos included; int64 [documents]."""
        return np.concatenate([np.diff(offsets) for _, _, offsets in self._shards]).astype(np.int64)

    def read(self, document: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens `start` to `stop` of a document and their bits, as views of the files.

        Args:
            document: its number, from 0.
            start: first token, from 0.
            stop: one past the last, at most the document's length.

        Raises:
            IndexError: no such document or tokens.
        """
        if not 0 <= document < self.num_documents:
            raise IndexError(f"document {document} of {self.num_documents}")
        shard = int(np.searchsorted(self._ends, document, side="right"))
        tokens, bits, offsets = self._shards[shard]
        local = document - (int(self._ends[shard - 1]) if shard else 0)
        first, last = int(offsets[local]), int(offsets[local + 1])
        if not 0 <= start <= stop <= last - first:
            raise IndexError(f"tokens {start} to {stop} of {last - first}")
        return tokens[first + start : first + stop], bits[first + start : first + stop]

    def token_counts(self, vocabulary_size: int, *, max_tokens: int = 2**27) -> np.ndarray:
        """Return how often each token of the vocabulary is in the split's first `max_tokens`, int64 [V]."""
        counts_V = np.zeros(vocabulary_size, dtype=np.int64)
        left = max_tokens
        for tokens, _, _ in self._shards:
            counts_V += np.bincount(tokens[:left], minlength=vocabulary_size)
            left = max(0, left - len(tokens))
        return counts_V

    def documents(self) -> Iterator[np.ndarray]:
        """Yield the tokens of each document, bos and eos included, in the order in which they are stored."""
        for tokens, _, offsets in self._shards:
            for place in range(len(offsets) - 1):
                yield tokens[int(offsets[place]) : int(offsets[place + 1])]


class PreparedData:
    """A folder that `prepare` wrote; see `open`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path) -> "PreparedData":
        """Open a prepared folder.

        Raises:
            DataError: no such folder; not a prepared one; of another format version; a file that is missing or not
                as long as the manifest says.
        """
        if not path.is_dir():
            raise DataError(f"{path}: no such folder; make one with `trivium prepare TEXT --out {path}`.")
        manifest = read_manifest(path)
        tokenizer = path / TOKENIZER
        if not tokenizer.is_file() or sha256(tokenizer) != manifest.tokenizer.sha256:
            raise DataError(f"{tokenizer}: missing or damaged; prepare the data again.")
        for file, size in _expected_sizes(path, manifest).items():
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                shown = "no such file" if found is None else f"{found:,}"
                raise DataError(f"{file}: damaged: expected {size:,} bytes, found {shown}; prepare the data again.")
        return cls(path, manifest)

    @property
    def fingerprint(self) -> str:
        """What names the content: equal data have equal ones."""
        return self.manifest.fingerprint

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids."""
        return Tokenizer.from_file(self.folder / TOKENIZER)

    def split(self, name: str) -> Split:
        """Return a split; raise DataError, with those there are, when it was not made."""
        if name not in self.manifest.splits:
            there = ", ".join(self.manifest.splits)
            raise DataError(f"{self.folder}: expected a split `{name}`, found {there}; prepare the data with one.")
        return Split(name, self.folder / name, self.manifest.splits[name], self.manifest.vocabulary_size)

    def verify(self, *, max_bytes: int | None = None) -> None:
        """Read everything and raise DataError naming the first shard that is not what was written.

        Args:
            max_bytes: nothing is read when the files are larger together; None = however large they are.
        """
        if max_bytes is not None and sum(_expected_sizes(self.folder, self.manifest).values()) > max_bytes:
            return
        for name, split in self.manifest.splits.items():
            for number, shard in enumerate(split.shards):
                files = _shard_files(self.folder / name, number)
                if _combined([bytes.fromhex(sha256(file)) for file in files]) != shard.sha256:
                    raise DataError(f"{files[0].with_suffix('')}: damaged: its content is not what was written.")


class _HashedFile:
    """A file that is written and hashed in one go, a piece at a time: each costs as much as some thousand bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._pending = bytearray()

    def write(self, values: np.ndarray) -> None:
        self._pending += values.tobytes()
        if len(self._pending) >= _PIECE_BYTES:
            self._flush()

    def digest(self) -> bytes:
        """Return the hash of all that was written; nothing may be written after."""
        self._flush()
        return self._hash.digest()

    def _flush(self) -> None:
        self._file.write(self._pending)
        self._hash.update(self._pending)
        self._pending = bytearray()


def _token_type(vocabulary_size: int) -> np.dtype[Any]:
    return np.dtype("<u2" if vocabulary_size <= 65_535 else "<u4")


def _shard_files(folder: Path, number: int) -> list[Path]:
    return [folder / f"{number:03d}.{ending}" for ending in _ENDINGS]


def _mapped(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    # A plain array over the map: slices of np.memmap itself cost ten times as much.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r")) if path.stat().st_size else np.zeros(0, dtype)


def _combined(digests: list[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _expected_sizes(folder: Path, manifest: Manifest) -> dict[Path, int]:
    token_size = _token_type(manifest.vocabulary_size).itemsize
    return {
        file: size
        for name, split in manifest.splits.items()
        for number, shard in enumerate(split.shards)
        for file, size in zip(
            _shard_files(folder / name, number),
            (token_size * shard.tokens, shard.tokens, 8 * (shard.documents + 1)),
            strict=True,
        )
    }
