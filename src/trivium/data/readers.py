"""Documents from text files, JSON lines, folders and globs, as a stream that accounts for every byte it reads."""

import codecs
import csv
import glob
import gzip
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from trivium.core.errors import ConfigError, DataError, nearest

Boundary = Literal["blank-line", "line", "file"]
JSON_LINES = (".jsonl", ".ndjson", ".json")
TABLES = {".csv": ",", ".tsv": "\t"}
_Stream = io.BufferedReader | gzip.GzipFile
_LINE_END = re.compile(r"(?<!\r)\r++\n")
_BLOCK_BYTES = 1 << 16
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


def read_documents(
    paths: Sequence[Path], *, boundary: Boundary = "blank-line", field: str = "text", encoding: str = "utf-8"
) -> Iterator[Document | Dropped]:
    """Yield the documents of files, folders and globs, and after each file what of it was dropped.

    Over a file, the bytes of the documents and of what was dropped are the (decompressed) file's bytes exactly.
    One document is held at a time.

    Args:
        paths: text files; JSON lines (.jsonl, .ndjson, .json); tables (.csv, .tsv) whose first line names the columns;
            folders, read in sorted order without hidden files; globs. Any file may be compressed (.gz). A table without
            such a column is read as text, see `require_columns`.
        boundary: where one document of a text file ends: at blank lines, at each line, at the end of the file.
        field: the key of a JSON line, or the column of a table, that holds the text.
        encoding: of the bytes; one in which ASCII is itself (utf-8, gb18030, cp1252, ...).

    Raises:
        DataError: a path that is not there or holds nothing, an empty file that was named, bytes that are not text
            in this encoding, a JSON line without the field, a table with rows of other lengths, a damaged .gz.
        ConfigError: an encoding that is unknown or not a superset of ASCII.
    """
    encoding = check_encoding(encoding)
    named = set(paths)
    for file in find_files(paths):
        yield from _read_file(file, file in named, boundary, field, encoding)


def check_encoding(encoding: str) -> str:
    """Return the encoding's plain name; raise ConfigError when it is unknown or not a superset of ASCII."""
    try:
        name = codecs.lookup(encoding).name
        name = "utf-8" if name == "utf-8-sig" else name
        superset = bytes(range(128)).decode(name).encode(name) == bytes(range(128))
    except LookupError:
        raise ConfigError(f"--encoding {encoding}: not known; expected e.g. utf-8, gb18030, cp1252.") from None
    except UnicodeError:
        superset = False
    if not superset:
        raise ConfigError(
            f"--encoding {encoding}: expected one in which ASCII is itself; "
            f"convert the text first: iconv -f {encoding} -t utf-8."
        )
    return name


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths, folders and globs stand for, each once; raise DataError for one with none."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files = list(_walk(path))
            if not files:
                raise DataError(f"{path}: expected text files in this folder, found none (hidden ones are skipped).")
        elif path.exists():
            files = [path]
        elif any(sign in str(path) for sign in "*?["):
            files = [file for name in _matches(path) if (file := Path(name)).is_file()]
            if not files:
                raise DataError(f"{path}: expected files that match this pattern, found none.")
        else:
            raise DataError(f"{path}: no such file or folder.")
        found.update(dict.fromkeys(files))
    return list(found)


def text_bytes(file: Path) -> int:
    """Return about how many bytes of text a file holds; exact unless it is compressed, for showing progress."""
    size = file.stat().st_size
    if file.suffix != ".gz" or size < 4:
        return size
    # The last four bytes of a gzip stream are the size of its content, modulo 2**32.
    with file.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        return max(size, int.from_bytes(stream.read(4), "little"))


