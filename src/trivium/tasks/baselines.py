"""What a score is measured against: methods without a network, on the same examples."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from trivium.core.errors import MissingExtra
from trivium.data.labelled import UNSCORED, ClassifyExample, LabelExample
from trivium.data.words import word_starts
from trivium.tasks.base import Task, class_numbers
from trivium.tasks.classify import Classify
from trivium.tasks.label import Label
from trivium.tasks.metrics import Confusion
from trivium.tasks.write import Write
from trivium.tasks.write_baselines import write_baselines

Row = dict[str, float | str]
TFIDF = "tf-idf + logistic regression"
_STRENGTHS = (1.0, 10.0, 100.0)  # of scikit-learn's C, the inverse of the penalty


def baselines(task: Task, train: Sequence[Any], valid: Sequence[Any], test: Sequence[Any]) -> dict[str, Row]:
    """Return the metrics of each baseline of a task on `test`, by the baseline's name.

    A baseline whose package is not installed has a row that says what to install (`missing`).

    Args:
        task: its classes are those of `train`, all of them.
        train: the examples that the baselines learn from.
        valid: what a setting is chosen on.
        test: what they are scored on; may be `valid`.
    """
    match task:
        case Label():
            return label_baselines(task, train, test)
        case Classify():
            return classify_baselines(task, train, valid, test)
        case Write():
            return write_baselines(task, train, test)
        case _:
            return {}


def classify_baselines(
    task: Classify,
    train: Sequence[ClassifyExample],
    valid: Sequence[ClassifyExample],
    test: Sequence[ClassifyExample],
) -> dict[str, Row]:
    """Return the metrics of the most frequent class, and of logistic regression on TF-IDF of words and word pairs."""
    right = [task.gold(example) for example in test]
    commonest = _commonest(example.label for example in train)
    rows: dict[str, Row] = {"majority": _row(task.labels, right, [[commonest]] * len(test))}
    try:
        rows[TFIDF] = _row(task.labels, right, [[label] for label in _tfidf(train, valid, test)])
    except MissingExtra as missing:
        rows[TFIDF] = {"missing": str(missing)}
    return rows


def label_baselines(task: Label, train: Sequence[LabelExample], test: Sequence[LabelExample]) -> dict[str, Row]:
    """Return the metrics of the most frequent label, and of the most frequent label of the word, else of its shape."""
    words: dict[str, Counter[str]] = {}
    shapes: dict[str, Counter[str]] = {}
    every = Counter[str]()
    for example in train:
        for word, label in zip(example.tokens, example.labels, strict=True):
            if label != UNSCORED:
                words.setdefault(word, Counter())[label] += 1
                shapes.setdefault(shape(word), Counter())[label] += 1
                every[label] += 1

    def answer(word: str) -> str:
        return _top(words.get(word) or shapes.get(shape(word)) or every)

    right = [task.gold(example) for example in test]
    asked = [[w for w, label in zip(e.tokens, e.labels, strict=True) if label != UNSCORED] for e in test]
    return {
        "majority": _row(task.labels, right, [[_top(every)] * len(words_A) for words_A in asked]),
        "most frequent of word, else shape": _row(
            task.labels, right, [[answer(w) for w in words_A] for words_A in asked]
        ),
    }


def shape(word: str) -> str:
    """Return a word's shape: letters as `X` or `x`, digits as `d`, a run of one kind as one sign.

    "XmlParser2" has the shape "XxXxd", "_max_size" has "_x_x".
    """
    signs = ("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word)
    return "".join(sign for sign, _ in groupby(signs))


def split_all(text: str) -> list[str]:
    """Return the words and signs of a text by Unicode's rules, in small letters, for any script."""
    cuts = [int(cut) for cut in np.flatnonzero(word_starts(text))] + [len(text)]
    return [text[begin:end].strip().lower() for begin, end in pairwise(cuts)]


def _tfidf(
    train: Sequence[ClassifyExample], valid: Sequence[ClassifyExample], test: Sequence[ClassifyExample]
) -> list[str]:
    """Return the class that logistic regression gives each test text; its penalty is chosen on `valid`."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra("scikit-learn", "baselines", "the TF-IDF baseline") from None
    if len({example.label for example in train}) < 2:
        return [train[0].label] * len(test)
    vectoriser = TfidfVectorizer(analyzer=_grams, sublinear_tf=True)
    features = vectoriser.fit_transform(map(_whole, train))
    right = [example.label for example in valid]
    valid_features, best = vectoriser.transform(map(_whole, valid)), (-1.0, None)
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000).fit(features, [example.label for example in train])
        accuracy = float(np.mean(model.predict(valid_features) == np.array(right)))
        if accuracy > best[0]:
            best = (accuracy, model)
    if best[1] is None:
        return []
    return [str(label) for label in best[1].predict(vectoriser.transform(map(_whole, test)))]


def _whole(example: ClassifyExample) -> str:
    return example.text if example.text_pair is None else f"{example.text}\n{example.text_pair}"


def _grams(text: str) -> list[str]:
    words = split_all(text)
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def _row(labels: Sequence[str], right: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> Row:
    confusion = Confusion(labels)
    for right_A, given_A in zip(right, given, strict=True):
        confusion.add(class_numbers(right_A, labels), class_numbers(given_A, labels))
    return dict(confusion.metrics())


def _commonest(labels: Any) -> str:
    return _top(Counter(labels))


def _top(counts: Counter[str]) -> str:
    """Return the most frequent label; of several the first in the alphabet, whatever the order of the examples."""
    return min(counts, key=lambda label: (-counts[label], label))
