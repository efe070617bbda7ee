"""Logistic regression on TF-IDF, as much of it as can be afforded before step 0: what a classifier must beat."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from trivium.core.errors import MissingExtra

G = TypeVar("G")

_STRENGTHS = (1.0, 10.0, 100.0)  # of scikit-learn's C, the inverse of the penalty
_MOST_WEIGHTS = 1 << 23  # terms times classes: while they are fitted, L-BFGS holds 25 times as many, which is 2 GB
_MOST_CLASSES = 4096  # of more, too few terms are left
_MOST_WORK = 300_000_000  # classes times what each text costs (below): a minute or two on one core
_WORK_OF_A_TEXT = 8  # beside its terms: the numbers of its classes
_NUMBERS_AT_ONCE = 1 << 22  # of classes of texts: 32 MB


class Classified(NamedTuple, Generic[G]):
    """The classes that are given to the test examples."""

    classes: G | None  # None: it is left out
    remark: str  # what was learned from, if not from all; why it is left out


def tfidf_classes(
    train: Sequence[Sequence[str]],
    valid: Sequence[Sequence[str]],
    test: Sequence[Sequence[str]],
    train_labels: Sequence[str],
    score: Callable[[list[str]], float],
) -> Classified[list[str]]:
    """Return the class that logistic regression gives each test example; its penalty is chosen on `valid`.

    Of very many texts and classes only some texts, at equal distances, and the most frequent terms are learned from.

    Args:
        train, valid, test: the terms of each example.
        train_labels: the classes of the examples to learn from.
        score: how good classes given to the `valid` examples are, the higher the better.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    num_classes = len(set(train_labels))
    if num_classes < 2:
        return Classified([train_labels[0]] * len(test), "")
    if num_classes > _MOST_CLASSES:
        return _left_out(num_classes)
    weights = num_classes if num_classes > 2 else 1  # of a term
    chosen, most_terms = _affordable(train, weights), _MOST_WEIGHTS // weights
    learned, labels = [train[place] for place in chosen], [train_labels[place] for place in chosen]
    if len(set(labels)) < 2:
        return Classified([labels[0]] * len(test), _some(len(chosen), len(train)))
    num_terms = len({term for terms in learned for term in terms})
    features, valid_features, test_features = tfidf(learned, valid, test, most_terms=most_terms)
    from sklearn.linear_model import LogisticRegression

    best, given = -np.inf, list[str]()
    for strength in _STRENGTHS:  # one at a time: of each model only its answers are kept
        model = LogisticRegression(C=strength, max_iter=1000).fit(features, labels)
        worth = score(_predicted(model, valid_features))
        if worth > best:
            best, given = worth, _predicted(model, test_features)
    most_frequent = f"the {most_terms:,} most frequent of {num_terms:,} terms" if most_terms < num_terms else ""
    return Classified(given, " and ".join(filter(None, (_some(len(chosen), len(train)), most_frequent))))


def tfidf_labels(
    train: Sequence[Sequence[str]], right_EC: np.ndarray, test: Sequence[Sequence[str]]
) -> Classified[np.ndarray]:
    """Return which labels apply to each test example, bool [examples, labels], by a logistic regression for each.

    Args:
        train, test: the terms of each example.
        right_EC: which labels apply to each example to learn from, bool [examples, labels].

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    num_labels = right_EC.shape[1]
    if num_labels > _MOST_CLASSES:
        return _left_out(num_labels)
    chosen = _affordable(train, num_labels)
    features, test_features = tfidf([train[place] for place in chosen], test)
    given = [_separated(features, right_E, test_features) for right_E in right_EC[chosen].T]
    return Classified(np.stack(given, axis=1), _some(len(chosen), len(train)))


def tfidf(*splits: Sequence[Sequence[str]], most_terms: int | None = None) -> list[Any]:
    """Return TF-IDF of the terms of each split, as the first of them has it; raise MissingExtra."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise MissingExtra("scikit-learn", "baselines", "the TF-IDF baseline") from None
    vectoriser = TfidfVectorizer(analyzer=list, sublinear_tf=True, max_features=most_terms)
    first, *others = splits
    return [vectoriser.fit_transform(first), *map(vectoriser.transform, others)]


def _separated(features: Any, right_E: np.ndarray, test_features: Any) -> np.ndarray:
    """Return whether a label applies to each test text, by logistic regression."""
    from sklearn.linear_model import LogisticRegression

    if right_E.all() or not right_E.any():
        return np.full(test_features.shape[0], right_E[0])
    given: np.ndarray = LogisticRegression(C=10.0, max_iter=1000).fit(features, right_E).predict(test_features)
    return given


def _affordable(terms: Sequence[Sequence[str]], weights: int) -> np.ndarray:
    """Return the numbers of texts at equal distances, as many as can be learned from in a minute or two."""
    work = weights * sum(len(each) + _WORK_OF_A_TEXT for each in terms)
    count = len(terms) if work <= _MOST_WORK else max(1, len(terms) * _MOST_WORK // work)
    return np.linspace(0, len(terms) - 1, count).astype(np.int64)


def _predicted(model: Any, features: Any) -> list[str]:
    """Return the class that a model gives each text, some texts at a time: each has a number for each class."""
    rows = max(1, _NUMBERS_AT_ONCE // len(model.classes_))
    starts = range(0, features.shape[0], rows)
    return [str(label) for start in starts for label in model.predict(features[start : start + rows])]


def _some(chosen: int, texts: int) -> str:
    return f"{chosen:,} of {texts:,} examples" if chosen < texts else ""


def _left_out(num_classes: int) -> Classified[Any]:
    return Classified(None, f"left out: {num_classes:,} classes are too many for it, {_MOST_CLASSES:,} at most")
