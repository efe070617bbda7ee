"""What a score is measured against: methods without a network, on the same examples."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from trivium.core.errors import MissingExtra
from trivium.data.labelled import (
    UNSCORED,
    ClassifyExample,
    LabelExample,
    MultiLabelExample,
    RegressionExample,
    RelationExample,
    SimilarExample,
    spans_of_tags,
)
from trivium.data.words import words_at
from trivium.tasks.answer.baselines import answer_baselines
from trivium.tasks.answer.task import Answer
from trivium.tasks.base import Task, class_numbers
from trivium.tasks.baselines.chain import CRF, crf_labels, shape
from trivium.tasks.baselines.tfidf import tfidf, tfidf_classes, tfidf_labels
from trivium.tasks.embed.pair_scores import PairNumbers, Vectors, WordOverlap, correlations, retrieval_of
from trivium.tasks.embed.task import Embed, numbered
from trivium.tasks.metrics import Confusion, RankCorrelation, Regression
from trivium.tasks.metrics import MultiLabel as LabelCounts
from trivium.tasks.metrics import Relations as RelationCounts
from trivium.tasks.metrics import Spans as SpanCounts
from trivium.tasks.nested.baselines import nested_baselines
from trivium.tasks.nested.task import Nested
from trivium.tasks.relate.task import Relate, relation_metrics
from trivium.tasks.texts.base import Texts
from trivium.tasks.texts.classify import Classify
from trivium.tasks.texts.multi_label import MultiLabel
from trivium.tasks.texts.regress import Regress
from trivium.tasks.words.label import Label
from trivium.tasks.words.spans import Spans
from trivium.tasks.write.baselines import write_baselines
from trivium.tasks.write.task import Write

Row = dict[str, float | str]
TFIDF, RIDGE = "tf-idf + logistic regression", "tf-idf + ridge regression"
TFIDF_COSINE, OVERLAP = "tf-idf, cosine", "words in common"
WORD_ELSE_SHAPE = "most frequent of word, else shape"


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
        case Spans():
            return span_baselines(train, test)
        case Nested():
            return nested_baselines(task, train, test)
        case MultiLabel():
            return multi_label_baselines(task, train, test)
        case Regress():
            return regress_baselines(train, test)
        case Answer():
            return answer_baselines(train, test)
        case Embed():
            return embed_baselines(task, train, test)
        case Relate():
            return relate_baselines(task, train, valid, test)
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
    labels = [example.label for example in train]
    terms = [_terms(each) for each in (train, valid, test)]
    valid_right = [task.gold(example) for example in valid]

    def score(given: list[str]) -> float:
        return float(_row(task.labels, valid_right, [[label] for label in given])[task.chosen_by])

    def row(given: list[str]) -> Row:
        return _row(task.labels, right, [[label] for label in given])

    return rows | {TFIDF: _tfidf_row(terms, labels, score, row)}


def relate_baselines(
    task: Relate,
    train: Sequence[RelationExample],
    valid: Sequence[RelationExample],
    test: Sequence[RelationExample],
) -> dict[str, Row]:
    """Return the metrics of the most frequent relation, and of logistic regression on TF-IDF of `relation_terms`."""
    labels, valid_labels = ([example.relation for example in each] for each in (train, valid))
    right = [example.relation for example in test]
    rows: dict[str, Row] = {"majority": _relation_row(task, right, [_commonest(labels)] * len(test))}
    terms = [[relation_terms(example) for example in each] for each in (train, valid, test)]

    def score(given: list[str]) -> float:
        return float(_relation_row(task, valid_labels, given)[task.chosen_by])

    def row(given: list[str]) -> Row:
        return _relation_row(task, right, given)

    return rows | {TFIDF: _tfidf_row(terms, labels, score, row)}


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
    """Return the metrics of the most frequent label, of that of each word, else of its shape, and of a CRF."""
    counts = _counted(train)
    right = [task.gold(example) for example in test]
    asked = [[w for w, label in zip(e.tokens, e.labels, strict=True) if label != UNSCORED] for e in test]
    commonest = [[_top(counts.every)] * len(words_A) for words_A in asked]
    rows: dict[str, Row] = {
        "majority": _row(task.labels, right, commonest),
        WORD_ELSE_SHAPE: _row(task.labels, right, [[counts.answer(w) for w in words_A] for words_A in asked]),
    }
    return rows | _crf_row(train, test, lambda given: _row(task.labels, right, given))


def span_baselines(train: Sequence[LabelExample], test: Sequence[LabelExample]) -> dict[str, Row]:
    """Return the metrics of the spans that the most frequent tag of each word makes, else of its shape, and a CRF's."""
    counts = _counted(train)

    def row(given: Sequence[Sequence[str]]) -> Row:
        found = SpanCounts()
        for example, tags in zip(test, given, strict=True):
            right = [label for label in example.labels if label != UNSCORED]
            found.add(spans_of_tags(right), spans_of_tags(tags), example.lost)
        return dict(found.metrics())

    asked = [[w for w, label in zip(e.tokens, e.labels, strict=True) if label != UNSCORED] for e in test]
    rows = {WORD_ELSE_SHAPE: row([[counts.answer(word) for word in words_A] for words_A in asked])}
    return rows | _crf_row(train, test, row)


