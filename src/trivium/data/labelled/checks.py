"""What a value in a labelled file must be; each mistake is one line that says where, what was expected and found."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trivium.core.errors import DataError, nearest

_SHOWN = 40  # characters of a value in a message
_COMPARED = 200  # names that one is compared with: a text taken for a table may have very many
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def string(value: Any, where: str) -> str:
    """Return a string that says something."""
    if not isinstance(value, str):
        raise DataError(f"{where} is {kind(value)}; expected a string.")
    if not value.strip():
        raise DataError(f"{where} is empty.")
    return value


def named(value: Any, where: str) -> str:
    """Return a string; in JSON a whole number, true and false are as they are written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else string(value, where)


def strings(value: Any, where: str) -> tuple[str, ...]:
    """Return a list of strings, none of them empty."""
    if not isinstance(value, list):
        raise DataError(f"{where} is {kind(value)}; expected a list of strings.")
    return tuple(string(each, f"{where}: an entry") for each in value)


def number(value: Any, where: str) -> float:
    """Return a number that is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where} is {kind(value)}; expected a number.")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise DataError(f"{where} is not finite; expected a number.")
    return result


def written_number(cell: str, where: str) -> float:
    """Return the finite number that a field of a table spells in plain digits: no `1_000`, `nan` or `٣`."""
    digits = cell.strip()  # float() takes fewer signs for blanks than strip() does
    if not _NUMBER.fullmatch(digits):
        raise DataError(f"{where} is {shown(cell)!r}; expected a number.")
    return number(float(digits), where)


def offset(value: Any, where: str) -> int:
    """Return a whole number, which counts characters or items."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where} is {kind(value)}; expected a whole number.")
    return value


def items(row: Any, key: str, where: str) -> list[Any]:
    """Return the list that an object holds under a key."""
    value = entry(row, key, where)
    if not isinstance(value, list):
        raise DataError(f"{where}: `{shown(key)}` is {kind(value)}; expected a list.")
    return value


def entry(row: Any, key: str, where: str) -> Any:
    """Return what an object holds under a key."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, found {kind(row)}.")
    check_columns(where, (key,), row)
    return row[key]


def kind(value: Any) -> str:
    """Return what a JSON value is, in words."""
    if value is None:
        return "null"
    words = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return words.get(type(value), type(value).__name__)


def shown(text: str) -> str:
    """Return the beginning of a text as a message may show it: one line, and not long."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "..."


def names(found: Iterable[str]) -> str:
    """Return names as a message lists them."""
    listed = [f"`{shown(name)}`" for name in found]
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
    return (", ".join(listed[:12]) or "none") + more


def check_columns(where: str, required: tuple[str, ...], found: Iterable[str]) -> None:
    """Raise DataError for the first column that is not there, with the one that may have been meant."""
    known = list(found)
    for column in required:
        if column not in known:
            hint = nearest(column, [shown(name) for name in known[:_COMPARED]])
            raise DataError(f"{where}: no column `{column}`; found {names(known)}.{hint if 'mean' in hint else ''}")


def check_classes(path: Path, classes: set[str], num_examples: int, min_classes: int) -> None:
    """Raise DataError when there are no examples, or fewer classes than asked for."""
    if not num_examples:
        raise DataError(f"{path}: no examples; expected at least one after the header.")
    if len(classes) < min_classes:
        only = f"only the label `{shown(next(iter(classes)))}`" if len(classes) == 1 else f"only {len(classes)} labels"
        only = only if classes else "no label that is scored"
        raise DataError(f"{path}: {only}; expected at least {min_classes} classes.")
