"""What is read and what is to be written: pairs of texts, and mails with their subjects."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import model_validator

from trivium.core.config import Config
from trivium.core.errors import DataError
from trivium.data.labelled.checks import check_classes, check_columns, named, shown, string, strings
from trivium.data.labelled.files import is_json, json_rows, read_text, table_rows

_SECTION = re.compile(r"^@(subject|ann[0-9]+)[ \t]*\r?$", re.MULTILINE)


class PairExample(NamedTuple):
    """A text, and what may be written for it: the first target is learned, all are right when it is scored."""

    source: str
    targets: tuple[str, ...]


class PairColumns(Config):
    """Which columns are the source and the target; by number, counted from 1, in a file without a header."""

    source: str | int = "source"
    target: str | int = "target"
    header: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.header:
            for name in (self.source, self.target):
                if not str(name).isdecimal() or int(name) < 1:
                    raise ValueError(f"without a header columns are numbers counted from 1; found {name!r}.")
        return self


PAIR_COLUMNS = PairColumns()


def read_pairs(path: Path, *, columns: PairColumns = PAIR_COLUMNS) -> list[PairExample]:
    """Read pairs of texts from JSON lines, CSV or TSV; in JSON a target may be a list of several that are right.

    A whole number, true and false are targets as they are written: labels, say.

    Args:
        path: the file, compressed with gzip or not.
        columns: which of its columns are what.

    Raises:
        DataError: what is wrong, with file and line.
    """
    content = read_text(path)
    source, target = str(columns.source), str(columns.target)
    table = not is_json(path, content)
    if not table and not columns.header:
        raise DataError(f"{path}: columns by number (`header=False`) are for CSV and TSV; JSON lines name theirs.")
    rows: Iterator[tuple[str, dict[str, Any]]]
    if table:
        rows = table_rows(path, content, (source, target), header=columns.header)
    else:
        rows = json_rows(path, content)
    examples = []
    for where, row in rows:
        check_columns(where, (source, target), row)
        text, value = string(row[source], f"{where}: `{source}`"), row[target]
        several = strings(value, f"{where}: `{target}`") if isinstance(value, list) else None
        targets = (named(value, f"{where}: `{target}`"),) if several is None else several
        if not targets:
            raise DataError(f"{where}: `{target}` is an empty list.")
        examples.append(PairExample(text, targets))
    check_classes(path, set(), len(examples), min_classes=0)
    return examples


def read_mails(folder: Path) -> list[PairExample]:
    """Read AESLC's folder of mails, a file each, as mail to subject line.

    A file is the mail's body, a line `@subject` and the subject, and perhaps `@ann0`, `@ann1`, ... and what people
    wrote for it; these are further targets. The files are read in the order of their names.

    Args:
        folder: one split, such as `enron_subject_line/train`.

    Raises:
        DataError: what is wrong, with the file.

    Source: Zhang and Tetreault (2019), This Email Could Save Your Life.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of mails, found {'a file' if folder.exists() else 'nothing'}.")
    files = sorted(file for file in folder.iterdir() if file.suffix == ".subject" and not file.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: expected mails in files named `*.subject`, found none.")
    return [_mail(file) for file in files]


def _mail(file: Path) -> PairExample:
    body, *sections = _SECTION.split(read_text(file))
    names = sections[::2]
    if names.count("subject") != 1:
        raise DataError(f"{file}: expected one line `@subject` after the mail, found {names.count('subject')}.")
    body = string(body.strip(), f"{file}: the mail before `@subject`")
    texts = {}
    for name, text in zip(names, sections[1::2], strict=True):
        if name in texts:
            raise DataError(f"{file}: `@{shown(name)}` is there twice.")
        texts[name] = string(text.strip(), f"{file}: `@{name}`")
    return PairExample(body, (texts.pop("subject"), *texts.values()))
