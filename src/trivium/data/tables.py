"""One column of a table (CSV, TSV) as documents: which columns there are, and what is no table in one clear line."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from trivium.core.errors import DataError
from trivium.data.file_bytes import (
    BLOCK_BYTES,
    Document,
    Ledger,
    Stream,
    as_document,
    decode,
    open_file,
    reading,
    refuse_binary,
)

FIELD_LIMIT = 1 << 26  # characters of a field; more is a quotation mark that is not closed
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SHOWN = 60  # characters of a column's name


def require_columns(paths: Sequence[Path], *, field: str, encoding: str) -> None:
    """Raise DataError for a table that is named and has no such column: its labels would be read as text.

    Args:
        paths: files, those that are no table among them, and folders and globs, which are not looked at.
        field: the name of the column.
        encoding: of the bytes, by its plain name.

    Raises:
        DataError: no such column, a first line that names none, a damaged .gz, a file that cannot be read.
    """
    for file in paths:
        if delimiter_of(file) is None or not file.is_file() or _is_empty(file):
            continue
        columns = column_names(file, encoding)
        if field not in columns:
            names = ", ".join(f"`{_shown(name)}`" for name in columns) or "an empty line"
            raise DataError(
                f"{file}: expected a column `{field}`, found {names}. Name the one that holds the text with --field."
            )


def column_names(file: Path, encoding: str) -> list[str]:
    """Return the names of a table's columns, which its first record holds; none of a file that is no table.

    Raises:
        DataError: a first record that names no columns, bytes that are no text, a damaged .gz.
    """
    delimiter = delimiter_of(file)
    if delimiter is None:
        return []
    with reading(file), open_file(file) as stream:
        block = stream.peek(BLOCK_BYTES)
        refuse_binary(str(file), block, encoding)
        if encoding == "utf-8" and block.startswith(codecs.BOM_UTF8):
            stream.read(len(codecs.BOM_UTF8))
        lines = (line.decode(encoding, "replace") for line in stream)
        _, names = next(_records(lines, str(file), delimiter), (1, []))
        return [_bare(name, delimiter) for name in names]


def column_documents(
    stream: Stream, file: Path, start: int, field: str, encoding: str, ledger: Ledger
) -> Iterator[Document]:
    """Yield one column of a table; in a TSV a quotation mark is one, but around a whole field.

    Args:
        stream: the file's bytes from byte `start` on.
        file: the table's name, which says what separates fields.
        start: see `stream`.
        field: the name of the column, one of `column_names`.
        encoding: of the bytes.
        ledger: is told what is of no document.

    Raises:
        DataError: what is wrong, with file and line.
    """
    source, delimiter, accounted, read = str(file), delimiter_of(file) or ",", start, start

    def lines() -> Iterator[str]:
        nonlocal read
        for raw in stream:
            read += len(raw)
            yield decode(raw, encoding, source, read - len(raw))

    records = _records(lines(), source, delimiter)
    _, columns = next(records)
    place = [_bare(name, delimiter) for name in columns].index(field)
    for line, record in records:
        if record and len(record) != len(columns):
            raise DataError(
                f"{source}:{line}: expected {len(columns)} fields, as the first line has, found {len(record)}."
            )
        text = _bare(record[place], delimiter) if record else ""
        num_bytes = min(len(text.encode("utf-8")), read - accounted)
        ledger.drop("table syntax", read - accounted - num_bytes)
        accounted = read
        document = as_document(text, source, num_bytes, ledger) if record else None
        if document is not None:
            yield document
    ledger.drop("table syntax", read - accounted)


def delimiter_of(file: Path) -> str | None:
    """Return what separates the fields of a table, known by its name; None for a file that is no table."""
    return _DELIMITERS.get(Path(file.name.removesuffix(".gz").lower()).suffix)


def _is_empty(file: Path) -> bool:
    with reading(file), open_file(file) as stream:
        return not stream.peek(1)


def _records(lines: Iterator[str], source: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield every record, the names of the columns first, with the line in which it begins."""
    csv.field_size_limit(FIELD_LIMIT)  # the module's own limit is 128 KiB a field
    # csv.QUOTE_MINIMAL and csv.QUOTE_NONE, which the type checker takes for any number.
    records = csv.reader(lines, delimiter=delimiter, quoting=0 if delimiter == "," else 3, strict=True)
    begin = 1
    try:
        for record in records:
            yield begin, record
            begin = records.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source}:{begin}: not a valid table: {_explained(error)}; name it .txt if it is none."
        ) from None


def _explained(error: csv.Error) -> str:
    """Return what the csv module has found, and what it is likely to come from."""
    said = str(error)
    if said.startswith("new-line character"):
        return "expected lines that end with a line feed, found a carriage return alone (to convert: tr '\\r' '\\n')"
    if said.startswith(("field larger", "unexpected end")):
        return f"{said} (a field has at most {FIELD_LIMIT} characters; a quotation mark may not be closed)"
    return said


def _bare(field: str, delimiter: str) -> str:
    """Return a field of a TSV without the quotation marks around all of it; the csv module sees to those of a CSV."""
    quoted = delimiter == "\t" and len(field) > 1 and field.startswith('"') and field.endswith('"')
    return field[1:-1].replace('""', '"') if quoted else field


def _shown(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
