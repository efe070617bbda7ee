"""Rows cover an epoch's tokens once, in an order that any reader computes; examples are packed whole."""

import numpy as np
import pytest

from support import SPECIAL, MadeUpSplit, made_up_text, numbered_split
from trivium.core.batch import Rows
from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.order import document_order
from trivium.data.packing import RowReader, first_fit, first_fit_both


def reader_of(split: MadeUpSplit, row_length: int, *, seed: int | None = 0) -> RowReader:
    return RowReader(split, row_length=row_length, key=None if seed is None else Key(seed), pad=-7)


def random_case(seed: int) -> tuple[MadeUpSplit, RowReader]:
    """Documents of length 1 to 3, of ordinary length, and longer than a row, in any order."""
    rng = np.random.default_rng(seed)
    row_length = int(rng.integers(1, 50))
    kinds = (rng.integers(1, 4, 20), rng.integers(1, 60, 10), rng.integers(row_length, 4 * row_length + 2, 3))
    lengths = rng.permutation(np.concatenate(kinds)).tolist()
    split = numbered_split(lengths)
    return split, reader_of(split, row_length, seed=seed)


def same(first: Rows, second: Rows) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_an_epoch_has_every_token_once_in_the_order_of_its_documents() -> None:
    for seed in range(60):
        split, reader = random_case(seed)
        rows = reader.rows(0, reader.rows_per_epoch)
        order = document_order(split.num_documents, Key(seed), 0)
        text = np.concatenate([split.texts[number] for number in order])
        used = rows.document_BL >= 0
        # Each row reads the first token of the next one too, as a label.
        own = rows.tokens_BL[:, :-1][used[:, :-1]].tolist()
        labels = rows.tokens_BL[:, 1:][used[:, 1:]].tolist()
        assert own == text[: len(own)].tolist()
        assert labels == text[1:].tolist()
        # The epoch's last token is a label only where the text fills its rows exactly.
        assert len(own) == len(text) - ((len(text) - 1) % reader.row_length == 0)


def test_unused_places_come_last_and_hold_pad() -> None:
    for seed in range(60):
        _, reader = random_case(seed)
        rows = reader.rows(0, reader.rows_per_epoch)
        unused = rows.document_BL < 0
        assert (rows.tokens_BL[unused] == -7).all()
        assert not (rows.tokens_BL[~unused] == -7).any()
        assert not rows.word_start_BL[unused].any() and not rows.sentence_start_BL[unused].any()
        assert not unused[:-1].any()
        assert (np.diff(unused[-1].astype(int)) >= 0).all()


def test_documents_are_numbered_from_0_in_each_row_and_are_one_text_each() -> None:
    pieces = 0
    for seed in range(60):
        split, reader = random_case(seed)
        whose = np.repeat(np.arange(split.num_documents), split.lengths_S)
        rows = reader.rows(0, reader.rows_per_epoch)
        for tokens, document in zip(rows.tokens_BL, rows.document_BL, strict=True):
            assert document[0] == 0
            assert set(np.diff(document[document >= 0]).tolist()) <= {0, 1}
            for number in range(document.max() + 1):
                piece = tokens[document == number]
                assert len(set(whose[piece].tolist())) == 1
                assert (np.diff(piece) == 1).all()
                pieces += 1
    assert pieces > 1000


def test_bits_travel_with_their_tokens() -> None:
    split, reader = random_case(3)
    rows = reader.rows(0, reader.rows_per_epoch)
    begins = np.cumsum(split.lengths_S) - split.lengths_S
    used = rows.document_BL >= 0
    whose = np.repeat(np.arange(split.num_documents), split.lengths_S)
    place = rows.tokens_BL[used] - begins[whose[rows.tokens_BL[used]]]
    assert rows.word_start_BL[used].all()
    assert np.array_equal(rows.sentence_start_BL[used], place % 3 == 0)


def test_any_row_is_had_directly() -> None:
    for seed in range(20):
        _, reader = random_case(seed)
        number = 3 * reader.rows_per_epoch
        together = reader.rows(0, number)
        fresh = random_case(seed)[1]
        for row in np.random.default_rng(seed).permutation(number)[:20].tolist():
            single = fresh.rows(row, row + 1)
            assert same(single, Rows(*(field[row : row + 1] for field in together)))


