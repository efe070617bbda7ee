"""CoNLL-U: words of a treebank with one of their columns as label, and the white space of the text."""

import re
from collections.abc import Iterator
from pathlib import Path

from trivium.core.errors import ConfigError, DataError
from trivium.data.labelled.checks import check_classes, shown
from trivium.data.labelled.files import read_text
from trivium.data.labelled.label import LabelExample
from trivium.data.labelled.tags import UNSCORED

ABSENT = "-"
"""The label of a word that has no such feature; `_`, which CoNLL-U writes for no features, is `UNSCORED` here."""

_ESCAPES = {"s": " ", "t": "\t", "n": "\n", "r": "\r", "p": "|", "\\": "\\"}
_COLUMNS = {"upos": 3, "xpos": 4}
_FEATURES, _MISC = 5, 9


def read_conllu(path: Path, *, column: str = "upos", min_classes: int = 2) -> list[LabelExample]:
    """Read the sentences of a CoNLL-U file: the tree's words, a label each, and the white space between them.

    Of a multiword token (`2-3`) the words are read, and nothing stands between them if they spell its form, else a
    space does. Empty nodes (`5.1`) are not words of the text and are skipped. `SpaceAfter=No` and `SpacesAfter=` give
    `spaces`; nothing stands after the last word.

    Args:
        path: the file, compressed with gzip or not.
        column: `upos`, `xpos`, or `feats.` and the name of a feature, such as `feats.Number`: a word without it has
            the label `ABSENT`. In upos and xpos `_` is `UNSCORED`.
        min_classes: fewer distinct labels than this are an error.

    Raises:
        DataError: what is wrong, with file and line.
        ConfigError: a column that is none of these.

    Source: https://universaldependencies.org/format.html
    """
    feature = column.removeprefix("feats.") if column.startswith("feats.") else None
    if column not in _COLUMNS and not feature:
        raise ConfigError(f"column {column!r}: expected upos, xpos or feats.NAME, such as feats.Number.")
    examples = [_example(path, lines, column, feature) for lines in _sentences(path)]
    classes = {label for example in examples for label in example.labels} - {UNSCORED}
    check_classes(path, classes, len(examples), min_classes)
    return examples


_Line = tuple[int, list[str]]


def _sentences(path: Path) -> Iterator[list[_Line]]:
    """Yield the lines of each sentence, without comments and empty nodes, as fields."""
    lines: list[_Line] = []
    for number, line in enumerate([*read_text(path).split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if not line.strip():
            if lines:
                yield lines
                lines = []
            continue
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 10:
            raise DataError(f"{path}:{number}: expected the 10 columns of CoNLL-U apart by tabs, found {len(fields)}.")
        if not re.fullmatch(r"[0-9]+\.[0-9]+", fields[0]):
            lines.append((number, fields))


def _example(path: Path, lines: list[_Line], column: str, feature: str | None) -> LabelExample:
    tokens: list[str] = []
    labels: list[str] = []
    spaces: list[str] = []
    joined: tuple[int, str, str] | None = None  # of a multiword token: its last word, form and what stands after it
    first = 0  # the multiword token's first word, as a place in `tokens`
    for number, fields in lines:
        place = f"{path}:{number}"
        if span := re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", fields[0]):
            begin, last = int(span[1]), int(span[2])
            if joined is not None or begin != len(tokens) + 1 or last < begin:
                raise DataError(f"{place}: the words {fields[0]} are not those that follow.")
            joined, first = (last, fields[1], _space_after(fields[_MISC])), len(tokens)
            continue
        if fields[0] != str(len(tokens) + 1):
            raise DataError(f"{place}: expected word {len(tokens) + 1}, found {shown(fields[0])!r}.")
        if not fields[1].strip():
            raise DataError(f"{place}: the word's form is empty.")
        tokens.append(fields[1])
        labels.append(_label(fields, column, feature, place))
        spaces.append(_space_after(fields[_MISC]) if joined is None else "")
        if joined is not None and joined[0] == len(tokens):
            between = "" if "".join(tokens[first:]) == joined[1] else " "
            spaces[first:] = [between] * (len(tokens) - first - 1) + [joined[2]]
            joined = None
    if joined is not None or not tokens:
        raise DataError(f"{path}:{lines[-1][0]}: a multiword token without all of its words.")
    spaces[-1] = ""
    return LabelExample(tuple(tokens), tuple(labels), tuple(spaces), where=f"{path}:{lines[0][0]}")


def _label(fields: list[str], column: str, feature: str | None, place: str) -> str:
    if feature is None:
        label = fields[_COLUMNS[column]].strip()
        if not label:
            raise DataError(f"{place}: the column {column} is empty; CoNLL-U writes `_` where there is nothing.")
        return label
    value = next(
        (pair.removeprefix(f"{feature}=") for pair in fields[_FEATURES].split("|") if pair.startswith(f"{feature}=")),
        ABSENT,
    ).strip()
    if not value:
        raise DataError(f"{place}: the feature {feature} has no value.")
    return value


def _space_after(misc: str) -> str:
    for pair in misc.split("|"):
        name, _, value = pair.partition("=")
        if name == "SpaceAfter" and value == "No":
            return ""
        if name == "SpacesAfter":
            space = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", _unescaped, value)
            return space if not space.strip() else " "
    return " "


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPES.get(match[2], match[0])
