"""Answers to any number of texts, in order, in bounded memory."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from trivium.core.errors import DataError
from trivium.data.labelled import json_line
from trivium.tasks.answer.task import Answer
from trivium.tasks.base import Example, Task, Unlabelled
from trivium.tasks.folder import TunedModel
from trivium.tasks.relate.task import Relate
from trivium.tasks.write.task import Write

_READ_JSON = (Relate, Answer, Write)  # know themselves what their JSON says
_TEXTS, _MOST_TEXTS = 64, 2048  # read before the first is answered; the most that are read at once


def predict_texts(tuned: TunedModel, texts: Iterable[Unlabelled]) -> Iterator[dict[str, Any]]:
    """Yield the model's answer to each text, in the order of the texts.

    classify gives `{"text", "label", "probabilities"}` (and `text_pair` where there is one), label `{"text", "tokens",
    "labels", "words"}`, where each of the words has `start`, `end`, `label` and `probability`; spans `{"text",
    "tokens", "labels", "spans"}`; nested `{"text", "tokens", "spans"}`; relate `{"text", "head", "tail", "relation",
    "probabilities"}`; answer `{"question", "answer", "start", "end", "score", "others"}`, where start and end are
    characters of the context (None where the answer is that there is none), and the others are the next best ones;
    write `{"text", "written"}`. Texts are read up to two thousand at a time, however many there are.

    Args:
        tuned: the fine-tuned model.
        texts: for classify, strings or lists of a text and its pair; for label, spans and nested, strings (cut into
            words by Unicode's rules, see `cut_text`) or lists of words; any of them also as JSON, see `asked`; for
            relate, objects with `text`, `head` and `tail`, or strings of JSON that are such; for write, texts, lists of
            the turns of a dialogue, or JSON of an object with `text` or `turns`.

    Raises:
        DataError: a text that is not of the task, with its number.
    """
    task, remaining, count = tuned.task, iter(enumerate(texts, start=1)), _TEXTS
    while taken := list(islice(remaining, count)):
        # Who has many texts wants them all soon: among more there are more of like lengths.
        count = min(16 * count, _MOST_TEXTS)
        examples = [_example(task, number, text) for number, text in taken]
        encoded = task.encode(examples, tuned.reading, known=False)
        yield from task.answered(tuned.model, examples, encoded)


def asked(line: str) -> Unlabelled:
    """Return what a line of input asks: where it is JSON, a list of texts or words, or an object that holds them.

    An object may have `tokens`, or a `text` and a `text_pair`. All else is a text, or what a task reads by itself.
    """
    if not line.lstrip().startswith(("[", "{")):
        return line
    try:
        found = json_line(line, "line")
    except DataError:
        return line
    if isinstance(found, dict):
        texts = [found[key] for key in ("text", "text_pair") if found.get(key) is not None]
        found = found.get("tokens") or (texts[0] if len(texts) == 1 else texts)
    if isinstance(found, list) and found and all(isinstance(each, str) for each in found):
        return found
    return found if isinstance(found, str) else line


def _example(task: Task, number: int, text: Unlabelled) -> Example:
    if isinstance(text, str) and not isinstance(task, _READ_JSON):
        text = asked(text)
    try:
        return task.unlabelled(text)
    except DataError as error:
        raise DataError(f"text {number}: {error}") from None
