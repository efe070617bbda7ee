"""Ten thousand classes: the same scores, in bounded memory and time, and results that people can open."""

import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from task_support import classify_examples, start

from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, MultiLabelExample, RelationExample, Span
from trivium.evaluate.report import run_report
from trivium.tasks.base import class_numbers
from trivium.tasks.baselines.by_task import TFIDF, baselines
from trivium.tasks.build import learned_task
from trivium.tasks.class_answers import Answers, ClassScores
from trivium.tasks.config import finetune_config
from trivium.tasks.finetune import finetune
from trivium.tasks.metrics import Confusion
from trivium.tasks.metrics.likely import METRICS, confusion_interval
from trivium.tasks.pieces import Encoded

CLASSES = 10_000
NAMES = tuple(f"class {number:05}" for number in range(CLASSES))
WORDS = ("ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "ve", "zu")


def texts(numbers: np.ndarray, seed: int) -> list[ClassifyExample]:
    """Return short texts of these classes, the digits of a class as words among others."""
    rng = np.random.default_rng(seed)
    own = [[WORDS[int(digit)] for digit in f"{number:05}"] for number in numbers]
    return [
        ClassifyExample(" ".join([*words, *rng.choice(WORDS, 3)]), NAMES[number], None)
        for number, words in zip(numbers, own, strict=True)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_of_ten_thousand_classes_are_scikit_learns_in_little_memory(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.integers(0, CLASSES, 60_000)
    given = np.where(rng.random(60_000) < 0.7, right, rng.integers(0, CLASSES, 60_000))
    tracemalloc.start()
    parts = [Confusion(NAMES), Confusion(NAMES)]
    for number, part in enumerate(np.array_split(np.arange(60_000), 40)):
        parts[number % 2].add(right[part], given[part])
    for place in range(2000):  # one by one, as examples come
        parts[0].add(right[place : place + 1], given[place : place + 1])
    parts[0].merge(parts[1])
    found = parts[0].metrics()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000  # a table of all pairs is 800 MB
    right, given = (np.append(side, side[:2000]) for side in (right, given))
    wanted = {
        "accuracy": metrics.accuracy_score(right, given),
        "macro_f1": metrics.f1_score(right, given, average="macro"),
        "matthews": matthews(right, given),
    }
    assert found == pytest.approx(wanted, abs=1e-12)
    assert parts[0].total == 62_000 and len(parts[0].by_label()) > 9000
    right_K, given_K, times_K = parts[0].cells()
    cells = zip(right_K.tolist(), given_K.tolist(), times_K.tolist(), strict=True)
    pairs = Counter(zip(right.tolist(), given.tolist(), strict=True))
    assert list(cells) == [(*pair, times) for pair, times in sorted(pairs.items())]


def matthews(right: np.ndarray, given: np.ndarray) -> float:
    """Matthews' correlation as that of indicators (Gorodkin 2004), which needs no table."""
    sides = [np.bincount(side, minlength=CLASSES) / len(side) for side in (right, given)]
    together, apart = (right == given).mean(), [1 - side @ side for side in sides]
    return float((together - sides[0] @ sides[1]) / np.sqrt(apart[0] * apart[1]))


def test_to_count_one_answer_takes_no_longer_where_classes_are_many() -> None:
    counted, one = Confusion(NAMES), np.array([1])
    began = time.process_time()
    for _ in range(2000):
        counted.add(one, one)
    assert counted.accuracy() == 1.0
    assert time.process_time() - began < 2  # 1.2 s each, of a table


@pytest.mark.parametrize("name", METRICS)
def test_an_interval_of_many_classes_is_about_the_score_in_bounded_memory(name: str) -> None:
    rng = np.random.default_rng(5)
    right = rng.integers(0, CLASSES, 4000)
    counted = Confusion(NAMES)
    counted.add(right, np.where(rng.random(4000) < 0.6, right, rng.integers(0, CLASSES, 4000)))
    tracemalloc.start()
    found = confusion_interval(counted, METRICS[name], key=Key(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None and found.low < found.high and peak < 200_000_000
    if name == "matthews":  # the mean over classes of few examples is not that of those that are drawn of them
        assert found.low < counted.metrics()[name] < found.high


def test_a_class_that_is_not_known_is_named_beside_the_nearest_one_alone() -> None:
    [first, second] = class_numbers([[NAMES[3]], [NAMES[2], NAMES[9_999]]], NAMES)
    assert first.tolist() == [3] and second.tolist() == [2, 9_999]
    with pytest.raises(DataError, match="label 'class 0000x' is not one of those learned") as refused:
        class_numbers([["class 0000x"]], NAMES)
    assert len(str(refused.value)) < 200


def test_answers_wait_for_their_calibration_in_bounded_memory() -> None:
    rng = np.random.default_rng(2)
    rights, seen = rng.integers(0, CLASSES, 600), ClassScores(NAMES)
    nats = 0.0
    tracemalloc.start()
    for number, right in enumerate(rights):
        logs = rng.normal(size=(1, CLASSES))
        logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
        nats -= float(logs[0, right]) / len(rights)
        answer = Answers(logs, np.ones(1, dtype=np.int64))
        seen.add(number, np.array([right]), logs.argmax(axis=1), answer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45_000_000  # all of them are 48 MB, and more than as much again while they are counted
    scores = seen.scores(Encoded([], [rights[:1]] * len(rights), start().reading()))
    assert scores.metrics["nll"] == pytest.approx(nats) and scores.metrics["loss"] == pytest.approx(nats)
    assert scores.confusion is None and sum(scores.reliability["counts"]) == len(rights)


@pytest.mark.parametrize("task_name", ["classify", "multi_label", "relate"])
def test_of_too_many_classes_logistic_regression_is_left_out_and_says_so(
    task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivium.tasks.baselines.tfidf._MOST_CLASSES", 49)
    train = [_example(task_name, number, number % 50) for number in range(100)]
    task = learned_task(task_name, train)
    rows = baselines(task, train, train[:50], train[:50])
    assert rows[TFIDF] == {"missing": "left out: 50 classes are too many for it, 49 at most"}
    assert float(rows["majority"][task.chosen_by]) < 0.1


def _example(task_name: str, number: int, label: int) -> object:
    text = f"{WORDS[number % 10]} and {WORDS[number // 10 % 10]}"
    if task_name == "classify":
        return ClassifyExample(text, NAMES[label], None)
    if task_name == "multi_label":
        return MultiLabelExample(text, (NAMES[label],), None)
    return RelationExample(text, Span(0, 2, ""), Span(len(text) - 2, len(text), ""), NAMES[label])


@pytest.mark.parametrize("task_name", ["classify", "multi_label"])
def test_of_too_much_logistic_regression_learns_a_part_and_says_so(
    task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = (classify_examples(count, seed=seed) for count, seed in ((120, 1), (60, 3)))
    if task_name == "multi_label":
        train, test = ([MultiLabelExample(e.text, (e.label,), None) for e in each] for each in (train, test))
    task = learned_task(task_name, train)
    every = baselines(task, train, test, test)[TFIDF]
    assert "learned" not in every
    found = [len(example.text.split()) for example in train]
    work = 3 * sum(2 * words - 1 + 8 for words in found)  # three classes; words and pairs of words
    monkeypatch.setattr("trivium.tasks.baselines.tfidf._MOST_WORK", work)
    assert baselines(task, train, test, test)[TFIDF] == every
    monkeypatch.setattr("trivium.tasks.baselines.tfidf._MOST_WORK", work // 2)
    monkeypatch.setattr("trivium.tasks.baselines.tfidf._MOST_WEIGHTS", 3 * 20)
    row = baselines(task, train, test, test)[TFIDF]
    said = "learned from 59 of 120 examples", "learned from 60 of 120 examples"
    assert str(row["learned"]).startswith(said)
    if task_name == "classify":
        assert " and the 20 most frequent of " in str(row["learned"])
    assert float(row[task.chosen_by]) > 0.5


def test_ten_thousand_classes_are_learned_and_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    train, valid = texts(np.arange(CLASSES), 1), texts(rng.integers(0, CLASSES, 250), 2)
    config = finetune_config("classify", ["max_steps=2", "epochs=1", "rows=4", "precision=float32"])
    results = finetune(start(), config, train=train, valid=valid, out=tmp_path / "run")
    assert results["valid"]["coverage"] == 1.0 and results["valid"]["loss"] == pytest.approx(np.log(CLASSES), rel=0.1)
    assert results["confusion"] is None
    assert results["baselines"][TFIDF]["missing"].startswith("left out: 10,000 classes")
    assert (tmp_path / "run/results.json").stat().st_size < 1_000_000
    page = run_report(tmp_path / "run")
    assert len(page) < 200_000 and "The 200 most frequent of " in page
