"""Words and a label for each, from JSON lines or from columns, as words in a text or as spans of words."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import regex
from pydantic import Field

from trivium.core.config import Config
from trivium.core.errors import DataError
from trivium.data.labelled.checks import check_classes, check_columns, kind, shown, string
from trivium.data.labelled.files import is_json, json_rows, read_text
from trivium.data.labelled.problems import Problem
from trivium.data.labelled.spans import NestedExample
from trivium.data.labelled.tags import UNSCORED, Scheme, detect_scheme, is_tag, malformed, spans_of_tags, to_bio

_SPACELESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\u3000-\u303f\uff00-\uffef]{2}")

_LabelColumn = Annotated[int, Field(ge=1)] | Literal["last"]


class LabelExample(NamedTuple):
    """Words and the label of each; `UNSCORED` words are context only.

    `spaces` is the white space after each word in the text they are from; None = not known, see `text_of`. `before` is
    the white space before the first one, which is not read. `where` they stand: file and line, or item. `lost` are the
    labels of the text's right spans that no words say.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    spaces: tuple[str, ...] | None = None
    before: str = ""
    where: str = ""
    lost: tuple[str, ...] = ()


class TokenColumns(Config):
    """Which columns of a word-a-line file are the word and its label, by number, counted from 1.

    `treebank` is the label of a CoNLL-U file's words, whose columns have names: see `read_conllu`.
    """

    word: int = Field(default=1, ge=1)
    label: _LabelColumn = "last"
    treebank: str = "upos"


class SpanColumns(TokenColumns):
    """What of a file is read where spans are learned: columns of words, or in JSON the `text` that spans are of."""

    text: str = "text"


TOKEN_COLUMNS = TokenColumns()
SPAN_COLUMNS = SpanColumns()


class Entities(NamedTuple):
    """Sentences with BIO tags, what was malformed in the file, and the scheme it was read in."""

    examples: list[LabelExample]
    problems: list[Problem]
    scheme: Scheme


def text_of(example: LabelExample | NestedExample) -> tuple[str, list[int]]:
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


def whole_text(example: LabelExample | NestedExample) -> tuple[str, list[int]]:
    """Return the text as its user has it, white space before its first word included, and where its words begin."""
    text, starts = text_of(example)
    return example.before + text, [len(example.before) + start for start in starts]


def read_label(path: Path, *, columns: TokenColumns = TOKEN_COLUMNS, min_classes: int = 2) -> list[LabelExample]:
    """Read sentences whose words are labelled, from JSON lines or from a word and its label a line.

    JSON lines have `tokens` and `labels`, and `spaces`, the white space after each token, if it is
    known. Otherwise each line is a word first and its label last, or in other `columns`, apart by tabs or spaces, with
    a blank line between sentences; lines that begin with -DOCSTART- are skipped.

    Args:
        path: the file, compressed with gzip or not.
        columns: which columns of a word-a-line file are read.
        min_classes: fewer distinct labels than this, `UNSCORED` not counted, are an error.

    Raises:
        DataError: what is wrong, with file and line.
    """
    examples = [example for _, example in _sentences(path, columns)]
    classes = {label for example in examples for label in example.labels} - {UNSCORED}
    check_classes(path, classes, len(examples), min_classes)
    return examples


