"""Answers to any number of texts, in order, in bounded memory."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from trivium.core.errors import DataError
from trivium.tasks.base import Example, Task, Unlabelled
from trivium.tasks.folder import TunedModel

_TEXTS, _MOST_TEXTS = 64, 512  # read before the first is answered; the most that are read at once


def predict_texts(tuned: TunedModel, texts: Iterable[Unlabelled]) -> Iterator[dict[str, Any]]:
    """Yield the model's answer to each text, in the order of the texts.

    classify gives `{"text", "label", "probabilities"}` (and `text_pair` where there is one), label `{"tokens",
    "labels"}`; spans these, `text` and `spans`; nested `{"text", "tokens", "spans"}`; relate `{"text", "head", "tail",
    "relation", "probabilities"}`; answer `{"question", "answer", "start", "end", "score", "others"}`, where start and
    end are characters of the context (None where the answer is that there is none), and the others are the next best
    ones; write `{"text", "written"}`. Texts are read some hundred at a time, however many there are.

    Args:
        tuned: the fine-tuned model.
        texts: for classify, strings or lists of a text and its pair; for label, strings (cut into words by white
            space, or by Unicode's rules where there is none) or lists of words; for relate, objects with `text`, `head`
            and `tail`, or strings of JSON that are such; for write, texts, lists of the turns of a dialogue, or JSON
            of an object with `text` or `turns`.

    Raises:
        DataError: a text that is not of the task, with its number.
    """
    task, remaining, count = tuned.task, iter(enumerate(texts, start=1)), _TEXTS
    while taken := list(islice(remaining, count)):
        # Who has many texts wants them all soon: among more there are more of like lengths.
        count = min(2 * count, _MOST_TEXTS)
        examples = [_example(task, number, text) for number, text in taken]
        encoded = task.encode(examples, tuned.reading, known=False)
        yield from task.answered(tuned.model, examples, encoded)


def _example(task: Task, number: int, text: Unlabelled) -> Example:
    try:
        return task.unlabelled(text)
    except DataError as error:
        raise DataError(f"text {number}: {error}") from None
