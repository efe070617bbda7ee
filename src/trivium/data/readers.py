"""Documents from text files, JSON lines, folders and globs, as a stream that accounts for every byte it reads."""

import codecs
import glob
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from trivium.core.errors import ConfigError, DataError, nearest
from trivium.data.file_bytes import (
    BLOCK_BYTES,
    Document,
    Dropped,
    Ledger,
    Stream,
    as_document,
    decode,
    open_file,
    reading,
    refuse_binary,
)
from trivium.data.tables import column_documents, column_names, delimiter_of

Boundary = Literal["blank-line", "line", "file"]
JSON_LINES = (".jsonl", ".ndjson", ".json")
_BLOCK = 1 << 20


def read_documents(
    paths: Sequence[Path], *, boundary: Boundary = "blank-line", field: str = "text", encoding: str = "utf-8"
) -> Iterator[Document | Dropped]:
    """Yield the documents of files, folders and globs, and after each file what of it was dropped.

    Over a file, the bytes of the documents and of what was dropped are the (decompressed) file's bytes exactly.
    Of text files a block of about a megabyte, or as long as a document, is held at a time, of others a document.

    Args:
        paths: text files; JSON lines (.jsonl, .ndjson, .json); tables (.csv, .tsv) whose first line names the columns;
            folders, read in sorted order without hidden files; globs. Any file may be compressed (.gz). A table without
            such a column is read as text, see `tables.require_columns`.
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


def way_of_reading(file: Path) -> str:
    """Return how a file is read, which its name decides: equal bytes read alike hold equal documents."""
    form = "json lines" if _is_json_lines(file) else delimiter_of(file) or "text"
    return f"{form}, compressed" if file.suffix == ".gz" else form


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
    ledger = Ledger()
    with reading(file), open_file(file) as stream:
        block = stream.peek(BLOCK_BYTES)
        if not block:
            if named:
                raise DataError(f"{file}: expected text, found an empty file.")
            yield Dropped("empty", source, 1, 0)
            return
        refuse_binary(source, block, encoding)
        start = 0
        if block.startswith(codecs.BOM_UTF8) and encoding == "utf-8":
            start = len(stream.read(len(codecs.BOM_UTF8)))
            ledger.drop("byte order mark", start)
        if _is_json_lines(file):
            yield from _json_lines(stream, source, start, field, encoding, ledger)
        elif field in column_names(file, encoding):
            yield from column_documents(stream, file, start, field, encoding, ledger)
        else:
            yield from _plain(stream, source, start, boundary, encoding, ledger)
    for reason in sorted(ledger.num_bytes):
        yield Dropped(reason, source, ledger.documents[reason], ledger.num_bytes[reason])


def _is_json_lines(file: Path) -> bool:
    return file.name.removesuffix(".gz").lower().endswith(JSON_LINES)


def _plain(
    stream: Stream, source: str, start: int, boundary: Boundary, encoding: str, ledger: Ledger
) -> Iterator[Document]:
    between = 0
    for read, bodies in _parted(stream, boundary):
        between += len(read) - sum(map(len, bodies))
        for body, text in zip(bodies, _decoded(bodies, read, encoding, source, start), strict=True):
            document = as_document(text, source, len(body), ledger)
            if document is not None:
                yield document
        start += len(read)
    ledger.drop("separators", between)


def _decoded(bodies: list[bytes], read: bytes, encoding: str, source: str, start: int) -> list[str]:
    """Return the texts of documents; where one is none, say where it is: what is read begins at byte `start`."""
    try:
        return [body.decode(encoding) for body in bodies]
    except UnicodeDecodeError:
        texts, place = list[str](), 0
        for body in bodies:
            # Only white space is between them; a body that is nothing else may be found too early, and can be read.
            place = read.index(body, place)
            texts.append(decode(body, encoding, source, start + place))
            place += len(body)
        return texts


def _parted(stream: Stream, boundary: Boundary) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield what is read, a part of the file at a time, and the documents in it; the other bytes separate them."""
    if boundary == "file":
        whole = stream.read()
        yield whole, [whole]
    elif boundary == "line":
        while lines := stream.readlines(_BLOCK):
            yield b"".join(lines), [_without_end(line) for line in lines]
    else:
        yield from _parted_by_blank_lines(stream)


# Blank lines at the beginning, and those after a line; of white space that `bytes.isspace` knows.
_FIRST_BLANK, _BLANK = re.compile(rb"(?:[ \t\r\x0b\f]*+\n)++"), re.compile(rb"\n(?:[ \t\r\x0b\f]*+\n)++")


def _parted_by_blank_lines(stream: Stream) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield what `_parted` does, a block of the file at a time: a line at a time costs Python's time for each."""
    rest = b""
    # What holds no end is looked at again with as much more: a document costs its length, however long it is.
    while block := stream.read(max(_BLOCK, len(rest))):
        rest += block
        first = _FIRST_BLANK.match(rest)
        *bodies, unended = _BLANK.split(rest[first.end() :] if first else rest)
        read = rest[: len(rest) - len(unended)]
        yield read, [body.removesuffix(b"\r") for body in bodies] if b"\r" in read else bodies
        rest = unended
    last = rest[rest.rfind(b"\n") + 1 :]
    body = _without_end(rest.removesuffix(last) if last.isspace() else rest)
    yield rest, [body] if body else []


def _without_end(line: bytes) -> bytes:
    return line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line


def _json_lines(
    stream: Stream, source: str, start: int, field: str, encoding: str, ledger: Ledger
) -> Iterator[Document]:
    for number, line in enumerate(stream, 1):
        if line.isspace():
            ledger.drop("json syntax", len(line))
        else:
            text = text_of_line(decode(line, encoding, source, start), field, f"{source}:{number}")
            # In another encoding than the file's the text may be the longer one.
            num_bytes = min(len(text.encode("utf-8")), len(line))
            ledger.drop("json syntax", len(line) - num_bytes)
            document = as_document(text, source, num_bytes, ledger)
            if document is not None:
                yield document
        start += len(line)


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
