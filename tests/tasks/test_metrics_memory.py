"""A million examples: what each accumulator keeps, and what computing its scores takes on top."""

import gc
import pickle
import resource
import tracemalloc
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from trivium.tasks.metrics import (
    Answers,
    Bleu,
    Calibration,
    Chrf,
    Confusion,
    Distinct,
    JointRelations,
    MultiLabel,
    OneVersusRest,
    RankCorrelation,
    Regression,
    Relations,
    Retrieval,
    RocArea,
    Rouge,
    Spans,
    cmrc_score,
    squad_score,
)
from trivium.tasks.metrics.kept import Kept

MILLION, BATCH, FEW = 1_000_000, 5000, 200
MOST = 32  # bytes an example
FLAT = 300_000  # bytes: nothing is kept

Feed = Callable[[Any, np.random.Generator], None]  # adds BATCH examples of arrays, or FEW others


def _each(add: Callable[[Any, int], object]) -> Feed:
    def feed(metric: Any, rng: np.random.Generator) -> None:
        for number in rng.integers(0, 30, FEW):
            add(metric, int(number))

    return feed


ARRAYS: dict[str, tuple[Callable[[], Any], Feed, int]] = {
    "Confusion": (lambda: Confusion("abc"), lambda m, r: m.add(*r.integers(0, 3, (2, BATCH))), 0),
    "MultiLabel": (lambda: MultiLabel("abc"), lambda m, r: m.add(*(r.random((2, BATCH, 3)) < 0.5)), 0),
    "RocArea": (RocArea, lambda m, r: m.add(r.random(BATCH), r.random(BATCH) < 0.3), 4),
    "OneVersusRest": (
        lambda: OneVersusRest(7),
        lambda m, r: m.add(r.random((BATCH, 7)), r.integers(0, 7, BATCH)),
        29,
    ),
    "Regression": (Regression, lambda m, r: m.add(*r.random((2, BATCH))), 0),
    "RankCorrelation": (RankCorrelation, lambda m, r: m.add(*r.random((2, BATCH))), 16),
    "Calibration": (
        Calibration,
        lambda m, r: m.add(np.log(r.dirichlet(np.ones(3), BATCH)), r.integers(0, 3, BATCH)),
        0,
    ),
    "Retrieval": (
        Retrieval,
        lambda m, r: m.add(r.random((BATCH, 12)), r.integers(0, 12, BATCH)[:, None] == range(12)),
        0,
    ),
}
OBJECTS: dict[str, tuple[Callable[[], Any], Feed]] = {
    "Spans": (
        Spans,
        _each(lambda m, n: m.add([(n, n + 2, "A"), (n + 3, n + 4, "B")], [(n, n + 1 + n % 2, "A")])),
    ),
    "Relations": (Relations, lambda m, r: m.add(*r.choice(["R(e1,e2)", "S", "Other"], (2, FEW)).tolist())),
    "JointRelations": (
        JointRelations,
        _each(lambda m, n: m.add([((n, n + 1, "A"), (0, 1, "B"), "r")], [])),
    ),
    "squad": (
        lambda: Answers(squad_score),
        _each(lambda m, n: m.add(f"the {n}", [f"{n} cats"])),
    ),
    "cmrc": (
        lambda: Answers(cmrc_score),
        _each(lambda m, n: m.add(f"第{n}", [f"第{n}年"])),
    ),
    "Rouge": (
        Rouge,
        _each(lambda m, n: m.add(f"a {n}", [f"b {n}"])),
    ),
    "Bleu": (
        Bleu,
        _each(lambda m, n: m.add(f"a {n}", [f"b {n}"])),
    ),
    "Chrf": (
        Chrf,
        _each(lambda m, n: m.add(f"a {n}", [f"b {n}"])),
    ),
    "Distinct": (
        Distinct,
        _each(lambda m, n: m.add(f"a {n} b")),
    ),
}


def measured(make: Callable[[], Any], feed: Feed, batches: int) -> tuple[int, int]:
    """Return the bytes kept of that many batches after a first batch, and the most that computing the scores takes."""
    rng = np.random.default_rng(0)
    metric = make()
    feed(metric, rng)  # what is made once: tables, caches
    gc.collect()
    tracemalloc.start()
    for _ in range(batches):
        feed(metric, rng)
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    assert metric.metrics()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return kept, peak - kept


@pytest.mark.parametrize("examples", [MILLION // 5, pytest.param(MILLION, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ARRAYS)
def test_examples_keep_at_most_32_bytes_each(name: str, examples: int) -> None:
    make, feed, size = ARRAYS[name]
    kept, computing = measured(make, feed, examples // BATCH)
    # One block of up to 65,536 rows may be not full yet.
    assert kept <= size * (examples + 65_536) + FLAT
    assert size <= MOST
    assert computing <= 4 * MOST * examples if size else computing <= FLAT


@pytest.mark.parametrize("name", OBJECTS)
def test_texts_and_spans_keep_nothing(name: str) -> None:
    make, feed = OBJECTS[name]
    kept, _ = measured(make, feed, 4)
    assert kept <= 4 * FEW * MOST + 20_000  # what is freed and not yet given back


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OBJECTS)
def test_a_million_texts_and_spans_keep_nothing(name: str) -> None:
    # tracemalloc would make this several times slower: the state's size and the process's largest one say as much.
    make, feed = OBJECTS[name]
    rng, metric = np.random.default_rng(0), make()
    feed(metric, rng)
    state, process = len(pickle.dumps(metric)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(MILLION // FEW):
        feed(metric, rng)
    assert metric.metrics()
    assert len(pickle.dumps(metric)) <= state + 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - process < 20_000  # KiB


def test_distinct_keeps_8_bytes_for_each_different_word_and_pair() -> None:
    distinct = Distinct()
    distinct.add("first")
    text = " ".join(f"w{number}" for number in range(40_000))
    tracemalloc.start()
    distinct.add(text)
    assert distinct.metrics() == {"distinct_1": 1.0, "distinct_2": 1.0}
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 8 * 80_000 + FLAT


@pytest.mark.parametrize("width", [1, 3])
def test_what_is_kept_comes_back_in_order(width: int) -> None:
    rng = np.random.default_rng(width)
    kept, other, parts = Kept(width, np.float64), Kept(width, np.float64), []
    sizes = iter(rng.integers(0, 700, 40))
    for target, count in ((kept, 30), (other, 10)):
        for size in islice(sizes, count):
            parts.append(rng.random((size, width)))
            target.add(parts[-1])
    kept.merge(other)
    assert np.array_equal(np.stack([kept.column(n) for n in range(width)], axis=1), np.concatenate(parts))
    assert np.array_equal(kept.column(width - 1), np.concatenate(parts)[:, -1])
    assert len(kept) == sum(map(len, parts)) > 256


def test_what_would_be_kept_is_measured() -> None:
    kept: list[bytes] = []
    assert measured(Regression, lambda _, rng: kept.append(rng.bytes(2 * MOST * FEW)), 3)[0] > 3 * FEW * MOST
    assert len(kept) == 4
