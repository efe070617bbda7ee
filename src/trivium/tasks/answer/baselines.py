"""What answers are measured against: the run of words in the context around which most words of the question stand."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trivium.data.labelled import AnswerExample
from trivium.data.words import words_at
from trivium.tasks.answer.scores import AnswerTotals, some_unanswerable

_LONGEST = 20  # words


class Word(NamedTuple):
    """A word in small letters, and its characters."""

    text: str
    start: int
    end: int


def answer_baselines(
    train: Sequence[AnswerExample], test: Sequence[AnswerExample]
) -> dict[str, dict[str, float | str]]:
    """Return the metrics of a sliding window, and of "no answer" where some questions have none.

    Args:
        train: say how many words an answer has.
        test: what is answered.
    """
    length = answer_length(train)
    rows = {"sliding window": _row(test, [sliding_window(example, length) for example in test])}
    if some_unanswerable(test):
        rows["no answer"] = _row(test, [""] * len(test))
    return rows


def sliding_window(example: AnswerExample, length: int) -> str:
    """Return the run of words that has the words of the question most closely around it (Richardson et al. 2013).

    As many words as the question has are looked at on each side of the run; one of the question's counts the more, the
    rarer it is in the context: log(1 + 1 / its count). Differs from Richardson et al.: there are no answers to choose
    from, so any run is one that holds no word of the question itself.

    Args:
        example: the question.
        length: words of the run.
    """
    words = placed_words(example.context)
    question = [word.text for word in placed_words(example.question)]
    if not words:
        return ""
    length = min(length, len(words))
    counts = Counter(word.text for word in words)
    asked = set(question)
    worth_W = np.array([np.log1p(1.0 / counts[word.text]) if word.text in asked else 0.0 for word in words])
    sums = np.append(0.0, np.cumsum(worth_W))
    begin_R = np.arange(len(words) - length + 1)
    left_R, right_R = np.maximum(begin_R - len(question), 0), np.minimum(begin_R + length + len(question), len(words))
    own_R = sums[begin_R + length] - sums[begin_R]
    score_R = np.where(own_R > 1e-9, -1.0, sums[right_R] - sums[left_R])
    best = int(score_R.round(9).argmax())  # of equal sums in another order the first
    return example.context[words[best].start : words[best + length - 1].end]


def answer_length(examples: Sequence[AnswerExample]) -> int:
    """Return the median number of words of the answers to these questions, at least one."""
    lengths = [len(placed_words(example.answers[0].text)) for example in examples if example.answers]
    return min(max(1, int(statistics.median(lengths or [1]))), _LONGEST)


def placed_words(text: str) -> list[Word]:
    """Return the words of a text by Unicode's rules, each Chinese character one, without punctuation."""
    return [
        Word(word.lower(), start, start + len(word)) for start, word in words_at(text) if any(map(str.isalnum, word))
    ]


def _row(test: Sequence[AnswerExample], given: Sequence[str]) -> dict[str, float | str]:
    totals = AnswerTotals()
    for number, (example, text) in enumerate(zip(test, given, strict=True)):
        totals.add(number, example, text)
    return dict(totals.metrics())
