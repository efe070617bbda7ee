"""Scores against scikit-learn's, and baselines."""

import sys
import warnings

import numpy as np
import pytest
from sklearn import metrics
from task_support import classify_examples, label_examples

from trivium.data.labelled import UNSCORED, LabelExample
from trivium.tasks.baselines import TFIDF, baselines, shape, split_all
from trivium.tasks.build import learned_task
from trivium.tasks.metrics import Confusion


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes, count = int(rng.integers(2, 12)), int(rng.integers(1, 400))
    right = rng.integers(0, rng.integers(1, classes + 1), count)
    given = np.where(rng.random(count) < 0.6, right, rng.integers(0, classes, count))
    confusion = Confusion([str(number) for number in range(classes)])
    for part in np.array_split(np.arange(count), 5):
        confusion.add(right[part], given[part])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are never given
        assert confusion.accuracy() == pytest.approx(metrics.accuracy_score(right, given), abs=1e-12)
        assert confusion.macro_f1() == pytest.approx(metrics.f1_score(right, given, average="macro"), abs=1e-12)
        assert confusion.matthews() == pytest.approx(metrics.matthews_corrcoef(right, given), abs=1e-12)
        occurring = sorted(set(right) | set(given))
        scores = metrics.precision_recall_fscore_support(right, given, labels=occurring)
    by_label = confusion.by_label()
    assert list(by_label) == [str(number) for number in occurring]
    for row, expected in zip(by_label.values(), zip(*scores, strict=True), strict=True):
        assert list(row.values()) == pytest.approx(expected, abs=1e-12)


def test_nothing_counted_scores_nothing() -> None:
    confusion = Confusion(["a", "b"])
    confusion.add(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    assert confusion.metrics() == {"accuracy": 0.0, "macro_f1": 0.0, "matthews": 0.0}


def test_matthews_of_very_many_answers_does_not_overflow() -> None:
    confusion = Confusion(["a", "b"])
    confusion.counts_CC[:] = [[10**12, 0], [0, 10**12]]
    assert confusion.matthews() == pytest.approx(1.0)


def test_the_label_baseline_takes_the_word_then_its_shape_then_the_most_frequent() -> None:
    train = [
        LabelExample(("Max", "runs", "Max", "x1"), ("name", "verb", "name", "code")),
        LabelExample(("runs", "Ann", "the"), ("verb", "name", UNSCORED)),
        LabelExample(("runs", "Max"), ("noun", "verb")),
    ]
    test = [LabelExample(("Max", "runs", "Bob", "y22", "?!"), ("name", "verb", "name", "code", "name"))]
    rows = baselines(learned_task("label", train), train, test, test)
    assert rows["most frequent of word, else shape"]["accuracy"] == 1.0
    assert rows["majority"]["accuracy"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("XmlParser2", "XxXxd"), ("_max_size", "_x_x"), ("HTTP", "X"), ("", ""), ("3.14", "d.d"), ("红楼", "x")],
)
def test_shapes(word: str, expected: str) -> None:
    assert shape(word) == expected


def test_words_for_tf_idf_in_any_script() -> None:
    assert split_all("He can't read《红楼梦》.") == ["he", "can't", "read", "《", "红", "楼", "梦", "》", "."]


def test_the_text_baseline_learns_what_words_tell() -> None:
    train, valid, test = (classify_examples(count, seed=seed) for count, seed in ((120, 1), (40, 2), (60, 3)))
    rows = baselines(learned_task("classify", train), train, valid, test)
    assert float(rows[TFIDF]["accuracy"]) > 0.9 > float(rows["majority"]["accuracy"])


def test_a_missing_package_is_named_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    examples = classify_examples(20, seed=4)
    rows = baselines(learned_task("classify", examples), examples, examples, examples)
    assert "pip install 'trivium[baselines]'" in str(rows[TFIDF]["missing"])
    assert float(rows["majority"]["accuracy"]) > 0


def test_words_that_are_not_scored_are_not_counted_by_baselines() -> None:
    train = label_examples(10, seed=5)
    words = [LabelExample((*e.tokens, "ba"), (*e.labels, UNSCORED)) for e in train]
    task = learned_task("label", train)
    assert UNSCORED not in task.labels
    assert baselines(task, train, train, train) == baselines(task, words, words, words)
