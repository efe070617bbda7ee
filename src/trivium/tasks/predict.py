"""Answers to any number of texts, in order, in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from trivium.tasks.folder import TunedModel

_TEXTS = 64  # read before the first is answered


def predict_texts(tuned: TunedModel, texts: Iterable[str | Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Yield the model's answer to each text, in the order of the texts.

    classify gives `{"text", "label", "probabilities"}` (and `text_pair` where there is one), label `{"tokens",
    "labels"}`, write `{"text", "written"}`. Texts are read a few dozen at a time, however many there are.

    Args:
        tuned: the fine-tuned model.
        texts: for classify, strings or lists of a text and its pair; for label, strings (cut into words by white
            space, or by Unicode's rules where there is none) or lists of words; for write, texts, lists of the turns
            of a dialogue, or JSON of an object with `text` or `turns`.

    Raises:
        DataError: a text that is not of the task.
    """
    task, remaining = tuned.task, iter(texts)
    while taken := list(islice(remaining, _TEXTS)):
        examples = [task.unlabelled(text) for text in taken]
        encoded = task.encode(examples, tuned.reading, known=False)
        yield from task.answered(tuned.model, examples, encoded)
