"""What a prepared folder says of itself: tokenizer, splits, shards, and a ledger of what came in and what was kept."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from trivium.core.config import Config, parse
from trivium.core.errors import ConfigError, DataError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SEGMENTER = "uax29"


class ShardEntry(Config):
    """One shard; its checksum covers its three files."""

    tokens: int
    documents: int
    sha256: str


class SplitEntry(Config):
    """One split; `bytes` counts the text in UTF-8, `tokens` the bos and eos of each document too."""

    documents: int
    tokens: int
    bytes: int
    shards: tuple[ShardEntry, ...]


class DroppedEntry(Config):
    """What was dropped for one reason; signs around documents, such as blank lines, count 0 documents."""

    documents: int
    bytes: int


class Ledger(Config):
    """What came in = what was kept + what was dropped, in documents and in bytes of the (decompressed) input."""

    documents_in: int
    bytes_in: int
    kept_documents: int
    kept_bytes: int
    dropped: dict[str, DroppedEntry]

    def adds_up(self) -> bool:
        """Return whether nothing was lost without being said."""
        documents = self.kept_documents + sum(entry.documents for entry in self.dropped.values())
        num_bytes = self.kept_bytes + sum(entry.bytes for entry in self.dropped.values())
        return (documents, num_bytes) == (self.documents_in, self.bytes_in)


class TokenizerEntry(Config):
    """The tokenizer that made the ids."""

    kind: str
    sha256: str


class Manifest(Config):
    """What a prepared folder holds; the fingerprint names its content (tokens, bits, tokenizer, format).

    `vocabulary_requested` is what a tokenizer trained here was asked for; a small text gives fewer. None: not trained.
    """

    format_version: int
    tokenizer: TokenizerEntry
    vocabulary_size: int
    vocabulary_requested: int | None
    lossless: bool
    segmenter: str
    boundary: str
    splits: dict[str, SplitEntry]
    ledger: Ledger
    fingerprint: str


def fingerprint_of(tokenizer: str, splits: Mapping[str, SplitEntry]) -> str:
    """Return what names the content: the format, the tokenizer's checksum and all shards'."""
    content = {name: [shard.sha256 for shard in split.shards] for name, split in splits.items()}
    text = json.dumps([FORMAT_VERSION, tokenizer, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a prepared folder; raise DataError for no such file, damage, or another format."""
    file = folder / MANIFEST
    if not file.is_file():
        raise DataError(f"{folder}: expected a folder that `trivium prepare` made, found no {MANIFEST} in it.")
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        version = tree["format_version"]
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(f"{file}: damaged; prepare the data again.") from None
    if version != FORMAT_VERSION:
        raise DataError(
            f"{folder}: expected data of format {FORMAT_VERSION}, found format {version}, "
            "made by another version of trivium; prepare the data again."
        )
    try:
        return parse(Manifest, tree, str(file))
    except ConfigError as error:
        raise DataError(f"{error} Prepare the data again.") from None
