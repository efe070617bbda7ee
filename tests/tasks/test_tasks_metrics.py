"""Scores against scikit-learn's, and baselines."""

import sys
import warnings

import numpy as np
import pytest
from sklearn import metrics
from task_support import classify_examples, label_examples

from trivium.data.labelled import UNSCORED, LabelExample
from trivium.tasks.baselines.by_task import TFIDF, WORD_ELSE_SHAPE, baselines, split_all
from trivium.tasks.baselines.chain import CRF, crf_labels, shape, word_features
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
    confusion.add(np.array([0, 1]), np.array([0, 1]))
    for _ in range(40):
        confusion.merge(confusion)
    assert confusion.total == 2**41
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
    rows, others = baselines(task, train, train, train), baselines(task, words, words, words)
    # A chain sees the words that are not scored beside the others.
    assert [rows[name] for name in ("majority", WORD_ELSE_SHAPE)] == [others[n] for n in ("majority", WORD_ELSE_SHAPE)]
    assert rows.keys() == others.keys()


def test_a_chain_learns_what_a_word_alone_does_not_say() -> None:
    pytest.importorskip("pycrfsuite")
    rng = np.random.default_rng(6)
    examples = []
    for _ in range(120):
        words, labels = [], []
        for _ in range(8):  # a name is what comes after a title, and goes on with capitals
            named = rng.random() < 0.4
            words += ["Dr", *(["Ada", "Mira"] if rng.random() < 0.5 else ["Otto"])] if named else ["Mira", "runs"]
            labels += ["O", *(["B-p", "I-p"] if words[-1] == "Mira" else ["B-p"])] if named else ["O", "O"]
        examples.append(LabelExample(tuple(words), tuple(labels)))
    train, test = examples[:80], examples[80:]
    rows = baselines(learned_task("spans", train), train, test, test)
    assert set(rows) == {WORD_ELSE_SHAPE, CRF}
    assert rows[CRF]["f1"] == 1.0 > rows[WORD_ELSE_SHAPE]["f1"]
    assert rows == baselines(learned_task("spans", train), train, test, test)
    task = learned_task("label", train)
    rows = baselines(task, train, test, test)
    assert rows[CRF]["accuracy"] == 1.0 > rows[WORD_ELSE_SHAPE]["accuracy"] > rows["majority"]["accuracy"]


def test_a_chain_reads_any_script_and_skips_what_is_not_scored() -> None:
    pytest.importorskip("pycrfsuite")
    train = [LabelExample(tuple("我在北京工作"), ("O", "O", "B", "I", "O", UNSCORED))] * 20
    train += [LabelExample(("Zoë", "\u0627", "3,5", "\U0001f600", "a|b: c\\"), (UNSCORED,) * 5)]
    found = crf_labels(train, [*train[:1], train[-1], LabelExample(("在", "北"), ("O", "B"))])
    assert found.labels == [["O", "O", "B", "I", "O"], [], ["O", "B"]] and not found.remark


def test_features_are_the_words_and_those_beside_them() -> None:
    first, second = word_features(["In", "1984"])
    assert {"form in", "shape Xx", "as it stands In", "begins i", "ends n", "1 form 1984", "1 shape d"} < set(first)
    assert {"digits", "ends 84", "begins 198", "-1 form in", "-2 edge", "1 edge", "form in | form 1984"} < set(second)
    assert "Han" in word_features(["京"])[0] and word_features([]) == []


def test_of_too_much_a_chain_learns_a_part_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycrfsuite")
    examples = label_examples(60, seed=7)
    task, words = learned_task("label", examples), sum(len(example.tokens) for example in examples)
    monkeypatch.setattr("trivium.tasks.baselines.chain._MOST_WORK", words * (200 + 16) // 3)
    row = baselines(task, examples, examples, examples)[CRF]
    assert row["learned"] == "learned from 20 of 60 examples" and 0.3 < float(row["accuracy"]) <= 1.0


def test_without_its_package_the_chain_has_a_row_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycrfsuite", None)
    examples = label_examples(20, seed=8)
    rows = baselines(learned_task("label", examples), examples, examples, examples)
    assert "needs `python-crfsuite`, which is not installed: pip install" in str(rows[CRF]["missing"])
    assert set(rows[CRF]) == {"missing"} and float(rows[WORD_ELSE_SHAPE]["accuracy"]) > 0
