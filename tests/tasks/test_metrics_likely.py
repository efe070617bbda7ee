"""Fast intervals: against drawing example by example, against SciPy, and in the time and memory that they may take."""

import tracemalloc
from collections import Counter
from functools import partial

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score, matthews_corrcoef

from trivium.core.random import Key
from trivium.tasks.metrics import Confusion, RankCorrelation, Relations
from trivium.tasks.metrics.bootstrap import Interval, Metric, f1, interval, mean, share
from trivium.tasks.metrics.likely import (
    METRICS,
    confusion_interval,
    correlation_interval,
    counted_interval,
    rank_interval,
    row_interval,
    told,
)
from trivium.tasks.metrics.relations import macro_f1, micro_f1

KEY = Key(3)


def close(found: Interval | None, wanted: tuple[float, float], *, part: float = 0.08) -> bool:
    """Whether two intervals are the same but for the error of a thousand samples."""
    assert found is not None
    return found == pytest.approx(wanted, abs=part * (wanted[1] - wanted[0]))


def scipys(values: tuple[np.ndarray, ...], statistic: object, samples: int = 10_000) -> tuple[float, float]:
    """The percentile interval of SciPy."""
    found = scipy.stats.bootstrap(
        values, statistic, paired=True, n_resamples=samples, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    return found.low, found.high


@pytest.mark.parametrize(("rate", "count"), [(0.9, 872), (0.5, 20), (0.98, 10_000)])
def test_accuracy_has_scipys_interval(rate: float, count: int) -> None:
    hits = (np.random.default_rng(count).random(count) < rate).astype(float)
    found = counted_interval(Counter((hit, 1.0) for hit in hits.tolist()), share, key=KEY)
    # The percentiles of a count are whole numbers of examples.
    assert found == pytest.approx(scipys((hits,), lambda h, axis: h.mean(axis)), abs=0.002 + 1.01 / count)


def test_words_of_one_sentence_are_drawn_together() -> None:
    rng = np.random.default_rng(4)
    words = rng.integers(1, 30, 500).astype(float)
    hits = np.where(rng.random(500) < 0.8, words, 0.0)  # a sentence is all right or all wrong
    counts = Counter(zip(hits.tolist(), words.tolist(), strict=True))
    found = counted_interval(counts, share, key=KEY)
    assert close(found, scipys((hits, words), lambda h, w, axis: h.sum(axis) / w.sum(axis)))
    alone = counted_interval({(1.0, 1.0): int(hits.sum()), (0.0, 1.0): int((words - hits).sum())}, share, key=KEY)
    assert found is not None and alone is not None and found.high - found.low > 3 * (alone.high - alone.low)


def test_counts_give_what_examples_give_and_their_order_is_nothing() -> None:
    rng = np.random.default_rng(5)
    right, given = rng.integers(0, 4, (2, 700))
    rows = np.stack([rng.integers(0, np.minimum(right, given) + 1), right, given], axis=1)
    counts = Counter(tuple(map(float, row)) for row in rows.tolist())
    found = counted_interval(counts, f1, key=KEY)
    assert close(found, interval(rows, f1, key=KEY, samples=10_000))
    assert found == counted_interval(Counter(dict(reversed(counts.items()))), f1, key=Key(3))
    assert found != counted_interval(counts, f1, key=Key(4))


def test_many_different_examples_are_drawn_in_blocks_to_the_same_width() -> None:
    values = np.random.default_rng(6).gamma(0.5, size=30_001)
    error = values.std() / np.sqrt(len(values))
    wanted = (values.mean() - 1.96 * error, values.mean() + 1.96 * error)
    assert close(row_interval(values[:, None], mean, key=KEY), wanted)
    assert close(counted_interval(Counter((value,) for value in values.tolist()), mean, key=KEY), wanted)


@pytest.mark.parametrize("count", [60, 1379])
def test_correlations_have_scipys_intervals(count: int) -> None:
    rng = np.random.default_rng(count)
    right = rng.integers(0, 6, count).astype(float)  # many ties
    given = 1000.0 + right + rng.normal(scale=2.0, size=count).round(1)
    kept = RankCorrelation()
    kept.add(right, given)
    wanted = scipys((right, given), lambda x, y: np.corrcoef(x, y)[0, 1], 3000)
    assert close(correlation_interval(kept, key=KEY), wanted, part=0.1)
    wanted = scipys((right, given), lambda x, y: scipy.stats.spearmanr(x, y).statistic, 3000)
    assert close(rank_interval(kept, key=KEY), wanted, part=0.1)


@pytest.mark.parametrize(("metric", "name"), [(macro_f1, "macro_f1"), (micro_f1, "micro_f1")])
def test_relations_are_scored_alike_one_by_one_and_by_samples(metric: Metric, name: str) -> None:
    rng = np.random.default_rng(8)
    labels = ["R(e1,e2)", "R(e2,e1)", "S", "T", "Other"]
    right = rng.choice(labels[:2] + labels[2:3] + labels[4:], 400)
    given = np.where(rng.random(400) < 0.7, right, rng.choice(labels, 400))

    def scored(chosen: np.ndarray) -> float:
        relations = Relations()
        relations.add(right[chosen].tolist(), given[chosen].tolist())
        rows = np.array([row for row, times in relations.numbers().items() for _ in range(times)])
        score = relations.metrics()[name]
        assert metric(rows.sum(axis=0)[None], 400)[0] == pytest.approx(score, abs=1e-12)
        return score

    drawn = [scored(rng.integers(0, 400, 400)) for _ in range(1500)]
    whole = Relations()
    whole.add(right.tolist(), given.tolist())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert close(counted_interval(whole.numbers(), metric, key=KEY), (low, high), part=0.1)


def test_what_has_no_spread_has_a_point_and_nothing_has_none() -> None:
    assert counted_interval({(1.0, 1.0): 1}, share, key=KEY) == (1.0, 1.0)
    assert counted_interval({(0.0, 1.0): 50}, share, key=KEY) == (0.0, 0.0)
    assert counted_interval({(0.0, 0.0, 0.0): 9}, f1, key=KEY) == (0.0, 0.0)
    assert counted_interval({}, share, key=KEY) is None
    assert row_interval(np.zeros((0, 1)), mean, key=KEY) is None
    constant, empty = RankCorrelation(), RankCorrelation()
    constant.add(np.ones(7), np.arange(7.0))
    assert correlation_interval(constant, key=KEY) == rank_interval(constant, key=KEY) == (0.0, 0.0)
    assert correlation_interval(empty, key=KEY) is None and rank_interval(empty, key=KEY) is None
    assert told("f1", None) == {} and told("f1", lambda key: None) == {}
    assert told("f1", lambda key: Interval(0.1, 0.2)) == {"f1": [0.1, 0.2]}


def test_of_many_examples_there_is_an_interval_about_the_score_in_little_memory() -> None:
    rng = np.random.default_rng(9)
    values, kept = rng.random(100_000), RankCorrelation()
    kept.add(values, values + rng.random(100_000))
    hits = rng.integers(0, 20, 100_000).astype(float)
    counts = Counter(zip(hits.tolist(), (hits + rng.integers(0, 20, 100_000)).tolist(), strict=True))
    right, asked = (sum(row[place] * times for row, times in counts.items()) for place in (0, 1))
    for found, score in (
        (counted_interval(counts, share, key=KEY), right / asked),
        (row_interval(values[:, None], mean, key=KEY), values.mean()),
        (rank_interval(kept, key=KEY), kept.metrics()["spearman"]),
    ):
        assert found is not None and found.low < score < found.high < found.low + 0.02
    million = rng.random((1_000_000, 1), dtype=np.float32)
    tracemalloc.start()
    assert row_interval(million, mean, key=KEY) is not None
    assert tracemalloc.get_traced_memory()[1] < 64 * len(million)
    tracemalloc.stop()


@pytest.mark.parametrize("name", METRICS)
def test_scores_of_a_confusion_have_the_interval_of_scikit_learns_scores_of_examples(name: str) -> None:
    rng = np.random.default_rng(11)
    right = rng.choice(4, 400, p=[0.7, 0.2, 0.08, 0.02])
    given = np.where(rng.random(400) < 0.6, right, rng.integers(0, 4, 400))
    theirs = {"matthews": matthews_corrcoef, "macro_f1": partial(f1_score, average="macro")}[name]
    counted = Confusion("abcdx")  # a class that does not occur
    counted.add(right, given)
    hits, sides = np.diagonal(counted.counts_CC), (counted.counts_CC.sum(axis=1), counted.counts_CC.sum(axis=0))
    assert METRICS[name](hits[None], sides[0][None], sides[1][None])[0] == pytest.approx(
        theirs(right, given), abs=1e-12
    )
    assert counted.metrics()[name] == pytest.approx(theirs(right, given), abs=1e-12)
    draws = rng.integers(0, 400, (2000, 400))
    wanted = np.quantile([theirs(right[draw], given[draw]) for draw in draws], [0.025, 0.975])
    found = confusion_interval(counted, METRICS[name], key=KEY)
    assert close(found, (float(wanted[0]), float(wanted[1])), part=0.12)
    assert found == confusion_interval(counted, METRICS[name], key=Key(3))


def test_a_confusion_of_nothing_or_of_one_class_has_an_interval_where_it_can() -> None:
    assert confusion_interval(Confusion("ab"), METRICS["macro_f1"], key=KEY) is None
    one, wrong = Confusion("ab"), Confusion("ab")
    one.add(np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64))
    assert confusion_interval(one, METRICS["macro_f1"], key=KEY) == (1.0, 1.0)
    assert confusion_interval(one, METRICS["matthews"], key=KEY) == (0.0, 0.0)
    wrong.add(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 1, 0, 0]))
    assert confusion_interval(wrong, METRICS["macro_f1"], key=KEY) == (0.0, 0.0)
