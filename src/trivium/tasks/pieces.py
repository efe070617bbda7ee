"""Labelled examples as pieces of tokens: windows over what is longer than a row, packed rows, batches by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from trivium.core.batch import Batch, read_again
from trivium.core.batch import reading as only_read
from trivium.core.errors import DataError
from trivium.core.layout import TokenLayout, positions_of
from trivium.core.progress import nobody
from trivium.core.random import Key
from trivium.data.order import document_order
from trivium.data.packing import first_fit, first_fit_both
from trivium.data.tokenizer import Tokenizer
from trivium.tasks.epoch_steps import EpochSteps
from trivium.tasks.laid import Laid


class Reading(NamedTuple):
    """How a model reads texts for a task."""

    tokenizer: Tokenizer
    row_length: int  # tokens a row, what the tokenizer's frame adds included
    both_ways: bool  # False: every token sees only what comes before it
    segments: bool = True  # False: the model does not tell segments apart, whatever the tokenizer says
    again: bool = False  # a decoder reads the text too, after an encoder, see `read_again`
    source: bool = False  # pieces are a decoder's, with a source of their own for the encoder
    prefix: bool = False  # what a piece is given is read both ways, what it writes from left to right


class Piece(NamedTuple):
    """What one window shows of an example, and which of the example's answers are given there."""

    tokens_L: np.ndarray  # int64, at least one, what the tokenizer's frame adds included
    places_N: np.ndarray  # int64, where in the piece an answer is given; [N, P] where it is read off P places
    classes_N: np.ndarray  # int64, the right answer there, 0 where it is not known
    answers_N: np.ndarray  # int64, which of the example's answers it is
    example: int
    weight: float  # of each answer in training: 1 / windows that give it
    segments_L: np.ndarray | None = None  # int64, the segment of each token; None = all 0
    targets_NC: np.ndarray | None = None  # float32, the right numbers there, of tasks that have no classes
    source_L: np.ndarray | None = None  # int64, at least one, what an encoder reads where the tokens are a decoder's
    given: int = 0  # how many tokens at the beginning are given where the others are written


class Written(NamedTuple):
    """The texts of examples in tasks that write, and how many of them were shortened."""

    references: list[tuple[str, ...]]  # the right texts of each example, all of them
    learned: list[str]  # of each example the one that is learned, as far as it is
    sources_cut: int
    targets_cut: int
    cut: int  # examples of which anything was


class Encoded(NamedTuple):
    """Examples of a task as one reading sees them."""

    pieces: list[Piece]  # in the order of their examples
    gold: list[np.ndarray]  # the right answers of each example, [answers] or [answers, C]; 0 where they are not known
    reading: Reading
    asked: Sequence[Any] = ()  # what each example asks, of tasks whose answers are text
    said: tuple[str, ...] = ()  # what of the examples cannot be answered right, for eyes
    # What is known of how the examples are read before any is answered; shown among the metrics.
    measured: Mapping[str, float] = MappingProxyType({})
    written: Written | None = None  # in tasks that write
    lost: Sequence[tuple[str, ...]] = ()  # of each example: the labels of right spans that no words say, all missed
    told: Callable[[int], None] = nobody  # is told how many more pieces have been read

    @property
    def num_answers(self) -> int:
        """Number of answers to give: what coverage is measured against."""
        return sum(len(gold) for gold in self.gold)


class Packed(NamedTuple):
    """A batch of pieces, and whose answer is given at each of its places."""

    batch: Batch
    example_BN: np.ndarray  # int64, -1 = the place is not used
    answer_BN: np.ndarray  # int64


class Chunk(NamedTuple):
    """Some neighbouring examples, and the pieces that show them."""

    first: int
    stop: int  # one past the last example
    pieces: list[Piece]


