"""Labelled examples, read from the files that the command line's contract names."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import regex

from trivium.core.errors import DataError, nearest
from trivium.core.files import write_text

_SPACELESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\u3000-\u303f\uff00-\uffef]{2}")
UNSCORED = "_"
"""The label of a word that is context only: it is neither learned nor counted."""


class ClassifyExample(NamedTuple):
    """A text, perhaps a second text, and the class they belong to."""

    text: str
    label: str
    text_pair: str | None


class LabelExample(NamedTuple):
    """Words and the label of each; `UNSCORED` words are context only.

    `spaces` is the white space after each word in the text they are from; None = not known, see `text_of`.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    spaces: tuple[str, ...] | None = None


def text_of(example: LabelExample) -> tuple[str, list[int]]:
    """Return the text that the words are from, and where in it each word begins.

    A model reads it as it read its pretraining text. Where the white space is not known it is a single space, and
    none between signs of a script that is written without (Chinese, Japanese).
    """
    spaces = example.spaces
    if spaces is None:
        pairs = pairwise((*example.tokens, ""))
        spaces = tuple("" if not after or _SPACELESS.fullmatch(word[-1:] + after[:1]) else " " for word, after in pairs)
    starts, length = [], 0
    for word, space in zip(example.tokens, spaces, strict=True):
        starts.append(length)
        length += len(word) + len(space)
    return "".join(part for pair in zip(example.tokens, spaces, strict=True) for part in pair), starts


def read_classify(
    path: Path,
    *,
    text: str = "text",
    text_pair: str = "text_pair",
    label: str = "label",
    min_classes: int = 2,
) -> list[ClassifyExample]:
    """Read texts and their classes from CSV, TSV or JSON lines, compressed with gzip or not.

    The form is known from the name (`.csv`, `.tsv`, `.jsonl`, each also with `.gz`) or else from the first line.
    CSV and TSV need a header. In TSV a quotation mark is an ordinary character unless it encloses a whole field.

    Args:
        path: the file.
        text, text_pair, label: names of the columns; `text_pair` may be absent.
        min_classes: fewer distinct labels than this are an error.

    Raises:
        DataError: what is wrong, with file and line.
    """
    content = _read(path)
    form = _form(path, content)
    required = (text, label)
    rows = _json_rows(path, content) if form == "jsonl" else _table_rows(path, content, form, required)
    examples = []
    for line, row in rows:
        _check_columns(f"{path}:{line}", required, row)
        pair = row.get(text_pair)
        examples.append(
            ClassifyExample(
                _string(row[text], f"{path}:{line}: `{text}`"),
                _class(row[label], f"{path}:{line}: `{label}`"),
                None if pair is None or pair == "" else _string(pair, f"{path}:{line}: `{text_pair}`"),
            )
        )
    _check_classes(path, {example.label for example in examples}, len(examples), min_classes)
    return examples