def without_surrogates(text: str) -> str:
    """Return the text with each lone surrogate, which UTF-8 cannot write, replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _matches(pattern: Path) -> list[str]:
    # Path.glob takes no absolute pattern.
    return sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            if not name.startswith(".") and file.is_file():
                yield file


def _read_file(file: Path, named: bool, boundary: Boundary, field: str, encoding: str) -> Iterator[Document | Dropped]:
    source = str(file)
    ledger = _Ledger()
    try:
        with _open(file) as stream:
            block = stream.peek(_BLOCK_BYTES)
            if not block:
                if named:
                    raise DataError(f"{file}: expected text, found an empty file.")
                yield Dropped("empty", source, 1, 0)
                return
            _refuse_binary(source, block, encoding)
            start = 0
            if block.startswith(codecs.BOM_UTF8) and encoding == "utf-8":
                start = len(stream.read(len(codecs.BOM_UTF8)))
                ledger.drop("byte order mark", start)
            name = file.name.removesuffix(".gz").lower()
            delimiter = _delimiter(file)
            if name.endswith(JSON_LINES):
                yield from _json_lines(stream, source, start, field, encoding, ledger)
            elif delimiter is not None and field in _columns(block[start:], delimiter, encoding):
                yield from _table(stream, source, start, field, encoding, delimiter, ledger)
            else:
                yield from _plain(stream, source, start, boundary, encoding, ledger)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: expected a whole gzip file, found a damaged one: {error}.") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from None
    for reason in sorted(ledger.num_bytes):
        yield Dropped(reason, source, ledger.documents[reason], ledger.num_bytes[reason])


class _Ledger:
    """What of one file was dropped, by reason."""

    def __init__(self) -> None:
        self.documents: Counter[str] = Counter()
        self.num_bytes: Counter[str] = Counter()

    def drop(self, reason: str, num_bytes: int, documents: int = 0) -> None:
        if num_bytes or documents:
            self.documents[reason] += documents
            self.num_bytes[reason] += num_bytes


def _open(file: Path) -> _Stream:
    if file.suffix == ".gz":
        return gzip.GzipFile(file)
    return io.BufferedReader(io.FileIO(file), _BLOCK_BYTES)


def _plain(
    stream: _Stream, source: str, start: int, boundary: Boundary, encoding: str, ledger: _Ledger
) -> Iterator[Document]:
    for raw, separators in _pieces(stream, boundary):
        ledger.drop("separators", separators)
        if raw is not None:
            document = _document(_decode(raw, encoding, source, start), source, len(raw), ledger)
            if document is not None:
                yield document
        start += len(raw or b"") + separators


def _document(text: str, source: str, num_bytes: int, ledger: _Ledger) -> Document | None:
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


def _pieces(stream: _Stream, boundary: Boundary) -> Iterator[tuple[bytes | None, int]]:
    """Yield each document's bytes (None: no document) and how many bytes of separators come after them."""
    if boundary == "file":
        yield stream.read(), 0
    elif boundary == "line":
        for line in stream:
            body = _without_end(line)
            yield body, len(line) - len(body)
    else:
        lines: list[bytes] = []
        blank = 0
        for line in stream:
            if line.isspace():
                blank += len(line)
                continue
            if blank:
                yield _joined(lines, blank)
                lines, blank = [], 0
            lines.append(line)
        yield _joined(lines, blank)


def _joined(lines: list[bytes], blank: int) -> tuple[bytes | None, int]:
    if not lines:
        return None, blank
    whole = b"".join(lines)
    body = _without_end(whole)
    return body, len(whole) - len(body) + blank


def _without_end(line: bytes) -> bytes:
    return line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line


def _decode(raw: bytes, encoding: str, source: str, start: int) -> str:
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


def _refuse_binary(source: str, block: bytes, encoding: str) -> None:
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


def _json_lines(
    stream: _Stream, source: str, start: int, field: str, encoding: str, ledger: _Ledger
) -> Iterator[Document]:
    for number, line in enumerate(stream, 1):
        if line.isspace():
            ledger.drop("json syntax", len(line))
        else:
            text = text_of_line(_decode(line, encoding, source, start), field, f"{source}:{number}")
            # In another encoding than the file's the text may be the longer one.
            num_bytes = min(len(text.encode("utf-8")), len(line))
            ledger.drop("json syntax", len(line) - num_bytes)
            document = _document(text, source, num_bytes, ledger)
            if document is not None:
                yield document
        start += len(line)


