"""Text, rows and JSON out of labelled files, each with where it stands, so that a mistake can be found."""

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trivium.core.errors import DataError
from trivium.core.files import write_text
from trivium.data.labelled.checks import check_columns, kind, names
from trivium.data.readers import without_surrogates
from trivium.data.tables import FIELD_LIMIT

_JSON = {".jsonl", ".json", ".ndjson"}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, compressed with gzip or not; raise DataError when it has none."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; expected one file of labelled examples.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise DataError(f"{path}:{line}: expected text, found binary data (a zero byte).")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line}: not valid UTF-8 (byte 0x{data[error.start]:02x}); convert the file to UTF-8."
        ) from None
    if not content.strip():
        raise DataError(f"{path}: empty; expected labelled examples.")
    return content


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as one line of JSON, the file whole or not at all."""
    write_text(path, "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows))


def lines_of(content: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, without their ends, each with its number."""
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def is_json(path: Path, content: str) -> bool:
    """Say whether a file is JSON lines, by its name or else by its first line."""
    if {suffix.lower() for suffix in path.suffixes} & _JSON:
        return True
    first = content.lstrip().partition("\n")[0]
    # A word-and-label file of code may begin with a brace: only a whole JSON object is one.
    try:
        return first.startswith("{") and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def json_document(path: Path, content: str) -> Any:
    """Return the one JSON value that a file is."""
    return _parsed(content, f"{path}", lines=True)


def json_values(path: Path, content: str) -> Iterator[tuple[str, Any]]:
    """Yield the value of each line, or the items of the one JSON list that a file not named `.jsonl` may be."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if content.lstrip().startswith("[") and not suffixes & {".jsonl", ".ndjson"}:
        first = content.lstrip().partition("\n")[0]
        if not _is_value(first) or first.strip() == content.strip():
            document = json_document(path, content)
            yield from ((f"{path}: item {number}", item) for number, item in enumerate(document, start=1))
            return
    for number, line in lines_of(content):
        yield f"{path}:{number}", _parsed(line, f"{path}:{number}", lines=False)


def json_line(line: str, where: str) -> Any:
    """Return the value of one line of JSON; raise DataError when it is none."""
    return _parsed(line, where, lines=False)


def json_rows(path: Path, content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the JSON objects of a file; anything else in it is a DataError."""
    for where, row in json_values(path, content):
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected a JSON object, found {kind(row)}.")
        yield where, row


def table_rows(
    path: Path, content: str, required: tuple[str, ...], *, header: bool = True
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of CSV or TSV by the names of their columns.

    Args:
        path, content: the file and its text. `.csv` and `.tsv` say which it is, or else a tab in the first line.
        required: columns that must be there.
        header: whether the first line names the columns; else they are named 1, 2, ...

    Raises:
        DataError: a column that is missing or there twice, a row of another length, quotes that do not close.
    """
    form = _table_form(path, content)
    lines = _unquoted(content) if form == "tsv" else None
    records = iter(lines) if lines is not None else _quoted(path, content, "\t" if form == "tsv" else ",")
    line, first = next(records, (1, []))
    columns = first if header else [str(number) for number in range(1, len(first) + 1)]
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if twice:
        raise DataError(f"{path}:{line}: the column {names(twice[:1])} is there twice.")
    check_columns(f"{path}:{line}", required, columns)
    if not header:
        yield f"{path}:{line}", dict(zip(columns, first, strict=True))
    for line, fields in records:
        if len(fields) != len(columns):
            raise DataError(f"{path}:{line}: expected {len(columns)} fields ({names(columns)}), found {len(fields)}.")
        yield f"{path}:{line}", dict(zip(columns, fields, strict=True))


def _parsed(text: str, where: str, *, lines: bool) -> Any:
    try:
        value = json.loads(text)
        # Half of a pair, which cutting a text in the middle of an emoji leaves, cannot be tokenised.
        return _mended(value) if _SURROGATE.search(text) else value
    except RecursionError:
        raise DataError(f"{where}: not valid JSON: lists or objects too deep in each other.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{where}{f':{error.lineno}' if lines else ''}: not valid JSON: {error}.") from None
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON: {error}.") from None


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {without_surrogates(name): _mended(each) for name, each in value.items()}
    return value


def _is_value(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _table_form(path: Path, content: str) -> str:
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & {".csv", ".tsv"}:
        return "csv" if ".csv" in suffixes else "tsv"
    return "tsv" if "\t" in content.partition("\n")[0] else "csv"


def _quoted(path: Path, content: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(FIELD_LIMIT)  # the module's own limit is 128 KiB a field
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for fields in reader:
            if len(fields) > 1 or any(field.strip() for field in fields):  # else a blank line
                yield begin, fields
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{begin}: not valid {'CSV' if delimiter == ',' else 'TSV'}: {error}.") from None


def _unquoted(content: str) -> list[tuple[int, list[str]]] | None:
    """Return the records of a TSV file, or None when its lines differ in tabs, so that quoted fields span lines."""
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(content.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line.strip() or "\t" in line]
    if len({line.count("\t") for _, line in lines}) != 1:
        return None
    return [(number, [_bare(field) for field in line.split("\t")]) for number, line in lines]


def _bare(field: str) -> str:
    match = re.fullmatch(r'"((?:[^"]|"")*)"', field)
    return match[1].replace('""', '"') if match else field