def by_examples(encoded: Encoded, together: int, *, most_answers: int | None = None) -> Iterator[Chunk]:
    """Yield all examples with their pieces, in order.

    Args:
        encoded: the examples.
        together: how many at a time, at most.
        most_answers: that they have, unless one alone has more; None = any number.
    """
    owner_P = np.array([piece.example for piece in encoded.pieces], dtype=np.int64)
    answers_E = np.cumsum([0, *map(len, encoded.gold)])  # of the examples before each
    first, count = 0, len(encoded.gold)
    while first < count:
        stop = min(first + together, count)
        if most_answers is not None:
            most = int(np.searchsorted(answers_E, answers_E[first] + most_answers, side="right")) - 1
            stop = min(stop, max(first + 1, most))
        yield Chunk(first, stop, encoded.pieces[slice(*np.searchsorted(owner_P, (first, stop)))])
        first = stop


def window_starts(length: int, size: int, *, overlap: int) -> np.ndarray:
    """Return where windows over a text begin, int64: as few as give the overlap, evenly spread, none reaching out.

    Args:
        length: tokens in the text.
        size: tokens a window, more than `overlap`.
        overlap: tokens that neighbouring windows share at least.
    """
    if length <= size:
        return np.zeros(1, dtype=np.int64)
    count = -(-(length - overlap) // (size - overlap))
    return np.arange(count, dtype=np.int64) * (length - size) // (count - 1)


def best_windows(
    first_S: np.ndarray, last_S: np.ndarray, starts_W: np.ndarray, *, size: int, both_ways: bool
) -> np.ndarray:
    """Return the window that shows most context of each span of tokens, int64, -1 where none holds it.

    Read both ways it is the window in which the nearer of the context before and behind is longest; read from left to
    right, the one that begins earliest; of several the first. (An end of the text is no edge, but to count it as one
    never changes the choice.) Memory grows with the spans alone, not with the windows.

    Args:
        first_S, last_S: the first and the last token of each, from 0; of any shapes that fit each other.
        starts_W: where the windows begin, increasing, see `window_starts`.
        size: tokens a window.
        both_ways: how the text is read.
    """
    first_S, last_S = np.broadcast_arrays(first_S, last_S)
    last = len(starts_W) - 1
    if both_ways:  # least is farthest where the window's middle is nearest to the span's: doubled, both are whole
        middle_S = first_S + last_S - size + 1
        after_S = np.clip(np.searchsorted(2 * starts_W, middle_S), 0, last)
        before_S = np.maximum(after_S - 1, 0)
        nearer_S = abs(2 * starts_W[before_S] - middle_S) <= abs(2 * starts_W[after_S] - middle_S)
        chosen_S = np.where(nearer_S, before_S, after_S)
    else:
        chosen_S = np.clip(np.searchsorted(starts_W, last_S - size + 1), 0, last)
    holds_S = (starts_W[chosen_S] <= first_S) & (last_S < starts_W[chosen_S] + size)
    found: np.ndarray = np.where(holds_S, chosen_S, -1)
    return found


def pack(
    rows: Sequence[Sequence[Piece]], reading: Reading, *, num_rows: int, capacity: int, length: int | None = None
) -> Packed:
    """Lay pieces into a batch of static shape; what is not used has document -1 and weight 0.

    The batch has segments where the tokenizer's frame has, whatever its pieces are, so that all batches of a run agree.

    Args:
        rows: the pieces of each row, at most `num_rows` of them.
        reading: gives the length of a row, the padding, and who sees whom.
        num_rows: B.
        capacity: N, answers a row at most.
        length: tokens a row, see `own_length`; None = as the reading says.
    """
    pieces = [piece for row in rows for piece in row]
    shape, answers_shape = (num_rows, length or reading.row_length), (num_rows, capacity)
    counts = list(map(len, rows))
    laid = Laid.side_by_side(counts, [len(piece.tokens_L) for piece in pieces], shape)
    answers = Laid.side_by_side(counts, [len(piece.places_N) for piece in pieces], answers_shape)
    document_BL = laid.each(laid.number_U, unused=-1, dtype=np.int32)
    given_BL = laid.each([piece.given for piece in pieces], dtype=np.int32)
    segments_BL = None
    if reading.segments and reading.tokenizer.frame.has_segments:
        segments_BL = laid.all(
            [np.zeros_like(piece.tokens_L) if piece.segments_L is None else piece.segments_L for piece in pieces]
        )
    places = [places_of(piece) + start for piece, start in zip(pieces, laid.start_U.tolist(), strict=True)]
    targets = [piece.targets_NC for piece in pieces if piece.targets_NC is not None]
    example_BN = answers.each([piece.example for piece in pieces], unused=-1)
    answer_BN = answers.all([piece.answers_N for piece in pieces])
    batch = Batch(
        tokens_BL=torch.from_numpy(
            laid.all([piece.tokens_L for piece in pieces], unused=reading.tokenizer.special.pad)
        ),
        layout=_layout(document_BL, given_BL, reading),
        labels_BN=torch.from_numpy(answers.all([piece.classes_N for piece in pieces])),
        places_BN=torch.from_numpy(answers.all(places)).flatten(1),
        weights_BN=torch.from_numpy(answers.each([piece.weight for piece in pieces], dtype=np.float32)),
        segments_BL=None if segments_BL is None else torch.from_numpy(segments_BL),
        targets_BNC=torch.from_numpy(answers.all(targets, dtype=np.float32)) if targets else None,
        source=sources(rows, reading, num_rows) if reading.source else None,
    )
    if reading.again:
        batch = read_again(batch, reading.tokenizer.special.bos)
    return Packed(batch, example_BN, answer_BN)


def places_of(piece: Piece) -> np.ndarray:
    """Return the places that each answer of a piece is read off, int64 [N, P]."""
    return piece.places_N if piece.places_N.ndim == 2 else piece.places_N[:, None]


def _layout(document_BL: np.ndarray, given_BL: np.ndarray, reading: Reading) -> TokenLayout:
    """Return who sees whom in packed rows; `given_BL` says of each place how much of its piece is given."""
    position_BL = positions_of(document_BL)
    document, position = torch.from_numpy(document_BL), torch.from_numpy(position_BL)
    if reading.prefix:
        rank_BL = np.where(position_BL < given_BL, 0, position_BL)
        return TokenLayout.ranked(document, position, torch.from_numpy(rank_BL))
    one_way = reading.source or not reading.both_ways
    return TokenLayout.causal(document, position) if one_way else TokenLayout.bidirectional(document, position)


def sources(rows: Sequence[Sequence[Piece]], reading: Reading, num_rows: int) -> Batch:
    """Return what an encoder reads, the source of each piece under the piece's number in its row."""
    read = [_read(piece) for row in rows for piece in row]
    laid = Laid.side_by_side(list(map(len, rows)), list(map(len, read)), (num_rows, reading.row_length))
    tokens_BL = laid.all(read, unused=reading.tokenizer.special.pad)
    document_BL = laid.each(laid.number_U, unused=-1, dtype=np.int32)
    document, position = torch.from_numpy(document_BL), torch.from_numpy(positions_of(document_BL))
    return only_read(torch.from_numpy(tokens_BL), TokenLayout.bidirectional(document, position))


def source_length(piece: Piece) -> int:
    """Return how many tokens an encoder reads for a piece."""
    return len(_read(piece))


def _read(piece: Piece) -> np.ndarray:
    return np.zeros(0, dtype=np.int64) if piece.source_L is None else piece.source_L


def own_length(pieces: Sequence[Piece], reading: Reading) -> int:
    """Return how long rows of the pieces' own tokens are: beside sources, as many as go with a row of these.

    A decoder's rows are shorter than the encoder's where targets are shorter than sources, but each holds the longest.
    """
    if not reading.source:
        return reading.row_length
    longest = max((len(piece.tokens_L) for piece in pieces), default=1)
    own, sources = sum(len(piece.tokens_L) for piece in pieces), sum(map(source_length, pieces))
    return min(reading.row_length, max(longest, -(-reading.row_length * own // max(1, sources))))


def fit_rows(pieces: Sequence[Piece], reading: Reading, length: int) -> list[list[int]]:
    """Return the numbers of the pieces in each packed row; `length`: tokens of a row of their own."""
    if not reading.source:
        return first_fit([len(piece.tokens_L) for piece in pieces], length)
    return first_fit_both(
        [(len(piece.tokens_L), source_length(piece)) for piece in pieces], (length, reading.row_length)
    )


def row_capacity(pieces: Sequence[Piece], row_length: int) -> int:
    """Return how many answers a row of these pieces can hold at most, however they are packed."""
    densest = max((len(piece.places_N) / len(piece.tokens_L) for piece in pieces), default=0.0)
    return int(densest * row_length + 1e-9)


class PackedPieces:
    """Training examples as rows: each epoch's pieces in an order of its own, packed, the rows in an order of their own.

    Packing puts long pieces together in the first rows; the second order spreads them over the steps.

    Args:
        encoded: the training examples.
        key: of the epochs' orders.

    Raises:
        DataError: there is no answer to learn from.
    """

    def __init__(self, encoded: Encoded, key: Key) -> None:
        self._pieces = [piece for piece in encoded.pieces if len(piece.places_N)]
        if not self._pieces:
            raise DataError("the training examples hold no label to learn from.")
        self._reading = encoded.reading
        self._key, self._rows_key = key, key.child("rows")
        self._plan = lru_cache(maxsize=2)(self._make_plan)
        self._length = own_length(self._pieces, encoded.reading)
        self.capacity = row_capacity(self._pieces, self._length)

    @property
    def num_tokens(self) -> int:
        """Tokens of all pieces, those of sources included."""
        return sum(len(piece.tokens_L) + source_length(piece) for piece in self._pieces)

    @property
    def row_places(self) -> int:
        """Places of a row that are computed, those of its source included."""
        return self._length + (self._reading.row_length if self._reading.source else 0)

    def num_rows(self, epoch: int) -> int:
        """Return how many rows an epoch has."""
        return len(self._plan(epoch))

    def batch(self, epoch: int, first: int, stop: int, *, num_rows: int) -> Batch:
        """Return some rows of an epoch as a batch of static shape; behind its last row the epoch's first comes again.

        Args:
            epoch: counted from 0.
            first, stop: the rows, at least one.
            num_rows: B; rows that are not used are empty.
        """
        plan = self._plan(epoch)
        chosen = [[self._pieces[number] for number in plan[row % len(plan)]] for row in range(first, stop)]
        return pack(chosen, self._reading, num_rows=num_rows, capacity=self.capacity, length=self._length).batch

    def _make_plan(self, epoch: int) -> list[list[int]]:
        order = document_order(len(self._pieces), self._key, epoch)
        rows = fit_rows([self._pieces[number] for number in order], self._reading, self._length)
        return [[int(order[place]) for place in rows[row]] for row in document_order(len(rows), self._rows_key, epoch)]


class TrainingRows:
    """The batch of any step, directly: each epoch's rows (see `PackedPieces`) spread evenly over its steps.

    Args:
        encoded: the training examples.
        rows: rows a step at most; as many are used as the evenly spread epochs need.
        accumulation: the rows of a step are a multiple of this.
        epochs: passes over the examples.
        key: of the epochs' orders.

    Raises:
        DataError: there is no answer to learn from.
    """

    def __init__(self, encoded: Encoded, *, rows: int, accumulation: int, epochs: int, key: Key) -> None:
        self._packed = PackedPieces(encoded, key)
        rows_E = np.array([self._packed.num_rows(epoch) for epoch in range(epochs)])
        steps_E = -(-rows_E // rows)
        self.epochs = EpochSteps.counted(steps_E)
        needed = int((-(-rows_E // steps_E)).max())
        self.rows = -(-needed // accumulation) * accumulation
        self.capacity = self._packed.capacity

    @property
    def share_of_real_tokens(self) -> float:
        """Tokens there are over places that are computed, over all epochs."""
        tokens = self._packed.num_tokens * len(self.epochs.ends)
        return tokens / (self.epochs.total * self.rows * self._packed.row_places)

    def batch(self, step: int) -> Batch:
        """Return the whole batch of one step, counted from 0."""
        place = self.epochs.place(step)
        first, stop = place.part(self._packed.num_rows(place.epoch))
        return self._packed.batch(place.epoch, first, stop, num_rows=self.rows)
