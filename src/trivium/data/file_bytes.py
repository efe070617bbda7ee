"""A text file's bytes: opened, compressed or not, decoded, and each one a document's or said to be dropped."""

import codecs
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from trivium.core.errors import DataError

Stream = io.BufferedReader | gzip.GzipFile
BLOCK_BYTES = 1 << 16
_LINE_END = re.compile(r"(?<!\r)\r++\n")
# Signs that plain text has no use for; tab, line feed, form feed, carriage return and escape have one.
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b") | {127})


class Document(NamedTuple):
    """One document, and the bytes of its file (decompressed) that its text stands for."""

    text: str
    source: str
    num_bytes: int


class Dropped(NamedTuple):
    """Bytes of a file that became no document: `documents` whole ones (0 = signs around them), and why."""

    reason: str
    source: str
    documents: int
    num_bytes: int


class Ledger:
    """What of one file was dropped, by reason."""

    def __init__(self) -> None:
        self.documents: Counter[str] = Counter()
        self.num_bytes: Counter[str] = Counter()

    def drop(self, reason: str, num_bytes: int, documents: int = 0) -> None:
        """Note bytes that are of no document, and how many whole documents they were."""
        if num_bytes or documents:
            self.documents[reason] += documents
            self.num_bytes[reason] += num_bytes


def open_file(file: Path) -> Stream:
    """Open a file, compressed (.gz) or not, for reading bytes; see `reading`."""
    if file.suffix == ".gz":
        return gzip.GzipFile(file)
    return io.BufferedReader(io.FileIO(file), BLOCK_BYTES)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise DataError, with the file, where it is damaged or cannot be read."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: expected a whole gzip file, found a damaged one: {error}.") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from None


def as_document(text: str, source: str, num_bytes: int, ledger: Ledger) -> Document | None:
    """Return a text as a document with plain line ends, or None for white space; what it loses is in the ledger."""
    if "\r\n" in text:
        length = len(text)
        text = _LINE_END.sub("\n", text)
        carriage_returns = length - len(text)
        num_bytes -= carriage_returns
        ledger.drop("carriage returns", carriage_returns)
    if not text or text.isspace():
        ledger.drop("empty", num_bytes, documents=1)
        return None
    return Document(text, source, num_bytes)


def decode(raw: bytes, encoding: str, source: str, start: int) -> str:
    """Return bytes, the first of them byte `start` of its file, as text; raise DataError where they are none."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        other = "gb18030" if encoding == "utf-8" and _decodes(raw, "gb18030") else "cp1252"
        raise DataError(
            f"{source}: expected {encoding} text, found byte 0x{raw[error.start]:02x} at byte {start + error.start}; "
            f"say what it is (e.g. --encoding {other}) or mend the file."
        ) from None


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def refuse_binary(source: str, block: bytes, encoding: str) -> None:
    """Raise DataError when the first bytes of a file look like no text."""
    controls = len(block) - len(block.translate(None, _CONTROLS))
    # The block may end inside a character, which the incremental decoder forgives.
    try:
        codecs.getincrementaldecoder(encoding)().decode(block)
        text = True
    except UnicodeDecodeError:
        text = False
    if b"\0" in block or (not text and controls * 50 > len(block)):
        raise DataError(
            f"{source}: expected text, found what looks like binary data; leave it out "
            "(a pattern such as 'FOLDER/**/*.txt' takes only some files)."
        )