def multi_label_baselines(
    task: MultiLabel, train: Sequence[MultiLabelExample], test: Sequence[MultiLabelExample]
) -> dict[str, Row]:
    """Return the metrics of the labels that apply more often than not, and of a logistic regression for each label."""
    right_EC, test_EC = (
        np.array([[label in example.labels for label in task.labels] for example in examples])
        for examples in (train, test)
    )

    def row(given_EC: np.ndarray) -> Row:
        counted = LabelCounts(task.labels)
        counted.add(test_EC, given_EC)
        return dict(counted.metrics())

    rows: dict[str, Row] = {"majority": row(np.broadcast_to(right_EC.mean(axis=0) > 0.5, test_EC.shape))}
    try:
        found = tfidf_labels(_terms(train), right_EC, _terms(test))
        rows[TFIDF] = {"missing": found.remark} if found.classes is None else _learned(row(found.classes), found.remark)
    except MissingExtra as missing:
        rows[TFIDF] = {"missing": str(missing)}
    return rows


def regress_baselines(train: Sequence[RegressionExample], test: Sequence[RegressionExample]) -> dict[str, Row]:
    """Return the metrics of the mean of the training examples, and of ridge regression on TF-IDF."""
    values, right = (np.array([example.value for example in examples]) for examples in (train, test))

    def row(given: np.ndarray) -> Row:
        errors, ranks = Regression(), RankCorrelation()
        errors.add(right, given)
        ranks.add(right, given)
        return {**errors.metrics(), **ranks.metrics()}

    rows: dict[str, Row] = {"mean": row(np.full(len(test), values.mean()))}
    try:
        features, test_features = tfidf(_terms(train), _terms(test))
        from sklearn.linear_model import Ridge

        rows[RIDGE] = row(Ridge().fit(features, values).predict(test_features))
    except MissingExtra as missing:
        rows[RIDGE] = {"missing": str(missing)}
    return rows


class _Counted(NamedTuple):
    """How often each label was that of a word, of a word's shape, and of any word."""

    words: dict[str, Counter[str]]
    shapes: dict[str, Counter[str]]
    every: Counter[str]

    def answer(self, word: str) -> str:
        """Return the most frequent label of a word, else of its shape, else of all."""
        return _top(self.words.get(word) or self.shapes.get(shape(word)) or self.every)


def _counted(train: Sequence[LabelExample]) -> _Counted:
    counts = _Counted({}, {}, Counter())
    for example in train:
        for word, label in zip(example.tokens, example.labels, strict=True):
            if label != UNSCORED:
                counts.words.setdefault(word, Counter())[label] += 1
                counts.shapes.setdefault(shape(word), Counter())[label] += 1
                counts.every[label] += 1
    return counts


