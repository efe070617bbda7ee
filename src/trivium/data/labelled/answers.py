"""Questions whose answers stand in a text: SQuAD's JSON and what follows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.errors import DataError
from trivium.data.labelled.checks import entry, items, kind, offset, shown, string
from trivium.data.labelled.files import json_document, read_text
from trivium.data.labelled.problems import Labelled, Problem, checked


class Answer(NamedTuple):
    """An answer: its text, and the character of the context that it begins at."""

    start: int
    text: str


class AnswerExample(NamedTuple):
    """A question about a context; without answers it is one that the context does not answer.

    `unplaced` are right answers that the context does not hold: a prediction may be scored against them, as the data's
    own evaluation does, but there is nothing to learn where they begin.
    """

    id: str
    title: str | None
    context: str
    question: str
    answers: tuple[Answer, ...]
    unplaced: tuple[str, ...] = ()


def read_answers(path: Path) -> Labelled[AnswerExample]:
    """Read questions, contexts and answers from JSON as SQuAD (1.1 and 2.0) or CMRC 2018 has it.

    SQuAD: `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text",
    "answer_start"}], "is_impossible"}]}]}]}`. CMRC's own form: `[{"context_id", "context_text", "qas": [{"query_id",
    "query_text", "answers": [text]}]}]`, where an answer is taken to begin where it first occurs; a number that a
    spreadsheet has made of an answer is read as its text.

    An answer that does not stand at its offset is listed as a problem. It is moved to its nearest occurrence in the
    context, or is among `unplaced` if there is none; a question all of whose answers are so is left out, because
    without them it would look as if the context did not answer it. So are a question that is empty, and one without
    answers whose `is_impossible` is false.

    Args:
        path: the file, compressed with gzip or not.

    Raises:
        DataError: what is wrong, with file and question; an id that is there twice is.
    """
    document = json_document(path, read_text(path))
    raws = list(_cmrc(path, document) if isinstance(document, list) else _squad(path, document))
    problems: list[Problem] = []
    examples = [example for raw in raws if (example := _example(path, raw, problems)) is not None]
    ids: set[str] = set()
    for raw in raws:
        if raw.id in ids:
            raise DataError(f"{path}: the question {shown(raw.id)} is there twice.")
        ids.add(raw.id)
    return checked(path, examples, problems)


class _Raw(NamedTuple):
    """A question as its file has it."""

    id: str
    title: str | None
    context: str
    question: str
    answers: list[tuple[int | None, str]]  # None: the file does not say where
    impossible: bool | None  # None: the file does not say


def _squad(path: Path, document: Any) -> Iterator[_Raw]:
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected SQuAD's JSON object or CMRC's list, found {kind(document)}.")
    for number, article in enumerate(items(document, "data", f"{path}")):
        place = f"{path}: data[{number}]"
        paragraphs = items(article, "paragraphs", place)
        title = article.get("title")
        for index, paragraph in enumerate(paragraphs):
            where = f"{place}.paragraphs[{index}]"
            context = string(entry(paragraph, "context", where), f"{where}: `context`")
            for row in items(paragraph, "qas", where):
                yield _squad_question(row, where, context, title if isinstance(title, str) else None)


def _squad_question(row: Any, where: str, context: str, title: str | None) -> _Raw:
    name = _name(entry(row, "id", where), where)
    where = f"{where}: question {shown(name)}"
    question = _text(entry(row, "question", where), f"{where}: `question`")
    answers: list[tuple[int | None, str]] = []
    for answer in items(row, "answers", where):
        text = _text(entry(answer, "text", where), f"{where}: `text`")
        answers.append((offset(entry(answer, "answer_start", where), f"{where}: `answer_start`"), text))
    impossible = row.get("is_impossible")
    if not isinstance(impossible, bool | None):
        raise DataError(f"{where}: `is_impossible` is {kind(impossible)}; expected true or false.")
    return _Raw(name, title, context, question, answers, impossible)


def _cmrc(path: Path, document: list[Any]) -> Iterator[_Raw]:
    for number, row in enumerate(document):
        where = f"{path}: [{number}]"
        context = string(entry(row, "context_text", where), f"{where}: `context_text`")
        title = row.get("title")
        for each in items(row, "qas", where):
            name = _name(entry(each, "query_id", where), where)
            place = f"{where}: question {shown(name)}"
            question = _text(entry(each, "query_text", place), f"{place}: `query_text`")
            texts = [_text(answer, f"{place}: an answer") for answer in items(each, "answers", place)]
            kept = title if isinstance(title, str) else None
            yield _Raw(name, kept, context, question, [(None, text) for text in texts], None)


def _example(path: Path, raw: _Raw, problems: list[Problem]) -> AnswerExample | None:
    where = f"{path}: question {shown(raw.id)}"
    if not raw.question.strip():
        problems.append(Problem(where, "left out: the question is empty."))
        return None
    if raw.impossible:
        return AnswerExample(raw.id, raw.title, raw.context, raw.question, ())
    if raw.impossible is False and not raw.answers:
        problems.append(Problem(where, "left out: it is said not to be impossible, and has no answer."))
        return None
    placed, unplaced = [], []
    for stated, text in raw.answers:
        if not text.strip():
            problems.append(Problem(where, "an answer is empty; left out."))
            continue
        start = _nearest(raw.context, text, stated or 0)
        if start is None:
            unplaced.append(text)
            problems.append(Problem(where, f"the answer {shown(text)!r} is not in the context."))
            continue
        if stated is not None and start != stated:
            message = f"the answer {shown(text)!r} is not at {stated}; moved to its nearest occurrence, {start}."
            problems.append(Problem(where, message))
        placed.append(Answer(start, text))
    if raw.answers and not placed:
        problems.append(Problem(where, "left out: none of its answers is in the context."))
        return None
    return AnswerExample(raw.id, raw.title, raw.context, raw.question, tuple(placed), tuple(unplaced))


def _nearest(context: str, text: str, start: int) -> int | None:
    """Return the occurrence nearest to `start`, the earlier of two as near; None when there is none."""
    if start >= 0 and context.startswith(text, start):
        return start
    start = max(0, start)
    before, after = context.rfind(text, 0, start + len(text)), context.find(text, start)
    found = [place for place in (before, after) if place >= 0]
    return min(found, key=lambda place: abs(place - start), default=None)


def _name(value: Any, where: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return string(value, f"{where}: the question's id")


def _text(value: Any, where: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where} is {kind(value)}; expected a string.")
    return value
