"""Which tokens of a row are hidden together: single ones, whole words, runs of words."""

from typing import Annotated, Literal, NamedTuple, assert_never

import numpy as np
from pydantic import Field, PositiveInt

from trivium.core.config import Config


class SingleTokens(Config):
    """Each token by itself (BERT, Devlin et al. 2019)."""

    kind: Literal["tokens"] = "tokens"


class WholeWords(Config):
    """All tokens of a word or none (BERT's later checkpoints; Cui et al. 2021)."""

    kind: Literal["words"] = "words"


class GeometricSpans(Config):
    """Runs of words whose number is geometric, cut off at `max_words` (SpanBERT, Joshi et al. 2020, section 3.1)."""

    kind: Literal["spans"] = "spans"
    stop: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    max_words: PositiveInt = 10


class Ngrams(Config):
    """Runs of up to `max_words` words, n of them in proportion to 1 / n (ALBERT, Lan et al. 2020, equation 2)."""

    kind: Literal["ngrams"] = "ngrams"
    max_words: PositiveInt = 3


Unit = Annotated[SingleTokens | WholeWords | GeometricSpans | Ngrams, Field(discriminator="kind")]


class Hidden(NamedTuple):
    """What is hidden of a row."""

    places_N: np.ndarray  # int64, increasing
    unit_N: np.ndarray  # int64, which of the units each belongs to, from 0


class Candidates(NamedTuple):
    """A row that something is to be hidden of."""

    allowed_L: np.ndarray  # bool, the token may be hidden
    document_L: np.ndarray  # int32
    word_start_L: np.ndarray  # bool
    weight_L: np.ndarray | None  # how gladly each token is hidden, positive; None = all alike


def hide(unit: Unit, row: Candidates, budget: int, rng: np.random.Generator) -> Hidden:
    """Choose units in random order as long as they fit; none is split, none reaches over a document's end.

    Args:
        unit: what is hidden together.
        row: what there is.
        budget: tokens to hide at most.
        rng: of the choice.
    """
    match unit:
        case SingleTokens():
            places = np.flatnonzero(row.allowed_L)
            weights = None if row.weight_L is None else row.weight_L[places]
            chosen = np.sort(places[_order(len(places), weights, rng)[:budget]])
            return Hidden(chosen, np.arange(len(chosen)))
        case WholeWords():
            lengths: np.ndarray = np.ones(1)
        case GeometricSpans(stop=stop, max_words=longest):
            lengths = stop * (1.0 - stop) ** np.arange(longest)
        case Ngrams(max_words=longest):
            lengths = 1.0 / np.arange(1, longest + 1)
        case _:
            assert_never(unit)
    return _hide_words(row, lengths / lengths.sum(), budget, rng)


def words_of(row: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Return where the words begin and end of which every token may be hidden; both int64 [words]."""
    begins_L = row.word_start_L | (np.diff(row.document_L, prepend=-2) != 0)
    starts = np.flatnonzero(begins_L)
    stops = np.append(starts[1:], len(begins_L))
    whole = np.logical_and.reduceat(row.allowed_L, starts)
    return starts[whole], stops[whole]


def _hide_words(row: Candidates, shares: np.ndarray, budget: int, rng: np.random.Generator) -> Hidden:
    """Hide runs of words; `shares`: how often a run is of 1, 2, ... words."""
    starts, stops = words_of(row)
    weights = None
    if row.weight_L is not None:
        sums = np.concatenate(([0.0], np.cumsum(row.weight_L)))
        weights = (sums[stops] - sums[starts]) / (stops - starts)
    order = _order(len(starts), weights, rng)
    runs = (
        np.ones(len(starts), dtype=np.int64) if len(shares) == 1 else 1 + rng.choice(len(shares), len(starts), p=shares)
    )
    # A run may go on to the next word where that follows at once in the same document.
    linked = np.zeros(len(starts), dtype=bool)
    linked[:-1] = (starts[1:] == stops[:-1]) & (row.document_L[starts[1:]] == row.document_L[starts[:-1]])
    free = np.ones(len(starts), dtype=bool)
    unit_L = np.full(len(row.allowed_L), -1, dtype=np.int64)
    taken, left = 0, budget
    for first, count in zip(order, runs, strict=True):
        last = first + count - 1
        if left == 0:
            break
        if last >= len(starts) or not free[first : last + 1].all() or not linked[first:last].all():
            continue
        size = int(stops[last] - starts[first])
        if size <= left:
            unit_L[starts[first] : stops[last]] = taken
            free[first : last + 1] = False
            taken, left = taken + 1, left - size
    places = np.flatnonzero(unit_L >= 0)
    return Hidden(places, unit_L[places])


def _order(count: int, weights: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Return a random order; with weights, each next one is drawn in proportion to its weight (Efraimidis 2006)."""
    if weights is None:
        return rng.permutation(count)
    return np.argsort(np.log(1.0 - rng.random(count)) / weights, kind="stable")[::-1]
