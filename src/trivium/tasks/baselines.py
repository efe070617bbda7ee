"""What a score is measured against: methods without a network, on the same examples."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from trivium.core.errors import MissingExtra
from trivium.data.labelled import UNSCORED, ClassifyExample, LabelExample, RelationExample
from trivium.data.words import word_starts
from trivium.tasks.base import Task, class_numbers
from trivium.tasks.classify import Classify
from trivium.tasks.label import Label
from trivium.tasks.metrics import Confusion, Relations
from trivium.tasks.relate import Relate, relation_metrics

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
        case Relate():
            return relate_baselines(task, train, valid, test)
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
    labels = [example.label for example in train], [example.label for example in valid]
    terms = [[_grams(_whole(example)) for example in each] for each in (train, valid, test)]
    try:
        rows[TFIDF] = _row(task.labels, right, [[label] for label in _tfidf(terms[0], terms[1], terms[2], *labels)])
    except MissingExtra as missing:
        rows[TFIDF] = {"missing": str(missing)}
    return rows


def relate_baselines(
    task: Relate,
    train: Sequence[RelationExample],
    valid: Sequence[RelationExample],
    test: Sequence[RelationExample],
) -> dict[str, Row]:
    """Return the metrics of the most frequent relation, and of logistic regression on TF-IDF of `relation_terms`."""
    labels = [example.relation for example in train], [example.relation for example in valid]
    right = [example.relation for example in test]
    rows: dict[str, Row] = {"majority": _relation_row(task, right, [_commonest(labels[0])] * len(test))}
    terms = [[relation_terms(example) for example in each] for each in (train, valid, test)]
    try:
        rows[TFIDF] = _relation_row(task, right, _tfidf(terms[0], terms[1], terms[2], *labels))
    except MissingExtra as missing:
        rows[TFIDF] = {"missing": str(missing)}
    return rows


def relation_terms(example: RelationExample) -> list[str]:
    """Return what a pair of spans is known by: words and pairs of words between them, words and type of each span.

    Which of the spans comes first is said, and the words between say it too: they mean the opposite the other way
    round.
    """
    head, tail = example.head, example.tail
    order = "forwards" if head[:2] <= tail[:2] else "backwards"
    between = example.text[min(head.end, tail.end) : max(head.start, tail.start)]
    terms = [order, f"{order} types: {head.label} {tail.label}"]
    for role, span in (("head", head), ("tail", tail)):
        terms += [f"{role}: {word}" for word in split_all(example.text[span.start : span.end])]
        terms.append(f"{role} type: {span.label}")
    return terms + [f"{order}: {gram}" for gram in _grams(between)]


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
    train: Sequence[Sequence[str]],
    valid: Sequence[Sequence[str]],
    test: Sequence[Sequence[str]],
    train_labels: Sequence[str],
    valid_labels: Sequence[str],
) -> list[str]:
    """Return the class that logistic regression gives each test example; its penalty is chosen on `valid`.

    Args:
        train, valid, test: the terms of each example.
        train_labels, valid_labels: the classes of each example.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra("scikit-learn", "baselines", "the TF-IDF baseline") from None
    if len(set(train_labels)) < 2:
        return [train_labels[0]] * len(test)
    vectoriser = TfidfVectorizer(analyzer=list, sublinear_tf=True)
    features = vectoriser.fit_transform(train)
    valid_features, best = vectoriser.transform(valid), (-1.0, None)
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000).fit(features, train_labels)
        accuracy = float(np.mean(model.predict(valid_features) == np.array(valid_labels)))
        if accuracy > best[0]:
            best = (accuracy, model)
    if best[1] is None:
        return []
    return [str(label) for label in best[1].predict(vectoriser.transform(test))]


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


def _relation_row(task: Relate, right: Sequence[str], given: Sequence[str]) -> Row:
    relations = Relations(task.settings.none or "")
    relations.add(right, given)
    return dict(relation_metrics(relations))


def _commonest(labels: Any) -> str:
    return _top(Counter(labels))


def _top(counts: Counter[str]) -> str:
    """Return the most frequent label; of several the first in the alphabet, whatever the order of the examples."""
    return min(counts, key=lambda label: (-counts[label], label))