def require_columns(paths: Sequence[Path], *, field: str, encoding: str) -> None:
    """Raise DataError for a table that is named and has no such column: its labels would be read as text."""
    for file in paths:
        delimiter = _delimiter(file)
        if delimiter is None or not file.is_file():
            continue
        with _open(file) as stream:
            block = stream.peek(_BLOCK_BYTES).removeprefix(codecs.BOM_UTF8)
        columns = _columns(block, delimiter, encoding)
        if block and field not in columns:
            names = ", ".join(f"`{name}`" for name in columns)
            raise DataError(
                f"{file}: expected a column `{field}`, found {names}. Name the one that holds the text with --field."
            )


def _delimiter(file: Path) -> str | None:
    return TABLES.get(Path(file.name.removesuffix(".gz").lower()).suffix)


def _columns(block: bytes, delimiter: str, encoding: str) -> list[str]:
    first = block.partition(b"\n")[0].decode(encoding, "replace")
    return next(csv.reader([first], delimiter=delimiter), [])


def _table(
    stream: _Stream, source: str, start: int, field: str, encoding: str, delimiter: str, ledger: _Ledger
) -> Iterator[Document]:
    """Yield one column of a table; in a TSV a quotation mark is one, but around a whole field."""
    csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KiB a field
    accounted = read = start

    def lines() -> Iterator[str]:
        nonlocal read
        for raw in stream:
            read += len(raw)
            yield _decode(raw, encoding, source, read - len(raw))

    # csv.QUOTE_MINIMAL and csv.QUOTE_NONE, which the type checker takes for any number.
    records = csv.reader(lines(), delimiter=delimiter, quoting=0 if delimiter == "," else 3, strict=True)
    try:
        columns = next(records)
        place = columns.index(field)
        for record in records:
            if record and len(record) != len(columns):
                where = f"{source}:{records.line_num}"
                raise DataError(f"{where}: expected {len(columns)} fields, as the first line has, found {len(record)}.")
            text = _bare(record[place], delimiter) if record else ""
            num_bytes = min(len(text.encode("utf-8")), read - accounted)
            ledger.drop("table syntax", read - accounted - num_bytes)
            accounted = read
            document = _document(text, source, num_bytes, ledger) if record else None
            if document is not None:
                yield document
    except csv.Error as error:
        raise DataError(f"{source}:{records.line_num}: not a valid table: {error}.") from None
    ledger.drop("table syntax", read - accounted)


def _bare(field: str, delimiter: str) -> str:
    quoted = delimiter == "\t" and len(field) > 1 and field.startswith('"') and field.endswith('"')
    return field[1:-1].replace('""', '"') if quoted else field


def text_of_line(line: str, field: str, place: str) -> str:
    """Return the text that a field of a line of JSON holds; raise DataError, with the place, when it holds none."""
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place}: expected one whole JSON object on the line, found no valid JSON ({error}); "
            "a file of another form can be converted: jq -c ."
        ) from None
    if not isinstance(value, dict):
        raise DataError(f'{place}: expected a JSON object such as {{"{field}": "..."}}, found {_kind(value)}.')
    if field not in value:
        names = ", ".join(f"`{name}`" for name in value) or "none"
        hint = nearest(field, list(value)) if value else ""
        hint = hint if hint.startswith(" Did") else " Name the one that holds the text with --field."
        raise DataError(f"{place}: expected the field `{field}`, found {names}.{hint}")
    text = value[field]
    if not isinstance(text, str):
        raise DataError(f"{place}: expected a string in the field `{field}`, found {_kind(text)}.")
    return without_surrogates(text)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