def test_rows_are_counted_on_from_epoch_to_epoch() -> None:
    _, reader = random_case(1)
    count = reader.rows_per_epoch
    rows = reader.rows(count - 1, 2 * count + 1)
    assert rows.epoch_B.tolist() == [0, *[1] * count, 2]
    assert rows.row_B.tolist() == [count - 1, *range(count), 0]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [document_order(200, Key(seed), epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert all(sorted(order) == list(range(200)) for order in orders)
    assert document_order(200, Key(1), 2).tolist() == document_order(200, Key(1), 2).tolist()


def test_the_last_document_is_as_likely_first_as_any() -> None:
    first = np.array([document_order(5, Key(seed), 0)[0] for seed in range(3000)])
    counts = np.bincount(first, minlength=5)
    assert np.abs(counts - 600).max() < 4.5 * np.sqrt(600 * 0.8)


def test_without_a_key_documents_come_as_stored() -> None:
    split = numbered_split([4, 1, 30, 2])
    rows = reader_of(split, 7, seed=None).rows(0, 6)
    assert rows.tokens_BL[:, :-1].reshape(-1)[:37].tolist() == list(range(37))


def test_a_document_of_no_tokens_is_passed_over() -> None:
    split = MadeUpSplit("gaps", (np.arange(3), np.arange(0), np.arange(3, 5), np.arange(0)))
    rows = reader_of(split, 10, seed=None).rows(0, 1)
    assert rows.document_BL[0].tolist() == [0, 0, 0, 1, 1] + [-1] * 6


@pytest.mark.parametrize("lengths", [[], [1]])
def test_a_split_with_nothing_to_predict_is_refused(lengths: list[int]) -> None:
    with pytest.raises(DataError, match="at least 2"):
        reader_of(MadeUpSplit("short", tuple(np.arange(length) for length in lengths)), 8)


def test_two_tokens_are_enough() -> None:
    rows = reader_of(numbered_split([2]), 8).rows(0, 3)
    assert rows.tokens_BL[:, :2].tolist() == [[0, 1]] * 3
    assert rows.epoch_B.tolist() == [0, 1, 2]


def test_narrow_token_types_are_read_as_they_are() -> None:
    wide = made_up_text(20)
    narrow = MadeUpSplit("narrow", tuple(text.astype(np.uint16) for text in wide.texts))
    assert same(reader_of(wide, 16).rows(0, 20), reader_of(narrow, 16).rows(0, 20))
    assert SPECIAL.pad == 0


def test_first_fit_keeps_every_example_once_and_never_overflows() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        row_length = int(rng.integers(1, 100))
        lengths = rng.integers(1, row_length + 1, 300).tolist()
        rows = first_fit(lengths, row_length, together=int(rng.integers(1, 80)))
        assert sorted(number for row in rows for number in row) == list(range(300))
        assert max(sum(lengths[number] for number in row) for row in rows) <= row_length


def test_first_fit_puts_an_example_into_the_first_row_with_room() -> None:
    assert first_fit([6, 5, 4, 5, 1], 10) == [[0, 2], [1, 3], [4]]


def test_only_examples_that_are_packed_together_share_a_row() -> None:
    assert first_fit([6, 9, 7, 1, 4], 10, together=2) == [[1], [0], [2, 3], [4]]
    assert first_fit([6, 9, 7, 1, 4], 10) == [[1, 3], [2], [0, 4]]


def test_first_fit_wastes_little() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 2000).tolist()
    rows = first_fit(lengths, 128)
    assert sum(lengths) / (128 * len(rows)) > 0.985


def test_first_fit_of_nothing_is_nothing() -> None:
    assert first_fit([], 10) == []


def test_first_fit_refuses_what_is_longer_than_a_row() -> None:
    with pytest.raises(DataError, match=r"11 tokens .* 10"):
        first_fit([3, 11], 10)


def test_both_parts_of_an_example_go_to_the_same_pair_of_rows_and_fit() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        rooms = (int(rng.integers(1, 100)), int(rng.integers(1, 30)))
        lengths = [(int(rng.integers(0, rooms[0] + 1)), int(rng.integers(0, rooms[1] + 1))) for _ in range(200)]
        rows = first_fit_both(lengths, rooms, together=int(rng.integers(1, 80)))
        assert sorted(number for row in rows for number in row) == list(range(200))
        for part, room in enumerate(rooms):
            assert max(sum(lengths[number][part] for number in row) for row in rows) <= room
    assert first_fit_both([(6, 1), (4, 9), (4, 1), (1, 8)], (10, 9)) == [[1], [3, 0], [2]]


def test_a_part_that_is_longer_than_its_row_is_refused() -> None:
    for lengths, words in (((11, 1), r"11 tokens .* 10"), ((1, 6), r"6 tokens .* 5")):
        with pytest.raises(DataError, match=words):
            first_fit_both([(3, 3), lengths], (10, 5))