def read_entities(path: Path, *, columns: TokenColumns = TOKEN_COLUMNS, scheme: Scheme | None = None) -> Entities:
    """Read sentences whose labels mark spans of words, in any scheme, and return them with BIO tags.

    A sequence that its scheme forbids is read as conlleval does (see `spans_of_tags`), and listed with file and line.

    Args:
        path: a file of `read_label`.
        columns: which columns of a word-a-line file are read.
        scheme: the scheme of the tags; None = decided from all of them, see `detect_scheme`.

    Raises:
        DataError: what is wrong, with file and line; labels that are tags of no scheme, and a file without spans.
    """
    sentences = list(_sentences(path, columns))
    for where, example in sentences:
        wrong = next((place for place, label in enumerate(example.labels) if not is_tag(label)), None)
        if wrong is not None:
            raise DataError(
                f"{where.of(wrong)}: `{shown(example.labels[wrong])}` is no tag of a span; expected O, or a letter of "
                "BIO, BIOES, BMES or BILOU and a label, such as B-PER."
            )
    if scheme is None:
        scheme = detect_scheme(example.labels for _, example in sentences)
    problems = []
    for where, example in sentences:
        for place in malformed(example.labels, scheme):
            tag, word = shown(example.labels[place]), shown(example.tokens[place])
            before = f"after {shown(example.labels[place - 1])}" if place else "first"
            problems.append(Problem(where.of(place), f"{tag} ({word!r}) {before} is not {scheme}; read leniently."))
    examples = [example._replace(labels=to_bio(example.labels)) for _, example in sentences]
    classes = {span.label for example in examples for span in spans_of_tags(example.labels)}
    check_classes(path, classes, len(examples), min_classes=1)
    return Entities(examples, problems, scheme)


def is_word_file(path: Path) -> bool:
    """Return whether a file holds words and their labels, and not texts; raise DataError when it cannot be read."""
    content = read_text(path)
    if not is_json(path, content):
        return True
    _, first = next(json_rows(path, content), ("", {}))
    return "tokens" in first


class _Place(NamedTuple):
    """Where a sentence stands: in a word-a-line file each word on a line of its own."""

    path: Path
    line: int | None
    where: str

    def of(self, word: int) -> str:
        return f"{self.where}: word {word + 1}" if self.line is None else f"{self.path}:{self.line + word}"


def _sentences(path: Path, columns: TokenColumns) -> Iterator[tuple[_Place, LabelExample]]:
    content = read_text(path)
    if is_json(path, content):
        return _json_sentences(path, content)
    return _column_sentences(path, content, columns)


def _json_sentences(path: Path, content: str) -> Iterator[tuple[_Place, LabelExample]]:
    for where, row in json_rows(path, content):
        check_columns(where, ("tokens", "labels"), row)
        for column in ("tokens", "labels"):
            if not isinstance(row[column], list):
                raise DataError(f"{where}: `{column}` is {kind(row[column])}; expected a list of strings.")
        tokens, labels = row["tokens"], row["labels"]
        if len(tokens) != len(labels):
            raise DataError(f"{where}: {len(tokens)} tokens but {len(labels)} labels.")
        if not tokens:
            raise DataError(f"{where}: no tokens.")
        for column, words in (("tokens", tokens), ("labels", labels)):
            for word in words:
                string(word, f"{where}: an entry of `{column}`")
        spaces = _spaces(row.get("spaces"), len(tokens), where)
        example = LabelExample(tuple(tokens), tuple(labels), spaces, where=where)
        yield _Place(path, None, where), example


def _column_sentences(path: Path, content: str, columns: TokenColumns) -> Iterator[tuple[_Place, LabelExample]]:
    pairs: list[tuple[str, str]] = []
    needed = max(2, columns.word, 0 if columns.label == "last" else columns.label)
    label = -1 if columns.label == "last" else columns.label - 1
    for number, line in enumerate([*content.split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("-DOCSTART-"):
            if pairs:
                tokens, labels = zip(*pairs, strict=True)
                place = _Place(path, number - len(pairs), "")
                yield place, LabelExample(tokens, labels, where=place.of(0))
                pairs = []
            continue
        fields = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        word = fields[columns.word - 1] if len(fields) >= needed else ""
        if not word.strip() or not fields[label].strip():
            expected = "a word and its label" if needed == 2 else f"{needed} columns, a word and its label in them"
            raise DataError(f"{path}:{number}: expected {expected}, found {line.strip()[:40]!r}.")
        pairs.append((word, fields[label].strip()))


def _spaces(value: Any, count: int, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) and not each.strip() for each in value):
        raise DataError(f"{where}: `spaces` must be a list of the white space after each token.")
    if len(value) != count:
        raise DataError(f"{where}: {count} tokens but {len(value)} spaces.")
    return tuple(value)
