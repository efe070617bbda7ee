"""Intervals and paired tests: against SciPy, normal theory, and what must hold for any scores."""

import numpy as np
import pytest
import scipy.stats
from text_inputs import made_up

from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.tasks.metrics.bleu import bleu_counts, bleu_of_counts
from trivium.tasks.metrics.bootstrap import f1, interval, mean, paired

KEY = Key(7)


def test_the_interval_is_scipys() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=400)
    found = interval(values[:, None], key=KEY, samples=20_000)
    wanted = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = wanted.high - wanted.low
    assert found == pytest.approx((wanted.low, wanted.high), abs=0.03 * width)


def test_the_interval_of_f1_is_scipys() -> None:
    rng = np.random.default_rng(1)
    right, given = rng.integers(0, 4, (2, 300))
    hits = np.minimum(right, given)
    rows = np.stack([hits, right, given], axis=1)
    found = interval(rows, f1, key=KEY, samples=10_000, level=0.9)
    wanted = scipy.stats.bootstrap(
        (hits, right, given),
        lambda h, r, g, axis: 2 * h.sum(axis) / (r.sum(axis) + g.sum(axis)),
        paired=True,
        n_resamples=10_000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found == pytest.approx((wanted.low, wanted.high), abs=0.04 * (wanted.high - wanted.low))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for number in range(300):
        rows = (rng.random((200, 1)) < 0.7).astype(np.float32)
        low, high = interval(rows, key=KEY.child(number), samples=400, level=0.9)
        covered += low <= 0.7 <= high
    assert 0.84 < covered / 300 < 0.95


def test_equal_keys_give_equal_intervals() -> None:
    rows = np.random.default_rng(3).random((50, 1))
    assert interval(rows, key=KEY) == interval(rows, key=Key(7))
    assert interval(rows, key=KEY) != interval(rows, key=Key(8))


def test_the_interval_of_bleu_holds_bleu() -> None:
    rows = np.array(
        [
            bleu_counts(text, references)
            for seed in range(4)
            for text, references in zip(*made_up(seed, spaces=True), strict=True)
        ]
    )
    assert len(rows) > 20
    low, high = interval(rows, lambda sums, _: bleu_of_counts(sums), key=KEY)
    assert low < bleu_of_counts(rows.sum(axis=0)) < high


@pytest.mark.parametrize("gain", [0.0, 0.03, 0.3])
def test_the_paired_test_finds_what_is_there(gain: float) -> None:
    rng = np.random.default_rng(4)
    first = rng.random((500, 1))
    second = first + rng.normal(scale=0.2, size=first.shape)
    second += gain - (second - first).mean()  # the observed difference is the gain
    found = paired(first, second, key=KEY, samples=5000)
    assert found.difference == pytest.approx(gain, abs=1e-9)
    error = np.std(second - first) / np.sqrt(500)
    wanted = 2 * scipy.stats.norm.sf(gain / error)
    assert found.p_value == pytest.approx(wanted, abs=0.02)
    assert found.low < found.difference < found.high
    assert (found.low, found.high) == pytest.approx((gain - 1.96 * error, gain + 1.96 * error), abs=0.1 * error)


def test_a_system_is_not_better_than_itself() -> None:
    rows = np.random.default_rng(5).random((30, 1))
    assert paired(rows, rows, key=KEY) == (0.0, 0.0, 0.0, 1.0)


def test_many_examples_are_drawn_in_parts() -> None:
    rows = (np.arange(1_200_000) % 2).astype(np.float32)[:, None]
    low, high = interval(rows, key=KEY, samples=12)
    assert 0.497 < low < high < 0.503


def test_what_cannot_be_compared_is_refused() -> None:
    rows = np.ones((3, 1))
    with pytest.raises(DataError, match="same examples"):
        paired(rows, np.ones((4, 1)), key=KEY)
    with pytest.raises(DataError, match="at least one example"):
        interval(rows[:0], key=KEY)
    with pytest.raises(DataError, match="at least one example"):
        paired(rows[:0], rows[:0], key=KEY)
    assert mean(np.array([[6.0]]), 3) == 2.0
