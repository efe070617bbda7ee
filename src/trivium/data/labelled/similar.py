"""Pairs of texts that mean the same, or pairs with a number that says how near they are."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.errors import DataError
from trivium.data.labelled.checks import check_classes, check_columns, number, string, written_number
from trivium.data.labelled.files import is_json, json_rows, read_text, table_rows

_TEXTS, _SCORE = ("text", "text_pair"), "label"


class SimilarExample(NamedTuple):
    """Two texts that belong together, or how near they are to each other; one text where nothing is known of it."""

    text: str
    text_pair: str | None
    score: float | None = None  # higher is nearer
    where: str = ""  # they stand: file and line, or item


def read_similar(path: Path) -> list[SimilarExample]:
    """Read pairs of texts from JSON lines, CSV or TSV, compressed with gzip or not.

    The columns are `text`, `text_pair` and, of pairs with scores, `label`, a number: all rows have one or none has.

    Args:
        path: the file.

    Raises:
        DataError: what is wrong, with file and line.
    """
    content = read_text(path)
    table = not is_json(path, content)
    rows: Iterator[tuple[str, Mapping[str, Any]]]
    rows = table_rows(path, content, _TEXTS) if table else json_rows(path, content)
    examples: list[SimilarExample] = []
    for where, row in rows:
        check_columns(where, _TEXTS, row)
        text, text_pair = (string(row[name], f"{where}: `{name}`") for name in _TEXTS)
        score = _score(row.get(_SCORE), f"{where}: `{_SCORE}`", table=table)
        if examples and (score is None) != (examples[0].score is None):
            found, before = ("no number", "a number") if score is None else ("a number", "no number")
            raise DataError(f"{where}: `{_SCORE}` has {found}, the rows before have {before}; give all or none.")
        examples.append(SimilarExample(text, text_pair, score, where))
    check_classes(path, set(), len(examples), min_classes=0)
    return examples


def _score(value: Any, where: str, *, table: bool) -> float | None:
    if value is None or (table and not value.strip()):
        return None
    return (written_number if table else number)(value, where)