def read_label(path: Path, *, min_classes: int = 2) -> list[LabelExample]:
    """Read sentences whose words are labelled, from JSON lines or from a word and its label a line.

    JSON lines have `tokens` and `labels`, and `spaces`, the white space after each token, if it is
    known. Otherwise each line is a word first and its label last, apart by tabs or spaces, with a blank line between
    sentences.

    Args:
        path: the file, compressed with gzip or not.
        min_classes: fewer distinct labels than this, `UNSCORED` not counted, are an error.

    Raises:
        DataError: what is wrong, with file and line.
    """
    content = _read(path)
    examples = list(_json_sentences(path, content) if _is_json(path, content) else _column_sentences(path, content))
    classes = {label for example in examples for label in example.labels} - {UNSCORED}
    _check_classes(path, classes, len(examples), min_classes)
    return examples


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as one line of JSON, the file whole or not at all."""
    write_text(path, "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows))


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
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


def _form(path: Path, content: str) -> str:
    if _is_json(path, content):
        return "jsonl"
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & {".csv", ".tsv"}:
        return "csv" if ".csv" in suffixes else "tsv"
    return "tsv" if "\t" in content.partition("\n")[0] else "csv"


def _is_json(path: Path, content: str) -> bool:
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & {".jsonl", ".json", ".ndjson"}:
        return True
    first = content.lstrip().partition("\n")[0]
    # A word-and-label file of code may begin with a brace: only a whole JSON object is one.
    try:
        return first.startswith("{") and isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _json_rows(path: Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not valid JSON: {error}.") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, found {_kind(row)}.")
        yield number, row


def _table_rows(path: Path, content: str, form: str, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = _unquoted(content) if form == "tsv" else None
    records = iter(lines) if lines is not None else _quoted(path, content, "\t" if form == "tsv" else ",")
    line, header = next(records)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}:{line}: the column `{twice[0]}` is there twice.")
    _check_columns(f"{path}:{line}", required, header)
    for line, fields in records:
        if len(fields) != len(header):
            raise DataError(f"{path}:{line}: expected {len(header)} fields ({_names(header)}), found {len(fields)}.")
        yield line, dict(zip(header, fields, strict=True))


def _quoted(path: Path, content: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KiB a field
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for fields in reader:
            if fields:
                yield begin, fields
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{begin}: not valid {'CSV' if delimiter == ',' else 'TSV'}: {error}.") from None


def _unquoted(content: str) -> list[tuple[int, list[str]]] | None:
    """Return the records of a TSV file, or None when its lines differ in tabs, so that quoted fields span lines."""
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(content.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line]
    if len({line.count("\t") for _, line in lines}) != 1:
        return None
    return [(number, [_bare(field) for field in line.split("\t")]) for number, line in lines]


def _bare(field: str) -> str:
    match = re.fullmatch(r'"((?:[^"]|"")*)"', field)
    return match[1].replace('""', '"') if match else field


def _json_sentences(path: Path, content: str) -> Iterator[LabelExample]:
    for line, row in _json_rows(path, content):
        _check_columns(f"{path}:{line}", ("tokens", "labels"), row)
        for column in ("tokens", "labels"):
            if not isinstance(row[column], list):
                raise DataError(f"{path}:{line}: `{column}` is {_kind(row[column])}; expected a list of strings.")
        tokens, labels = row["tokens"], row["labels"]
        if len(tokens) != len(labels):
            raise DataError(f"{path}:{line}: {len(tokens)} tokens but {len(labels)} labels.")
        if not tokens:
            raise DataError(f"{path}:{line}: no tokens.")
        for column, words in (("tokens", tokens), ("labels", labels)):
            for word in words:
                _string(word, f"{path}:{line}: an entry of `{column}`")
        yield LabelExample(tuple(tokens), tuple(labels), _spaces(row.get("spaces"), len(tokens), f"{path}:{line}"))


def _column_sentences(path: Path, content: str) -> Iterator[LabelExample]:
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate([*content.split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("-DOCSTART-"):
            if pairs:
                tokens, labels = zip(*pairs, strict=True)
                yield LabelExample(tokens, labels)
                pairs = []
            continue
        fields = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        if len(fields) < 2 or not fields[0].strip() or not fields[-1].strip():
            raise DataError(f"{path}:{number}: expected a word and its label, found {line.strip()[:40]!r}.")
        pairs.append((fields[0], fields[-1].strip()))


def _spaces(value: Any, count: int, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) and not each.strip() for each in value):
        raise DataError(f"{where}: `spaces` must be a list of the white space after each token.")
    if len(value) != count:
        raise DataError(f"{where}: {count} tokens but {len(value)} spaces.")
    return tuple(value)


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where} is {_kind(value)}; expected a string.")
    if not value.strip():
        raise DataError(f"{where} is empty.")
    return value


def _class(value: Any, where: str) -> str:
    if isinstance(value, list | int | float) and not isinstance(value, bool):
        form = "a list (several labels)" if isinstance(value, list) else "a number (regression)"
        raise DataError(f'{where} is {form}; today only a string, one class such as "3" or "spam", is read.')
    return _string(value, where).strip()


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _check_columns(where: str, required: tuple[str, ...], found: Iterable[str]) -> None:
    names = list(found)
    for column in required:
        if column not in names:
            hint = nearest(column, names)
            raise DataError(f"{where}: no column `{column}`; found {_names(names)}.{hint if 'mean' in hint else ''}")


def _check_classes(path: Path, classes: set[str], num_examples: int, min_classes: int) -> None:
    if not num_examples:
        raise DataError(f"{path}: no examples; expected at least one after the header.")
    if len(classes) < min_classes:
        only = f"only the label `{next(iter(classes))}`" if classes else "no label that is scored"
        raise DataError(f"{path}: {only}; expected at least {min_classes} classes.")
