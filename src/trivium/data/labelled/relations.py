"""Relations between two spans of a text: one a row, or all of a text together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, permutations
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.errors import DataError
from trivium.data.labelled.checks import check_classes, check_columns, entry, items, kind, shown, string
from trivium.data.labelled.files import is_json, json_rows, lines_of, read_text
from trivium.data.labelled.problems import Labelled, Problem, checked
from trivium.data.labelled.spans import Marked, Span, mark, marks, placed

_SENTENCE = re.compile(r'[0-9]+\s+"(.*)"\s*')
_RELATION = re.compile(r"\S+")
_MARKS = re.compile(r"</?e[12]>")


class RelationExample(NamedTuple):
    """A text, two of its spans in characters, and how the first is related to the second."""

    text: str
    head: Span
    tail: Span
    relation: str
    where: str = ""  # they stand: file and line, or item


class Relation(NamedTuple):
    """A relation between two spans of an example, by their number, counted from 0."""

    head: int
    tail: int
    label: str


class JointExample(NamedTuple):
    """A text, its spans in characters, and the relations among them."""

    text: str
    spans: tuple[Span, ...]
    relations: tuple[Relation, ...]
    where: str = ""  # they stand: file and line, or item


def read_relations(path: Path, *, min_classes: int = 2) -> Labelled[RelationExample]:
    """Read texts with two marked spans and their relation, from JSON lines or in SemEval-2010 task 8's form.

    JSON rows have `text`, `head` and `tail` (each with `start`, `end` and `label`), and `relation`. In SemEval's form a
    line with a number and a quoted sentence with `<e1>` and `<e2>` is followed by the relation's line; comments are
    skipped. A span that does not fit its text is listed and its example left out. In SemEval's form the spans are
    labelled e1 and e2, the head is always e1, and the relation keeps its direction, such as `Cause-Effect(e2,e1)`:
    turning the spans instead would tell a model which direction is right.

    Args:
        path: the file, compressed with gzip or not.
        min_classes: fewer distinct relations than this are an error.

    Raises:
        DataError: what is wrong, with file and line.
    """
    content = read_text(path)
    problems: list[Problem] = []
    if is_json(path, content):
        examples = list(_json_pairs(path, content, problems))
    else:
        examples = list(_semeval(path, content))
    result = checked(path, examples, problems)
    check_classes(path, {example.relation for example in examples}, len(examples), min_classes)
    return result


def unlabelled_relation(row: Mapping[str, Any], where: str) -> RelationExample:
    """Return a row with `text`, `head` and `tail` as an example whose relation is not known, "".

    Args:
        row: as `read_relations` describes it; other columns are not looked at.
        where: it stands, for messages.

    Raises:
        DataError: a column that is missing or of another kind, or a span that does not fit the text.
    """
    text, head, tail = _pair(row, where)
    return RelationExample(text, _fitting(head, f"{where}: `head`"), _fitting(tail, f"{where}: `tail`"), "")


def read_joint(path: Path, *, min_classes: int = 1) -> Labelled[JointExample]:
    """Read texts with all their spans and relations, from JSON lines or one JSON list.

    Rows are `{"text", "spans": [{"start", "end", "label"}], "relations": [{"head", "tail", "label"}]}`, head and tail
    being numbers of spans counted from 0; or as doccano writes them, `entities` with an `id` each and `relations` with
    `from_id`, `to_id` and `type`. A span that does not fit its text is left out and listed, and so are its relations.

    Args:
        path: the file, compressed with gzip or not.
        min_classes: fewer distinct relations than this are an error.

    Raises:
        DataError: what is wrong, with file and line; so is a relation with a span that the row does not have.
    """
    problems: list[Problem] = []
    examples = [_joint(row, where, problems) for where, row in json_rows(path, read_text(path))]
    result = checked(path, examples, problems)
    classes = {relation.label for example in examples for relation in example.relations}
    if problems and len(classes) < min_classes:
        raise DataError(f"{path}: no usable relations of {min_classes} classes. First: {problems[0]}")
    check_classes(path, classes, len(examples), min_classes)
    return result


def is_joint(path: Path) -> bool:
    """Say whether a file has all spans and relations of a text in a row, by its first; raise DataError as they do."""
    content = read_text(path)
    return is_json(path, content) and any("relations" in row for _, row in islice(json_rows(path, content), 1))


def pairs_of(examples: Sequence[JointExample], *, none: str) -> Labelled[RelationExample]:
    """Return each span of a text with each other one as a pair, in order, and the relations that pairs cannot say.

    Of several relations of one span to another the first is taken; one of a span to itself is none of a pair.

    Args:
        examples: texts with their spans and relations.
        none: the relation of those that have none; "" = they are left out.
    """
    pairs: list[RelationExample] = []
    problems: list[Problem] = []
    for text, spans, relations, where in examples:
        named: dict[tuple[int, int], str] = {}
        for head, tail, label in relations:
            if head == tail or named.setdefault((head, tail), label) != label:
                why = "of a span to itself" if head == tail else f"of spans that are related by `{named[head, tail]}`"
                problems.append(Problem(where, f"left out: the relation `{shown(label)}` {why}."))
        for head, tail in permutations(range(len(spans)), 2):
            label = named.get((head, tail), none)
            if label:
                pairs.append(RelationExample(text, spans[head], spans[tail], label, where))
    return Labelled(pairs, problems)


def _json_pairs(path: Path, content: str, problems: list[Problem]) -> Iterator[RelationExample]:
    for where, row in json_rows(path, content):
        check_columns(where, ("text", "head", "tail", "relation"), row)
        relation = string(row["relation"], f"{where}: `relation`").strip()
        text, head, tail = _pair(row, where)
        match head, tail:
            case Span(), Span():
                yield RelationExample(text, head, tail, relation, where)
            case _:
                problems += [each for each in (head, tail) if isinstance(each, Problem)]


def _pair(row: Mapping[str, Any], where: str) -> tuple[str, Span | Problem, Span | Problem]:
    """Return the text of a row and its two spans, or what is wrong with them."""
    check_columns(where, ("text", "head", "tail"), row)
    text = string(row["text"], f"{where}: `text`")
    head, tail = (placed(text, mark(row[name], f"{where}: `{name}`"), where) for name in ("head", "tail"))
    return text, head, tail


def _fitting(found: Span | Problem, where: str) -> Span:
    """Return a span; raise DataError when there is a problem instead."""
    if isinstance(found, Problem):
        raise DataError(f"{where}: {found.message.removeprefix('left out: ')}")
    return found


def _semeval(path: Path, content: str) -> Iterator[RelationExample]:
    lines = [(number, line) for number, line in lines_of(content) if not line.lstrip().startswith("Comment")]
    for (number, sentence), following in zip(lines[::2], [*lines[1::2], None], strict=False):
        where = f"{path}:{number}"
        match = _SENTENCE.fullmatch(sentence.strip())
        if match is None:
            raise DataError(
                f"{where}: expected JSON, or a number and a sentence in quotes as in SemEval-2010 task 8, found "
                f"{shown(sentence)!r}."
            )
        if following is None or not _RELATION.fullmatch(following[1].strip()):
            found = "the end of the file" if following is None else repr(shown(following[1]))
            raise DataError(f"{where}: expected a relation on the next line, found {found}.")
        text, head, tail = _unmarked(match[1], where)
        yield RelationExample(text, head, tail, following[1].strip(), where)


def _unmarked(sentence: str, where: str) -> tuple[str, Span, Span]:
    """Return a sentence without its marks, and where they were."""
    places: dict[str, int] = {}
    parts, end, length = [], 0, 0
    for found in _MARKS.finditer(sentence):
        if found[0] in places:
            raise DataError(f"{where}: the mark {found[0]} is there twice.")
        parts.append(sentence[end : found.start()])
        length += len(parts[-1])
        places[found[0]] = length
        end = found.end()
    text = "".join([*parts, sentence[end:]])
    spans = []
    for name in ("e1", "e2"):
        start, stop = places.get(f"<{name}>"), places.get(f"</{name}>")
        if start is None or stop is None or start >= stop:
            raise DataError(f"{where}: expected a span between <{name}> and </{name}>, found none.")
        spans.append(Span(start, stop, name))
    return text, spans[0], spans[1]


def _joint(row: dict[str, Any], where: str, problems: list[Problem]) -> JointExample:
    text = string(entry(row, "text", where), f"{where}: `text`")
    marked = list(marks(row, where))
    kept: dict[int, int] = {}  # numbers in the row to numbers among the spans that fit
    spans: list[Span] = []
    for number, each in enumerate(marked):
        found = placed(text, each, where)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            kept[number] = len(spans)
            spans.append(found)
    relations = []
    named = _named(marked, where)
    for value in items(row, "relations", where):
        head, tail, label = _relation(value, len(marked), named, f"{where}: an entry of `relations`")
        if head in kept and tail in kept:
            relations.append(Relation(kept[head], kept[tail], label))
        else:
            problems.append(Problem(where, f"left out: the relation `{shown(label)}` of a span that was left out."))
    return JointExample(text, tuple(spans), tuple(relations), where)


def _named(marked: list[Marked], where: str) -> dict[int | str, int]:
    """Return the numbers of a row's spans by their ids."""
    named: dict[int | str, int] = {}
    for number, each in enumerate(marked):
        if isinstance(each.name, int | str) and not isinstance(each.name, bool):
            if each.name in named:
                raise DataError(f"{where}: two spans have the id {shown(str(each.name))}.")
            named[each.name] = number
    return named


def _relation(value: Any, num_spans: int, named: dict[int | str, int], where: str) -> Relation:
    """Return a relation with the numbers of its spans in the row."""
    if not isinstance(value, dict):
        raise DataError(f"{where} is {kind(value)}; expected an object.")
    by_id = "from_id" in value
    head, tail, label = ("from_id", "to_id", "type") if by_id else ("head", "tail", "label")
    check_columns(where, (head, tail, label), value)
    numbers = []
    for end in (value[head], value[tail]):
        number = None
        if isinstance(end, int | str) and not isinstance(end, bool):
            number = named.get(end) if by_id else end
        if not isinstance(number, int) or not 0 <= number < num_spans:
            raise DataError(f"{where}: no span {shown(str(end))}; the row has {num_spans}.")
        numbers.append(number)
    return Relation(numbers[0], numbers[1], string(value[label], f"{where}: `{label}`").strip())
