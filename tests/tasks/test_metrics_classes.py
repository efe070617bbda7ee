"""Classes, several classes at once, areas under curves, numbers and probabilities, against scikit-learn and SciPy."""

import warnings

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import minimize_scalar
from sklearn import metrics

from trivium.core.errors import ConfigError
from trivium.tasks.metrics import (
    Calibration,
    Confusion,
    MultiLabel,
    OneVersusRest,
    RankCorrelation,
    Regression,
    RocArea,
    fit_temperature,
)
from trivium.tasks.metrics.calibration import with_temperature
from trivium.tasks.metrics.regression import average_ranks

EXACT = 1e-9


def random_log_probabilities(rng: np.random.Generator, answers: int, classes: int, sharp: float) -> np.ndarray:
    return with_temperature(rng.normal(size=(answers, classes)) * sharp, 1.0)


@pytest.mark.parametrize("seed", range(10))
def test_micro_and_weighted_f1_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes, count = int(rng.integers(2, 9)), int(rng.integers(1, 300))
    right, given = rng.integers(0, classes, (2, count))
    parts = [Confusion([str(number) for number in range(classes)]) for _ in range(2)]
    parts[0].add(right[: count // 3], given[: count // 3])
    parts[1].add(right[count // 3 :], given[count // 3 :])
    parts[0].merge(parts[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scored = [number for number in range(classes) if number != 1]
        wanted = metrics.f1_score(right, given, labels=scored, average="micro", zero_division=0)
        assert parts[0].micro_f1(without="1") == pytest.approx(wanted, abs=EXACT)
        assert parts[0].micro_f1() == pytest.approx(metrics.accuracy_score(right, given), abs=EXACT)
        wanted = metrics.f1_score(right, given, average="weighted", zero_division=0)
        assert parts[0].weighted_f1() == pytest.approx(wanted, abs=EXACT)


def test_counts_of_other_classes_are_not_merged() -> None:
    with pytest.raises(ConfigError, match="cannot be merged"):
        Confusion(["a", "b"]).merge(Confusion(["a", "c"]))
    with pytest.raises(ConfigError, match="cannot be merged"):
        MultiLabel(["a", "b"]).merge(MultiLabel(["a"]))


@pytest.mark.parametrize("seed", range(10))
def test_several_labels_at_once_score_as_in_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 200)), int(rng.integers(2, 7))
    right = rng.random((count, classes)) < rng.random(classes)
    given = right ^ (rng.random((count, classes)) < 0.2)
    first, second = MultiLabel("abcdefg"[:classes]), MultiLabel("abcdefg"[:classes])
    first.add(right[::2], given[::2])
    second.add(right[1::2], given[1::2])
    first.merge(second)
    assert first.metrics() == pytest.approx(
        {
            "micro_f1": metrics.f1_score(right, given, average="micro", zero_division=0),
            "macro_f1": metrics.f1_score(right, given, average="macro", zero_division=0),
            "subset_accuracy": metrics.accuracy_score(right, given),
        },
        abs=EXACT,
    )
    wanted = metrics.f1_score(right, given, average=None, zero_division=0)
    assert first.f1_C() == pytest.approx(wanted, abs=EXACT)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("ties", [False, True])
def test_areas_are_scikit_learns(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(20, 2000))
    right = rng.random(count) < 0.3
    right[:2] = True, False
    scores = (rng.normal(size=count) + right).astype(np.float32)
    if ties:
        scores = scores.round(1)
    first, second = RocArea(), RocArea()
    first.add(scores[:5], right[:5])
    second.add(scores[5:], right[5:])
    first.merge(second)
    assert first.metrics()["auc"] == pytest.approx(metrics.roc_auc_score(right, scores), abs=EXACT)
    assert first.metrics()["auc"] == pytest.approx(metrics.roc_auc_score(right, scores), abs=EXACT)  # asked twice


@pytest.mark.parametrize("classes", [3, 7])
def test_areas_of_several_classes_are_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(classes)
    probabilities = np.exp(random_log_probabilities(rng, 500, classes, 1.0)).astype(np.float32)
    probabilities = probabilities.astype(np.float64)
    right = rng.integers(0, classes, 500)
    area = OneVersusRest(classes)
    for part in np.array_split(np.arange(500), 7):
        area.add(probabilities[part], right[part])
    wanted = [metrics.roc_auc_score(right == number, probabilities[:, number]) for number in range(classes)]
    assert area.metrics()["macro_auc"] == pytest.approx(np.mean(wanted), abs=EXACT)


def test_areas_that_are_not_defined_are_chance() -> None:
    area = RocArea()
    assert area.metrics() == {"auc": 0.5}
    area.add(np.array([1.0, 2.0]), np.array([True, True]))
    assert area.metrics() == {"auc": 0.5}
    several = OneVersusRest(3)
    several.add(np.ones((2, 3)), np.array([1, 1]))
    assert several.metrics() == {"macro_auc": 0.5}


def test_areas_of_many_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 7 classes, found 8"):
        OneVersusRest(8)


@pytest.mark.parametrize("seed", range(10))
def test_correlations_and_errors_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(5, 500))
    right = rng.normal(size=count) * 3 + 1e6 * (seed % 2)
    given = right + rng.normal(size=count)
    if seed % 3 == 0:
        right, given = right.round(), given.round()
    halves = [(Regression(), RankCorrelation()) for _ in range(2)]
    cut = count // 3
    for pair, part in zip(halves, (slice(0, cut), slice(cut, count)), strict=True):
        for metric in pair:
            metric.add(right[part], given[part])
    for own, other in zip(*halves, strict=True):
        own.merge(other)
    assert halves[0][0].metrics() == pytest.approx(
        {
            "pearson": scipy.stats.pearsonr(right, given).statistic,
            "mse": metrics.mean_squared_error(right, given),
            "mae": metrics.mean_absolute_error(right, given),
        },
        abs=EXACT,
    )
    assert halves[0][1].metrics()["spearman"] == pytest.approx(scipy.stats.spearmanr(right, given).statistic, abs=EXACT)
    assert average_ranks(given) == pytest.approx(scipy.stats.rankdata(given), abs=EXACT)


def test_what_does_not_vary_does_not_correlate() -> None:
    for metric, name in ((Regression(), "pearson"), (RankCorrelation(), "spearman")):
        assert metric.metrics()[name] == 0.0
        metric.add(np.array([]), np.array([]))
        metric.add(np.ones(4), np.arange(4))
        assert metric.metrics()[name] == 0.0


@pytest.mark.parametrize("seed", range(8))
def test_calibration_against_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 800)), int(rng.integers(2, 6))
    logs = random_log_probabilities(rng, count, classes, 2.5)
    right = np.where(rng.random(count) < 0.5, logs.argmax(axis=1), rng.integers(0, classes, count))
    first, second = Calibration(), Calibration()
    first.add(logs[::3], right[::3])
    second.add(logs[1::3], right[1::3])
    first.merge(second)
    first.add(logs[2::3], right[2::3])
    error = 0.0
    for low in range(15):
        here = [
            (float(np.exp(row.max())), row.argmax() == label)
            for row, label in zip(logs, right, strict=True)
            if low / 15 < np.exp(row.max()) <= (low + 1) / 15
        ]
        error += abs(sum(sure for sure, _ in here) - sum(hit for _, hit in here)) / count
    squares = ((np.exp(logs) - np.eye(classes)[right]) ** 2).sum(axis=1).mean()
    nll = metrics.log_loss(right, np.exp(logs), labels=range(classes))
    assert first.metrics() == pytest.approx({"ece": error, "brier": squares, "nll": nll}, abs=EXACT)


def test_the_brier_score_of_two_classes_is_twice_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    logs, right = random_log_probabilities(rng, 50, 2, 1.0), rng.integers(0, 2, 50)
    calibration = Calibration()
    calibration.add(logs, right)
    wanted = 2 * metrics.brier_score_loss(right, np.exp(logs[:, 1]))
    assert calibration.metrics()["brier"] == pytest.approx(wanted, abs=EXACT)
    assert Calibration().metrics() == {"ece": 0.0, "brier": 0.0, "nll": 0.0}


@pytest.mark.parametrize("sharp", [0.2, 1.0, 8.0])
def test_the_temperature_is_the_best_one(sharp: float) -> None:
    rng = np.random.default_rng(int(sharp * 10))
    true = random_log_probabilities(rng, 3000, 4, 1.5)
    right = np.array([rng.choice(4, p=np.exp(row)) for row in true])
    fitted = fit_temperature(true * sharp, right)
    rows = np.arange(len(right))
    best = minimize_scalar(
        lambda log: -with_temperature(true * sharp, np.exp(log))[rows, right].mean(),
        bounds=(-4, 4),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fitted.value == pytest.approx(np.exp(best.x), rel=1e-5)
    assert fitted.value == pytest.approx(sharp, rel=0.15)
    assert fitted.after["nll"] <= min(fitted.before["nll"], best.fun + 1e-12)
    # Logits that were made from the answers' own probabilities are calibrated once they have them back.
    assert fitted.after["ece"] < 0.03


@pytest.mark.parametrize("prior", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("sharp", [0.3, 4.0])
def test_the_temperature_is_the_best_of_a_fine_grid(sharp: float, prior: float) -> None:
    rng = np.random.default_rng(7)
    true = random_log_probabilities(rng, 200, 5, 1.5)
    right = np.array([rng.choice(5, p=np.exp(row)) for row in true])
    logs, rows = with_temperature(true * sharp, 1.0), np.arange(200)

    def loss(inverse: float) -> float:
        scaled = with_temperature(logs, 1.0 / inverse)
        return float(-scaled[rows, right].sum() - prior * scaled.mean())

    low, high = 0.01, 100.0
    for _ in range(12):
        grid = np.geomspace(low, high, 41)
        best = int(np.argmin([loss(inverse) for inverse in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 40)]
    found = fit_temperature(logs, right, prior=prior).value
    assert found == pytest.approx(1 / np.sqrt(low * high), rel=1e-6)  # a loss is flat to half of float64's digits
    assert loss(1 / found) <= min(loss(low), loss(high)) + 1e-12
    thrice = fit_temperature(logs * 3.0 + 5.0, right, prior=prior).value
    assert thrice == pytest.approx(3.0 * found, rel=1e-9)


def test_with_a_prior_a_few_answers_make_nothing_perfectly_sure() -> None:
    for count in (1, 15, 1000):
        logs = np.log(np.tile([0.99, 0.01], (count, 1)))
        all_right = fit_temperature(logs, np.zeros(count, dtype=np.int64), prior=1.0)
        # As if one answer more had been right by lot: half of one in so many is wrong.
        sure = np.exp(with_temperature(logs[:1], all_right.value))[0, 0]
        assert sure == pytest.approx((count + 0.5) / (count + 1), rel=1e-9)
        all_wrong = fit_temperature(logs, np.ones(count, dtype=np.int64), prior=1.0)
        assert all_wrong.value == pytest.approx(100.0) and np.isfinite(all_wrong.after["nll"])
        assert [all_right, all_wrong] == [fit_temperature(logs, np.full(count, n), prior=1.0) for n in (0, 1)]
    with np.errstate(divide="ignore"):
        certain = np.log([[1.0, 0.0], [1.0, 0.0]])
    assert 0.01 <= fit_temperature(certain, np.array([0, 0]), prior=1.0).value <= 100.0


@pytest.mark.parametrize("classes", [2, 5])
def test_log_loss_and_brier_are_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logs = random_log_probabilities(rng, 300, classes, 2.0)
    right = rng.integers(0, classes, 300)
    calibration = Calibration()
    calibration.add(logs, right)
    found, chances = calibration.metrics(), np.exp(logs)
    assert found["nll"] == pytest.approx(metrics.log_loss(right, chances, labels=range(classes)), abs=EXACT)
    if classes == 2:
        wanted = 2 * metrics.brier_score_loss(right, chances[:, 1])
        assert found["brier"] == pytest.approx(wanted, abs=EXACT)
    bins = calibration.bins()
    assert sum(bins["counts"]) == 300 and sum(bins["hits"]) == (chances.argmax(axis=1) == right).sum()
    assert sum(bins["confidence"]) == pytest.approx(chances.max(axis=1).sum())


def test_answers_without_a_best_temperature_get_the_last_one() -> None:
    logs = np.log([[0.9, 0.1], [0.2, 0.8]])
    assert fit_temperature(logs, np.array([0, 1])).value == pytest.approx(0.01)
    assert fit_temperature(logs, np.array([1, 0])).value == pytest.approx(100.0)
    assert fit_temperature(np.log([[0.5, 0.5]]), np.array([0])).value == 1.0
    assert fit_temperature(np.empty((0, 2)), np.array([], dtype=np.int64)).value == 1.0
    with np.errstate(divide="ignore"):
        impossible = np.log([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert np.isfinite(fit_temperature(impossible, np.array([0, 1, 1])).after["nll"])
