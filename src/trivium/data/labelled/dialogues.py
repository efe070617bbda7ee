"""Dialogues, and the pairs of what was said and what is said next that a model learns from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.errors import DataError
from trivium.data.labelled.checks import check_columns, items, kind, string
from trivium.data.labelled.files import is_json, json_document, json_values, lines_of, read_text
from trivium.data.labelled.pairs import PairExample

_END_OF_TURN = "__eou__"
_TEXTS = ("text", "utterance", "content")


class DialogueExample(NamedTuple):
    """The turns of a dialogue, in order."""

    turns: tuple[str, ...]


def read_dialogues(path: Path) -> list[DialogueExample]:
    """Read dialogues from JSON lines, from a line each with `__eou__` after every turn, or from RECCON's JSON.

    A JSON line (or an item of one JSON list) is a list of turns, or an object with `turns` or `messages`; a turn is a
    string, or an object with its `text`, `utterance` or `content`. RECCON's file is one object, whose values are each
    a list of a list of turns.

    Args:
        path: the file, compressed with gzip or not.

    Raises:
        DataError: what is wrong, with file and line; a dialogue or a turn that is empty is.
    """
    content = read_text(path)
    if not is_json(path, content) and not content.lstrip().startswith(("[", "{")):
        return [_of_line(line, f"{path}:{number}") for number, line in lines_of(content)]
    examples = []
    for where, value in _values(path, content):
        turns = value
        if isinstance(value, dict):
            key = "messages" if "messages" in value and "turns" not in value else "turns"
            turns = items(value, key, where)
        if not isinstance(turns, list):
            raise DataError(f"{where}: expected a list of turns, found {kind(turns)}.")
        examples.append(_dialogue([_turn(turn, where) for turn in turns], where))
    if not examples:
        raise DataError(f"{path}: no dialogues; expected at least one.")
    return examples


def turn_pairs(dialogue: DialogueExample, *, max_turns: int | None = None) -> list[PairExample]:
    """Return for each turn but the first what was said before it, and the turn.

    Args:
        dialogue: its turns.
        max_turns: the last turns of the history that are kept, at least 1; None = all.

    Raises:
        DataError: `max_turns` is less than 1.
    """
    if max_turns is not None and max_turns < 1:
        raise DataError(f"`max_turns` must be at least 1: found {max_turns}.")
    turns = dialogue.turns
    return [
        PairExample("\n".join(turns[0 if max_turns is None else max(0, place - max_turns) : place]), (turn,))
        for place, turn in enumerate(turns)
        if place
    ]


def _values(path: Path, content: str) -> Iterator[tuple[str, Any]]:
    first = content.lstrip().partition("\n")[0].strip()
    # An object over several lines, or alone in its file without `turns`, is RECCON's; else each line is a dialogue.
    alone = first == content.strip() and not ('"turns"' in first or '"messages"' in first)
    if not first.startswith("{") or not (first == "{" or alone):
        yield from json_values(path, content)
        return
    document = json_document(path, content)
    if not isinstance(document, dict) or "turns" in document or "messages" in document:
        yield f"{path}", document
        return
    for name, value in document.items():
        where = f"{path}: {name[:40]!r}"
        if not isinstance(value, list):
            raise DataError(f"{where}: expected a list of a list of turns, found {kind(value)}.")
        for turns in value:
            yield where, turns


def _of_line(line: str, where: str) -> DialogueExample:
    if _END_OF_TURN not in line:
        raise DataError(f"{where}: expected JSON, or turns that end with {_END_OF_TURN}; found neither.")
    turns = line.split(_END_OF_TURN)
    if not turns[-1].strip():
        turns.pop()
    return _dialogue([turn.strip() for turn in turns], where)


def _turn(value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        return value
    key = next((name for name in _TEXTS if name in value), None)
    if key is None:
        check_columns(f"{where}: a turn", ("text",), value)
    return value[key]


def _dialogue(turns: list[Any], where: str) -> DialogueExample:
    if not turns:
        raise DataError(f"{where}: no turns.")
    return DialogueExample(tuple(string(turn, f"{where}: turn {number}") for number, turn in enumerate(turns, start=1)))
