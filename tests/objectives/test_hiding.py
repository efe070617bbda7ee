"""Units that are hidden together: whole, inside one document, of the lengths that the papers say."""

import numpy as np
import pytest

from trivium.objectives.hiding import (
    Candidates,
    GeometricSpans,
    Ngrams,
    SingleTokens,
    Unit,
    WholeWords,
    hide,
    words_of,
)

LENGTH = 200
UNITS: tuple[Unit, ...] = (SingleTokens(), WholeWords(), GeometricSpans(), Ngrams())


def random_row(seed: int, *, words: float = 0.6, special: float = 0.05) -> Candidates:
    """A row of random documents, words and tokens that may not be hidden."""
    rng = np.random.default_rng(seed)
    document = np.cumsum(rng.random(LENGTH) < 0.03).astype(np.int32)
    document[LENGTH - seed % 20 :] = -1
    allowed = (document >= 0) & (rng.random(LENGTH) >= special)
    starts = (rng.random(LENGTH) < words) | ~allowed
    return Candidates(allowed, document, starts, None)


def brute_words(row: Candidates) -> list[tuple[int, int]]:
    """Words token by token, without numpy's tricks."""
    words: list[list[int]] = []
    for place in range(LENGTH):
        begins = place == 0 or row.word_start_L[place] or row.document_L[place] != row.document_L[place - 1]
        if begins:
            words.append([])
        words[-1].append(place)
    return [(word[0], word[-1] + 1) for word in words if all(row.allowed_L[place] for place in word)]


def test_words_are_those_of_the_definition() -> None:
    found = 0
    for seed in range(50):
        row = random_row(seed)
        starts, stops = words_of(row)
        assert list(zip(starts.tolist(), stops.tolist(), strict=True)) == brute_words(row)
        found += len(starts)
    assert found > 2000


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.kind)
def test_units_are_whole_and_the_budget_is_kept(unit: Unit) -> None:
    full = 0
    for seed in range(100):
        row, budget = random_row(seed), 5 + seed % 40
        hidden = hide(unit, row, budget, np.random.default_rng(seed))
        places = hidden.places_N.tolist()
        assert len(places) <= budget
        assert places == sorted(set(places))
        assert row.allowed_L[places].all()
        full += len(places) == budget
        chosen = set(places)
        if not isinstance(unit, SingleTokens):
            for start, stop in brute_words(row):
                assert len(chosen & set(range(start, stop))) in (0, stop - start)
        for number in range(hidden.unit_N.max(initial=-1) + 1):
            own = hidden.places_N[hidden.unit_N == number]
            assert (np.diff(own) == 1).all()
            assert len(set(row.document_L[own].tolist())) == 1
    assert full > 80


@pytest.mark.parametrize(
    ("unit", "shares"),
    [
        (GeometricSpans(), [0.2 * 0.8**n for n in range(10)]),
        (GeometricSpans(stop=0.5, max_words=4), [0.5**n for n in range(4)]),
        (Ngrams(), [1.0, 1 / 2, 1 / 3]),
    ],
    ids=["spanbert", "short", "albert"],
)
def test_lengths_in_words_follow_the_published_distribution(unit: Unit, shares: list[float]) -> None:
    # A long text of one-token words, of which a little is hidden, so that hardly a span is in another's way.
    length = 20_000
    row = Candidates(np.ones(length, bool), np.zeros(length, np.int32), np.ones(length, bool), None)
    lengths: list[int] = []
    for seed in range(20):
        hidden = hide(unit, row, 1000, np.random.default_rng(seed))
        lengths += np.bincount(hidden.unit_N).tolist()
    counts = np.bincount(lengths, minlength=len(shares) + 1)[1:]
    expected = len(lengths) * np.array(shares) / sum(shares)
    assert len(counts) == len(shares)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected.max()) + 20  # the last one of a row may not fit


def test_spanberts_mean_length_is_the_published_one() -> None:
    shares = np.array([0.2 * 0.8**n for n in range(10)])
    assert float((shares / shares.sum()) @ np.arange(1, 11)) == pytest.approx(3.797, abs=1e-3)


def test_whole_words_are_chosen_equally_often() -> None:
    row = random_row(3, special=0.0)
    starts, _ = words_of(row)
    times = np.zeros(LENGTH)
    for seed in range(3000):
        hidden = hide(WholeWords(), row, 30, np.random.default_rng(seed))
        times[hidden.places_N] += 1
    # The last of a row is left out when it is too long to fit: long words a little less often.
    single = np.array([row.word_start_L[s + 1] or row.document_L[s + 1] != row.document_L[s] for s in starts[:-1]])
    often = times[starts[:-1]][single]
    assert len(often) > 30
    assert np.abs(often - often.mean()).max() < 4.5 * np.sqrt(often.mean())


@pytest.mark.parametrize("unit", [SingleTokens(), WholeWords()], ids=lambda unit: unit.kind)
def test_with_weights_the_first_is_drawn_in_proportion(unit: Unit) -> None:
    weights = np.tile([1.0, 2.0, 5.0], LENGTH // 3 + 1)[:LENGTH]
    row = Candidates(np.ones(LENGTH, bool), np.zeros(LENGTH, np.int32), np.ones(LENGTH, bool), weights)
    drawn = np.concatenate([hide(unit, row, 1, np.random.default_rng(seed)).places_N for seed in range(6000)])
    shares = np.bincount(drawn % 3, minlength=3) / len(drawn)
    expected = np.array([weights[np.arange(LENGTH) % 3 == kind].sum() for kind in range(3)]) / weights.sum()
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_nothing_to_hide_hides_nothing() -> None:
    row = Candidates(np.zeros(8, bool), np.full(8, -1, np.int32), np.ones(8, bool), None)
    for unit in UNITS:
        assert len(hide(unit, row, 4, np.random.default_rng(0)).places_N) == 0
