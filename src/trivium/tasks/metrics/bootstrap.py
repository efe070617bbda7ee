"""How sure a score is: percentile bootstrap over examples, and whether one system is better than another (paired)."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from trivium.core.errors import DataError
from trivium.core.random import Key

_DRAWN = 1 << 20  # examples drawn at a time: bounds memory
# Sums of the examples' numbers, [samples, numbers], and how many examples there are, of all samples or of each, to
# scores [samples].
Metric = Callable[[np.ndarray, int | np.ndarray], np.ndarray]


class Interval(NamedTuple):
    """A range that a score is in."""

    low: float
    high: float


class Paired(NamedTuple):
    """How much better the second system is than the first on the same examples."""

    difference: float
    low: float
    high: float
    p_value: float  # of a difference at least as large if there were none, two-sided


def mean(sums: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Return the mean of the one number an example: accuracy, exact match, ROUGE."""
    return sums[:, 0] / count


def share(sums: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Return the share of hits from two numbers an example, hits and answers: accuracy where an example has several."""
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


def f1(sums: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Return micro-F1 from the sums of three numbers an example: hits, right ones and given ones (`Found`)."""
    return 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1)


def pearson(sums: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Return Pearson's correlation from the sums of x, y, x squared, y squared and x times y; 0 without a spread."""
    x, y, xx, yy, xy = sums.T
    spread = np.sqrt(np.maximum(count * xx - x * x, 0.0)) * np.sqrt(np.maximum(count * yy - y * y, 0.0))
    correlation: np.ndarray = np.where(spread > 0, (count * xy - x * y) / np.where(spread > 0, spread, 1.0), 0.0)
    return correlation


def interval(
    examples: np.ndarray, metric: Metric = mean, *, key: Key, samples: int = 1000, level: float = 0.95
) -> Interval:
    """Return the percentile bootstrap interval of a score (Efron 1979): examples are drawn again, with replacement.

    Args:
        examples: float [examples, numbers], whose sums the score is made of.
        metric: the score of the numbers' sums.
        key: what the draws are keyed by; equal keys give equal intervals.
        samples: how often all examples are drawn again.
        level: the share of samples inside the interval.

    Raises:
        DataError: there are no examples.
    """
    _require_examples(examples)
    scores = np.concatenate([metric(sums, len(examples)) for sums in resampled(examples, key, samples)])
    return percentiles(scores, level)


def paired(
    first: np.ndarray,
    second: np.ndarray,
    metric: Metric = mean,
    *,
    key: Key,
    samples: int = 1000,
    level: float = 0.95,
) -> Paired:
    """Return whether the second system is better than the first on the same examples (Koehn 2004).

    Both are scored on the same draws. The p-value is the share of draws whose difference is as far from the mean of all
    as the observed one is from 0 (Riezler & Maxwell 2005), one draw more being counted, so that it is never 0.

    Args:
        first: float [examples, numbers] of one system.
        second: the same of the other, the examples in the same order.
        metric, key, samples, level: as of `interval`.

    Raises:
        DataError: the two are not of the same examples, or there are none.
    """
    if first.shape != second.shape:
        raise DataError(
            f"Two systems are compared on the same examples; found {first.shape} and {second.shape} numbers: "
            "answer the same examples with both."
        )
    _require_examples(first)
    count, width = first.shape
    observed = float((metric(_sum(second), count) - metric(_sum(first), count))[0])
    both = np.concatenate([first, second], axis=1)
    differences = np.concatenate(
        [metric(sums[:, width:], count) - metric(sums[:, :width], count) for sums in resampled(both, key, samples)]
    )
    as_far = np.abs(differences - differences.mean()) >= abs(observed)
    low, high = percentiles(differences, level)
    return Paired(observed, low, high, float((as_far.sum() + 1) / (samples + 1)))


def resampled(examples: np.ndarray, key: Key, samples: int) -> Iterator[np.ndarray]:
    """Yield the numbers' sums of examples that are drawn with replacement, some samples at a time."""
    rng = key.child("bootstrap").numpy()
    count = len(examples)
    at_once = max(1, _DRAWN // count)
    for done in range(0, samples, at_once):
        rows = min(at_once, samples - done)
        drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        # A column at a time: no float64 copy of all that was kept.
        yield np.stack([times @ column.astype(np.float64) for column in examples.T], axis=1)


def _sum(examples: np.ndarray) -> np.ndarray:
    return examples.sum(axis=0, dtype=np.float64)[None]


def percentiles(scores: np.ndarray, level: float) -> Interval:
    """Return what this share of the scores lies in, as many of the others below as above."""
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _require_examples(examples: np.ndarray) -> None:
    if not len(examples):
        raise DataError("An interval needs at least one example, found none: score some examples first.")
