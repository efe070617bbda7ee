"""Intervals fast enough to stand beside every score: equal examples are drawn together, many in blocks."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from trivium.core.random import Key
from trivium.tasks.metrics.bootstrap import Interval, Metric, interval, pearson, percentiles, resampled
from trivium.tasks.metrics.confusion import Confusion
from trivium.tasks.metrics.regression import RankCorrelation

SAMPLES, LEVEL = 1000, 0.95
_MOST_DIFFERENT = 4096  # rows whose numbers are drawn at once: a binomial a row and sample
_BLOCKS = 8192
_MOST_CELLS = 1 << 20  # numbers that are drawn at once: 8 MB
_MOST_RANKED = 20_000_000  # numbers put in order, of all samples together
_FEWEST_SAMPLES = 200


class Likely(Protocol):
    """The interval of a score, computed when it is asked for: equal keys give equal intervals."""

    def __call__(self, *, key: Key) -> Interval | None:
        """Return the 95 % percentile bootstrap interval over examples; None when there are none."""
        ...


def counted_interval(counts: Mapping[tuple[float, ...], int], metric: Metric, *, key: Key) -> Interval | None:
    """Return the interval of a score from how often each row of numbers occurs among the examples; None without any.

    How often each different row is drawn is multinomial, which is the same as drawing example by example.

    Args:
        counts: of each example's numbers; nothing else of the examples is known.
        metric: the score of the numbers' sums.
        key: what the draws are keyed by.
    """
    if not counts:
        return None
    rows, times = np.array(list(counts), dtype=np.float64), np.array(list(counts.values()), dtype=np.int64)
    if len(rows) > _MOST_DIFFERENT:
        return row_interval(np.repeat(rows, times, axis=0), metric, key=key)
    order = np.lexsort(rows.T)  # the order in which examples came changes nothing
    rows, times, total = rows[order], times[order], int(times.sum())
    drawn = key.child("bootstrap").numpy().multinomial(total, times / total, SAMPLES)
    return percentiles(metric(drawn @ rows, total), LEVEL)


# hits_SC, right_SC and given_SC, how often each class is given rightly, is right, and is given -> scores_S
ClassMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def macro_f1(hits_SC: np.ndarray, right_SC: np.ndarray, given_SC: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the classes that occur, as `Confusion.macro_f1`."""
    both_SC = right_SC + given_SC
    occurs_S = np.maximum((both_SC > 0).sum(axis=1), 1)
    mean_S: np.ndarray = (2.0 * hits_SC / np.maximum(both_SC, 1)).sum(axis=1) / occurs_S
    return mean_S


