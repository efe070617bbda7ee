"""Texts, or pairs of texts, with a class, several labels or a number, from CSV, TSV or JSON lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import model_validator

from trivium.core.config import Config
from trivium.core.errors import ConfigError, DataError
from trivium.data.labelled.checks import (
    check_classes,
    check_columns,
    named,
    number,
    shown,
    string,
    strings,
    written_number,
)
from trivium.data.labelled.files import is_json, json_rows, read_text, table_rows


class ClassifyExample(NamedTuple):
    """A text, perhaps a second text, and the class they belong to."""

    text: str
    label: str
    text_pair: str | None
    where: str = ""  # it stands: file and line, or item


class MultiLabelExample(NamedTuple):
    """A text, perhaps a second text, and the labels that apply: none, one or several."""

    text: str
    labels: tuple[str, ...]
    text_pair: str | None
    where: str = ""  # it stands: file and line, or item


class RegressionExample(NamedTuple):
    """A text, perhaps a second text, and a number."""

    text: str
    value: float
    text_pair: str | None


class ClassifyColumns(Config):
    """Which columns of a file are the text, the text that goes with it and the label.

    Args:
        text, label: names of columns; of a file without a header, their numbers, counted from 1.
        text_pair: the same; it may be absent from the file, and a file without a header has none unless it is said.
        header: whether the first line of CSV or TSV names the columns.
        separator: what stands between several labels in a column of CSV or TSV.
    """

    text: str | int = "text"
    text_pair: str | int | None = "text_pair"
    label: str | int = "label"
    header: bool = True
    separator: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.separator == "":
            raise ValueError("`separator` must be at least one character, such as `|`.")
        if not self.header:
            for name in (self.text, self.label, self.pair):
                if name is not None and (not str(name).isdecimal() or int(name) < 1):
                    raise ValueError(f"without a header columns are numbers counted from 1; found {name!r}.")
        return self

    @property
    def required(self) -> tuple[str, str]:
        """The columns of the text and the label, as names."""
        return str(self.text), str(self.label)

    @property
    def pair(self) -> str | None:
        """The column of the second text, as a name; None where there is none."""
        unsaid = self.text_pair is None or (not self.header and self.text_pair == "text_pair")
        return None if unsaid else str(self.text_pair)


CLASSIFY_COLUMNS = ClassifyColumns()


class _Row(NamedTuple):
    place: str
    where: str  # of the label
    text: str
    text_pair: str | None
    label: Any
    table: bool


def read_classify(
    path: Path, *, columns: ClassifyColumns = CLASSIFY_COLUMNS, min_classes: int = 2
) -> list[ClassifyExample]:
    """Read texts and their classes from CSV, TSV or JSON lines, compressed with gzip or not.

    The form is known from the name (`.csv`, `.tsv`, `.jsonl`, each also with `.gz`) or else from the first line; a
    `.json` file may also be one list of objects. In TSV a quotation mark is an ordinary character unless it encloses
    a whole field. In JSON a label is a string, a whole number (1 is the class "1"), true or false.

    Args:
        path: the file.
        columns: which of its columns are what.
        min_classes: fewer distinct labels than this are an error.

    Raises:
        DataError: what is wrong, with file and line.
        ConfigError: a separator, which is for several labels.
    """
    _refuse_separator(path, columns)
    examples = [
        ClassifyExample(row.text, _class(row.label, row.where), row.text_pair, row.place)
        for row in _rows(path, columns)
    ]
    check_classes(path, {example.label for example in examples}, len(examples), min_classes)
    return examples


def read_multi_label(
    path: Path, *, columns: ClassifyColumns = CLASSIFY_COLUMNS, min_classes: int = 1
) -> list[MultiLabelExample]:
    """Read texts and the labels that apply to each, from the files of `read_classify`.

    In JSON the labels are a list of strings. In CSV and TSV they stand in one column, `columns.separator` between
    them; an empty field is no label.

    Args:
        path: the file.
        columns: which of its columns are what.
        min_classes: fewer distinct labels than this are an error.

    Raises:
        DataError: what is wrong, with file and line; a label that is given twice to one text is.
    """
    examples = []
    for row in _rows(path, columns):
        if row.table and columns.separator is None:
            raise DataError(f"{row.where}: labels in CSV and TSV need `separator`, what stands between them.")
        labels = _labels(row, columns.separator)
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise DataError(f"{row.where}: the label `{shown(twice)}` is there twice.")
        examples.append(MultiLabelExample(row.text, labels, row.text_pair, row.place))
    check_classes(path, {label for example in examples for label in example.labels}, len(examples), min_classes)
    return examples


def read_regression(path: Path, *, columns: ClassifyColumns = CLASSIFY_COLUMNS) -> list[RegressionExample]:
    """Read texts and the number that belongs to each, from the files of `read_classify`.

    Args:
        path: the file.
        columns: which of its columns are what.

    Raises:
        DataError: what is wrong, with file and line; so is a number that is not finite.
        ConfigError: a separator, which is for several labels.
    """
    _refuse_separator(path, columns)
    examples = [RegressionExample(row.text, _value(row), row.text_pair) for row in _rows(path, columns)]
    check_classes(path, set(), len(examples), min_classes=0)
    return examples


def _rows(path: Path, columns: ClassifyColumns) -> Iterator[_Row]:
    content = read_text(path)
    text, label = columns.required
    table = not is_json(path, content)
    if not table and not columns.header:
        raise DataError(f"{path}: columns by number (`header=False`) are for CSV and TSV; JSON lines name theirs.")
    if table:
        rows: Iterator[tuple[str, dict[str, Any]]] = table_rows(path, content, columns.required, header=columns.header)
    else:
        rows = json_rows(path, content)
    for where, row in rows:
        check_columns(where, columns.required, row)
        pair = None if columns.pair is None else row.get(columns.pair)
        yield _Row(
            where,
            f"{where}: `{label}`",
            string(row[text], f"{where}: `{text}`"),
            None if _is_blank(pair) else string(pair, f"{where}: `{columns.pair}`"),
            row[label],
            table,
        )


def _is_blank(pair: Any) -> bool:
    return pair is None or (isinstance(pair, str) and not pair.strip())


def _refuse_separator(path: Path, columns: ClassifyColumns) -> None:
    if columns.separator is not None:
        raise ConfigError(f"{path}: `separator` is for several labels a text; a class or a number is read without it.")


def _class(value: Any, where: str) -> str:
    """Return a label as the name of a class; in JSON a whole number, true and false are as they are written."""
    if isinstance(value, float):
        raise DataError(f"{where} is {value}, no class; numbers are learned with --task regress.")
    if isinstance(value, list):
        raise DataError(f"{where} is a list, not one class; several labels are learned with --task multi_label.")
    return named(value, where).strip()


def _labels(row: _Row, separator: str | None) -> tuple[str, ...]:
    if not row.table:
        return tuple(label.strip() for label in strings(row.label, row.where))
    if not row.label.strip():
        return ()
    return tuple(string(label, f"{row.where}: an entry").strip() for label in row.label.split(separator))


def _value(row: _Row) -> float:
    return (written_number if row.table else number)(row.label, row.where)
