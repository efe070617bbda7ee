"""What people have of pairs, mails and dialogues, as examples of the task `write`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.core.errors import DataError
from trivium.data.labelled import DialogueExample, PairExample, read_dialogues, read_mails, read_pairs, turn_pairs
from trivium.data.labelled.files import is_json, json_line, read_text
from trivium.tasks.write.config import WriteConfig

_LOOKED_AT = 65_536  # characters of a file, to see what it holds


class TurnExample(PairExample):
    """What was said in a dialogue, and the turn after it."""


def read_examples(path: Path, settings: WriteConfig) -> list[PairExample]:
    """Read pairs, or the turns of dialogues each with those before it, or a folder of mails.

    Raises:
        DataError: what is wrong, with file and line.
    """
    if path.is_dir():
        return read_mails(path)
    if (settings.form or _form(path, settings)) == "pairs":
        return read_pairs(path, columns=settings.columns)
    examples = [
        TurnExample(*pair)
        for dialogue in read_dialogues(path)
        for pair in turn_pairs(dialogue, max_turns=settings.max_turns)
    ]
    if not examples:
        raise DataError(f"{path}: no dialogue has two turns, so that there is nothing to answer.")
    return [*examples]


def unlabelled_example(value: str | Sequence[str], settings: WriteConfig) -> PairExample:
    """Return what a user wrote as an example without a target.

    Args:
        value: a text; JSON of an object with a `text`, or with the `turns` of a dialogue; or a list of turns.
        settings: say how many turns are read.

    Raises:
        DataError: there are no turns, or one that is no string.
    """
    found = _parsed(value) if isinstance(value, str) else list(value)
    if isinstance(found, str):
        return PairExample(found, ())
    if not found or not all(isinstance(turn, str) for turn in found):
        raise DataError(f"write: expected `turns` that are strings, at least one; found {found!r:.60}.")
    history = turn_pairs(DialogueExample((*found, "")), max_turns=settings.max_turns)[-1].source
    return TurnExample(history, ())


def _parsed(value: str) -> Any:
    """Return the text or the turns of a JSON object; whatever else is written is the text itself."""
    if not value.lstrip().startswith("{"):
        return value
    try:
        row = json_line(value, "line")
    except DataError:
        return value
    if isinstance(row.get("turns"), list):
        return row["turns"]
    return row["text"] if isinstance(row.get("text"), str) else value


def _form(path: Path, settings: WriteConfig) -> str:
    content = read_text(path)
    first = content.lstrip().partition("\n")[0]
    if not is_json(path, content) and not first.startswith(("[", "{")):
        return "dialogues" if "__eou__" in first else "pairs"
    beginning = content[:_LOOKED_AT]
    columns = (settings.columns.source, settings.columns.target)
    if all(f'"{column}"' in beginning for column in columns):
        return "pairs"
    if first.startswith("[") or any(name in beginning for name in ('"turns"', '"messages"')):
        return "dialogues"
    try:
        row = json_line(first, f"{path}:1")
    except DataError:
        return "dialogues"  # one object over several lines
    lists = isinstance(row, dict) and all(isinstance(value, list) for value in row.values())
    return "dialogues" if lists else "pairs"