def embed_baselines(task: Embed, train: Sequence[SimilarExample], test: Sequence[SimilarExample]) -> dict[str, Row]:
    """Return the metrics of words that two texts have in common, and of TF-IDF, its weights from all texts."""
    texts, gold = numbered(test)
    pairs, measure = PairNumbers.of(gold), correlations if task.is_scored else retrieval_of
    words = [frozenset(filter(None, split_all(text))) for text in texts]
    rows: dict[str, Row] = {OVERLAP: dict(measure(pairs, WordOverlap(words)).metrics)}
    try:
        rows[TFIDF_COSINE] = dict(measure(pairs, Vectors(_tfidf_vectors(numbered(train)[0], texts))).metrics)
    except MissingExtra as missing:
        rows[TFIDF_COSINE] = {"missing": str(missing)}
    return rows


def split_all(text: str) -> list[str]:
    """Return the words and signs of a text by Unicode's rules, in small letters, for any script."""
    return [word.strip().lower() for _, word in words_at(text)]


def _tfidf_row(
    terms: Sequence[Sequence[Sequence[str]]],
    train_labels: Sequence[str],
    score: Callable[[list[str]], float],
    row: Callable[[list[str]], Row],
) -> Row:
    """Return what `row` makes of the classes that logistic regression gives the test examples, or why there are none.

    Args:
        terms: of each training, validation and test example.
        train_labels, score: see `tfidf_classes`.
        row: the metrics of classes given to the test examples.
    """
    train, valid, test = terms
    try:
        found = tfidf_classes(train, valid, test, train_labels, score)
    except MissingExtra as missing:
        return {"missing": str(missing)}
    return {"missing": found.remark} if found.classes is None else _learned(row(found.classes), found.remark)


def _learned(row: Row, remark: str) -> Row:
    """Return a row that says what was learned from, if not from all."""
    return row | ({"learned": f"learned from {remark}"} if remark else {})


def _terms(examples: Sequence[Texts]) -> list[list[str]]:
    """Return the words and word pairs of each text."""
    return [_grams(_whole(example)) for example in examples]


def _tfidf_vectors(train: Sequence[str], texts: Sequence[str]) -> Any:
    """Return texts as a sparse matrix of TF-IDF of words and word pairs, each row of length 1."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise MissingExtra("scikit-learn", "baselines", "the TF-IDF baseline") from None
    # The texts that are compared give the words, so that none is without a vector; the training texts count too.
    return TfidfVectorizer(analyzer=_grams, sublinear_tf=True).fit([*train, *texts]).transform(texts)


def _whole(example: Texts) -> str:
    return example.text if example.text_pair is None else f"{example.text}\n{example.text_pair}"


def _grams(text: str) -> list[str]:
    words = split_all(text)
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def _row(labels: Sequence[str], right: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> Row:
    confusion = Confusion(labels)
    right_A, given_A = class_numbers([[label for each in side for label in each] for side in (right, given)], labels)
    confusion.add(right_A, given_A)
    return dict(confusion.metrics())


def _crf_row(
    train: Sequence[LabelExample], test: Sequence[LabelExample], row: Callable[[Sequence[Sequence[str]]], Row]
) -> dict[str, Row]:
    """Return what `row` makes of the labels that a conditional random field gives."""
    try:
        found = crf_labels(train, test)
    except MissingExtra as missing:
        return {CRF: {"missing": str(missing)}}
    return {CRF: _learned(row(found.labels), found.remark)}


def _relation_row(task: Relate, right: Sequence[str], given: Sequence[str]) -> Row:
    relations = RelationCounts(task.settings.none or "")
    relations.add(right, given)
    return dict(relation_metrics(relations))


def _commonest(labels: Any) -> str:
    return _top(Counter(labels))


def _top(counts: Counter[str]) -> str:
    """Return the most frequent label; of several the first in the alphabet, whatever the order of the examples."""
    return min(counts, key=lambda label: (-counts[label], label))