def matthews(hits_SC: np.ndarray, right_SC: np.ndarray, given_SC: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation, as `Confusion.matthews`."""
    right, given = (side.astype(np.float64) for side in (right_SC, given_SC))
    total_S, hits_S = right.sum(axis=1), hits_SC.sum(axis=1, dtype=np.float64)
    spread_S = np.sqrt((total_S**2 - (given**2).sum(axis=1)) * (total_S**2 - (right**2).sum(axis=1)))
    apart_S = hits_S * total_S - (right * given).sum(axis=1)
    correlation_S: np.ndarray = np.divide(apart_S, spread_S, out=np.zeros_like(apart_S), where=spread_S > 0)
    return correlation_S


METRICS: Mapping[str, ClassMetric] = {"macro_f1": macro_f1, "matthews": matthews}


def confusion_interval(counted: Confusion, metric: ClassMetric, *, key: Key) -> Interval | None:
    """Return the interval of a score of classes, of examples of one answer each; None without any.

    Args:
        counted: how often each class was given for each right one.
        metric: the score.
        key: what the draws are keyed by.
    """
    right_K, given_K, times_K = counted.cells()
    total = int(times_K.sum())
    if not total:
        return None
    is_hit_K, classes, rng = right_K == given_K, len(counted.labels), key.child("bootstrap").numpy()
    at_once = max(1, _MOST_CELLS // max(len(right_K), classes))
    scores = []
    for done in range(0, SAMPLES, at_once):
        some = min(at_once, SAMPLES - done)
        drawn_SK = rng.multinomial(total, times_K / total, some)
        parts = [(drawn_SK[:, is_hit_K], right_K[is_hit_K]), (drawn_SK, right_K), (drawn_SK, given_K)]
        scores.append(metric(*(_by_class(drawn, class_K, classes) for drawn, class_K in parts)))
    return percentiles(np.concatenate(scores), LEVEL)


def _by_class(drawn_SK: np.ndarray, class_K: np.ndarray, classes: int) -> np.ndarray:
    """Return the sums of the columns of each class, [samples, classes]."""
    sums_SC = np.zeros((len(drawn_SK), classes), dtype=np.int64)
    if len(class_K):
        order_K = np.argsort(class_K, kind="stable")
        there, begins = np.unique(class_K[order_K], return_index=True)
        sums_SC[:, there] = np.add.reduceat(drawn_SK[:, order_K], begins, axis=1)
    return sums_SC


def row_interval(rows: np.ndarray, metric: Metric, *, key: Key) -> Interval | None:
    """Return the interval of a score from each example's numbers; None without any.

    More than 8192 examples are put, at random, into that many blocks, and blocks are drawn: of what is drawn
    independently, blocks vary as examples do, and the interval's width is known to 1 % from so many (its own draws make
    3 % of difference).

    Args:
        rows: float [examples, numbers].
        metric: the score of the numbers' sums.
        key: what the draws are keyed by.
    """
    if not len(rows):
        return None
    if len(rows) <= _BLOCKS:
        return interval(rows, metric, key=key, samples=SAMPLES, level=LEVEL)
    order = key.child("blocks").numpy().permutation(len(rows))
    starts = np.linspace(0, len(rows), _BLOCKS, endpoint=False).astype(np.int64)
    sums = [np.add.reduceat(column.astype(np.float64)[order], starts) for column in rows.T]
    sizes = np.diff(np.append(starts, len(rows))).astype(np.float64)
    blocks = np.stack([*sums, sizes], axis=1)
    scores = [metric(drawn[:, :-1], drawn[:, -1]) for drawn in resampled(blocks, key, SAMPLES)]
    return percentiles(np.concatenate(scores), LEVEL)


def product_rows(right_A: np.ndarray, given_A: np.ndarray) -> np.ndarray:
    """Return what `bootstrap.pearson` is made of, [examples, 5], both sides first brought to mean 0 and deviation 1."""
    sides = [np.asarray(side, dtype=np.float64) for side in (right_A, given_A)]
    x, y = ((side - side.mean()) / (side.std() or 1.0) if len(side) else side for side in sides)
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def correlation_interval(kept: RankCorrelation, *, key: Key) -> Interval | None:
    """Return the interval of Pearson's correlation of the pairs that were kept; None without any."""
    return row_interval(product_rows(*kept.pairs()), pearson, key=key)


def rank_interval(kept: RankCorrelation, *, key: Key) -> Interval | None:
    """Return the interval of Spearman's correlation of the pairs that were kept; None without any.

    What is drawn is ranked anew each time, so that of more than 20,000 examples fewer samples are drawn, 200 at least.
    """
    right_A, given_A = kept.pairs()
    count = len(right_A)
    if not count:
        return None
    rng = key.child("bootstrap").numpy()
    samples = min(SAMPLES, max(_FEWEST_SAMPLES, _MOST_RANKED // count))
    sides = [_Ordered(side) for side in (right_A, given_A)]
    scores = np.zeros(samples)
    for number in range(samples):
        times_A = np.bincount(rng.integers(0, count, count), minlength=count)
        scores[number] = _correlation(sides[0].ranks(times_A), sides[1].ranks(times_A), times_A)
    return percentiles(scores, LEVEL)


class _Ordered:
    """Numbers in order, for the ranks that they have among those that are drawn of them."""

    def __init__(self, values_A: np.ndarray) -> None:
        self.order_A = np.argsort(values_A, kind="stable")
        ordered_A = np.asarray(values_A)[self.order_A]
        self.begins = np.flatnonzero(np.append(True, ordered_A[1:] != ordered_A[:-1]))
        self.sizes = np.diff(np.append(self.begins, len(ordered_A)))

    def ranks(self, times_A: np.ndarray) -> np.ndarray:
        """Return the rank of each number, equal ones sharing the mean of theirs, when it is there this many times."""
        equal = np.add.reduceat(times_A[self.order_A], self.begins)
        mean = np.cumsum(equal) - (equal - 1) / 2
        ranks_A = np.empty(len(times_A))
        ranks_A[self.order_A] = np.repeat(mean, self.sizes)
        return ranks_A


def _correlation(x_A: np.ndarray, y_A: np.ndarray, times_A: np.ndarray) -> float:
    total = times_A.sum()
    x_A, y_A = (side_A - (times_A @ side_A) / total for side_A in (x_A, y_A))
    spread = float(np.sqrt((times_A @ x_A**2) * (times_A @ y_A**2)))
    return float(times_A @ (x_A * y_A)) / spread if spread else 0.0


def told(name: str, likely: Likely | None) -> dict[str, list[float]]:
    """Return a score's interval by the score's name, as results hold it; nothing where there is none.

    All are drawn by one key: equal answers have equal intervals, whoever scores them.
    """
    found = None if likely is None else likely(key=Key(0).child("interval"))
    return {} if found is None else {name: [*found]}
