"""Windows, packing and the order of training."""

import time
import tracemalloc

import numpy as np
import pytest
import torch
from task_support import WRITER, classify_examples, label_examples, reading, start, tokenizer

from trivium.core.errors import DataError
from trivium.core.random import Key
from trivium.data.labelled import UNSCORED, LabelExample
from trivium.tasks.build import learned_task
from trivium.tasks.pieces import (
    Encoded,
    Piece,
    TrainingRows,
    best_windows,
    by_examples,
    pack,
    row_capacity,
    window_starts,
)


def test_windows_show_all_of_a_text_with_the_overlap_and_no_more_of_them_than_needed() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        size = int(rng.integers(2, 40))
        length, overlap = int(rng.integers(0, 200)), int(rng.integers(0, size))
        starts = window_starts(length, size, overlap=overlap)
        assert starts[0] == 0
        if length <= size:
            assert len(starts) == 1
            continue
        assert starts[-1] + size == length
        assert np.diff(starts).max() <= size - overlap
        assert np.diff(starts).min() >= 1
        assert (len(starts) - 1) * (size - overlap) + overlap < length  # one window fewer could not


@pytest.mark.parametrize("both_ways", [True, False])
def test_the_best_window_shows_most_context(both_ways: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        size = int(rng.integers(2, 30))
        length = int(rng.integers(1, 150))
        starts = window_starts(length, size, overlap=int(rng.integers(0, size)))
        tokens = np.sort(rng.integers(0, length, 10))
        chosen = best_windows(tokens, tokens, starts, size=size, both_ways=both_ways)
        for token, window in zip(tokens, chosen, strict=True):
            best = max(_context(token, start, size, length, both_ways) for start in starts)
            assert best >= 0
            assert _context(token, starts[window], size, length, both_ways) == best


def _context(token: int, start: int, size: int, length: int, both_ways: bool) -> float:
    if not start <= token < start + size:
        return -1
    left = length if start == 0 else token - start
    right = length if start + size >= length else start + size - 1 - token
    return min(left, right) if both_ways else left


@pytest.mark.parametrize("both_ways", [True, False])
def test_the_window_of_a_span_is_the_one_that_shows_most_around_it(both_ways: bool) -> None:
    rng, held = np.random.default_rng(3), 0
    for _ in range(300):
        size, length = int(rng.integers(2, 30)), int(rng.integers(1, 150))
        starts = window_starts(length, size, overlap=int(rng.integers(0, size)))
        first = rng.integers(0, length, (10, 1))
        last = np.minimum(first + np.arange(int(rng.integers(1, 12))), length - 1)
        chosen = best_windows(first, last, starts, size=size, both_ways=both_ways)
        for (row, column), window in np.ndenumerate(chosen):
            a, b = int(first[row, 0]), int(last[row, column])
            worth = [min(a - s, s + size - 1 - b) if both_ways else a - s for s in starts]
            fits = [number for number, s in enumerate(starts) if s <= a and b < s + size]
            assert window == max(fits, key=lambda number: (worth[number], -number), default=-1)
            held += window >= 0
    assert held > 5000


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_memory_for_a_long_document_grows_with_its_words_alone(family: str) -> None:
    task = learned_task("label", label_examples(20, seed=3))
    words = ("ba", "ke") * 50_000
    long, read = LabelExample(words, ("",) * len(words)), reading(family, 128)
    tracemalloc.start()
    encoded = task.encode([long], read, known=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(len(piece.answers_N) for piece in encoded.pieces) == len(words)
    assert len(encoded.pieces) > 1000
    assert peak < 1000 * len(words)  # words by windows would be 80 times that


def _shown(owners: list[int], examples: int) -> Encoded:
    """Return pieces of these examples, in order, that show nothing."""
    zeros = np.zeros(0, dtype=np.int64)
    pieces = [Piece(zeros, zeros, zeros, zeros, owner, 1.0) for owner in owners]
    return Encoded(pieces, [zeros] * examples, reading())


@pytest.mark.parametrize("seed", range(10))
def test_examples_come_in_chunks_with_all_their_pieces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    examples, together = int(rng.integers(0, 40)), int(rng.integers(1, 12))
    windows = rng.integers(0, 4, examples)  # of some examples nothing is shown
    encoded = _shown(np.repeat(np.arange(examples), windows).tolist(), examples)
    chunks = list(by_examples(encoded, together))
    assert [number for chunk in chunks for number in range(chunk.first, chunk.stop)] == list(range(examples))
    for first, stop, pieces in chunks:
        assert stop - first <= together
        assert [id(piece) for piece in pieces] == [id(p) for p in encoded.pieces if first <= p.example < stop]


@pytest.mark.parametrize("seed", range(10))
def test_chunks_have_as_many_answers_as_may_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    most, sizes = int(rng.integers(1, 20)), rng.integers(0, 12, 60)
    encoded = _shown([], 0)._replace(gold=[np.zeros(size, dtype=np.int64) for size in sizes])
    edges = [(chunk.first, chunk.stop) for chunk in by_examples(encoded, 9, most_answers=most)]
    assert [number for first, stop in edges for number in range(first, stop)] == list(range(60))
    for first, stop in edges:
        assert stop - first == 1 or sizes[first:stop].sum() <= most
        # One more would be too many examples, or too many answers.
        assert stop == 60 or stop - first == 9 or sizes[first : stop + 1].sum() > most


def test_chunks_of_very_many_pieces_are_found_at_once() -> None:
    encoded = _shown(list(range(100_000)), 100_000)
    began = time.process_time()
    assert sum(len(chunk.pieces) for chunk in by_examples(encoded, 16)) == 100_000
    assert time.process_time() - began < 3  # to look through a list of all pieces for each chunk takes 13 s


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("row_length", [8, 16, 64])
def test_every_word_is_answered_exactly_once_however_long_its_example(family: str, row_length: int) -> None:
    examples = label_examples(60, seed=2, lengths=(1, 90))
    task = learned_task("label", examples)
    encoded = task.encode(examples, reading(family, row_length))
    seen = [(piece.example, int(answer)) for piece in encoded.pieces for answer in piece.answers_N]
    wanted = [(n, a) for n, e in enumerate(examples) for a in range(sum(label != UNSCORED for label in e.labels))]
    assert sorted(seen) == wanted
    assert encoded.num_answers == len(wanted) > 500
    for piece in encoded.pieces:
        example = examples[piece.example]
        scored = [pair for pair in zip(example.tokens, example.labels, strict=True) if pair[1] != UNSCORED]
        assert len(piece.tokens_L) <= row_length
        for place, number, answer in zip(piece.places_N, piece.classes_N, piece.answers_N, strict=True):
            word, label = scored[answer]
            assert task.labels[number] == label == task.labels[encoded.gold[piece.example][answer]]
            token = tokenizer().decode([piece.tokens_L[place]]).strip()
            assert token and (word.startswith(token) if family == "encoder" else word.endswith(token))


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_a_word_far_from_the_ends_of_its_text_sees_a_quarter_of_a_row_at_least(family: str) -> None:
    examples = label_examples(20, seed=8, lengths=(60, 120))
    encoded = learned_task("label", examples).encode(examples, reading(family, 34))
    least = []
    for piece in encoded.pieces:
        [whole] = tokenizer().encode_batch([" ".join(examples[piece.example].tokens)])
        inner = piece.tokens_L[1:-1]
        begins = not np.array_equal(inner, whole.ids[: len(inner)])
        ends = not np.array_equal(inner, whole.ids[len(whole.ids) - len(inner) :])
        least += [int(place) - 1 for place in piece.places_N if begins]
        least += [len(inner) - int(place) for place in piece.places_N if ends and family == "encoder"]
    assert len(least) > 300 and min(least) >= 32 // 4 - 1


@pytest.mark.parametrize("pairs", [False, True])
def test_windows_of_a_text_show_all_its_tokens_and_weigh_one_together(pairs: bool) -> None:
    examples = classify_examples(60, seed=3, lengths=(1, 60), pairs=pairs)
    encoded = learned_task("classify", examples).encode(examples, reading(row_length=32))
    special = tokenizer().special
    assert max(np.bincount([piece.example for piece in encoded.pieces])) > 2
    for number, example in enumerate(examples):
        mine = [piece for piece in encoded.pieces if piece.example == number]
        assert sum(piece.weight for piece in mine) == pytest.approx(1.0)
        shown: list[set[int]] = [set(), set()]
        for piece in mine:
            tokens = list(piece.tokens_L)
            assert len(tokens) <= 32 and tokens[0] == special.bos and tokens[-1] == special.eos
            cut = tokens.index(special.sep) if pairs else len(tokens) - 1
            shown[0] |= set(tokens[1:cut])
            shown[1] |= set(tokens[cut + 1 : -1])
        assert shown[0] == set(tokenizer().encode(example.text))
        assert shown[1] == set(tokenizer().encode(example.text_pair or ""))


def test_packed_rows_have_a_static_shape_and_nothing_in_what_they_do_not_use() -> None:
    encoded = _encoded(10)
    batch, example_BN, answer_BN = pack(
        [encoded.pieces[:2], encoded.pieces[2:3]], encoded.reading, num_rows=4, capacity=40
    )
    assert batch.tokens_BL.shape == (4, 64) and batch.labels_BN.shape == (4, 40) == answer_BN.shape
    used = int(sum(len(piece.tokens_L) for piece in encoded.pieces[:3]))
    assert batch.num_tokens == used
    assert (batch.tokens_BL[batch.layout.document_BL < 0] == tokenizer().special.pad).all()
    assert ((batch.weights_BN > 0).numpy() == (example_BN >= 0)).all()
    assert float(batch.weights_BN.sum()) == sum(len(piece.places_N) for piece in encoded.pieces[:3])
    assert torch.equal(
        batch.layout.position_BL[0, : len(encoded.pieces[0].tokens_L)].diff().unique(), torch.tensor([1])
    )


def test_a_decoder_reads_each_text_one_place_late_after_an_encoder_has_read_it() -> None:
    encoded = _encoded(10)
    rows = [encoded.pieces[:2], encoded.pieces[2:3]]
    again = start("encoder_decoder").reading(WRITER)
    plain = pack(rows, start("encoder_decoder").reading(), num_rows=3, capacity=40).batch
    batch = pack(rows, again, num_rows=3, capacity=40).batch
    assert plain.source is None and batch.source is not None
    assert torch.equal(batch.source.tokens_BL, plain.tokens_BL) and batch.source.layout.kind == "all"
    assert torch.equal(batch.source.layout.document_BL, plain.layout.document_BL)
    for name in ("labels_BN", "places_BN", "weights_BN"):
        assert torch.equal(getattr(batch, name), getattr(plain, name))
    assert batch.layout.kind == "past" and torch.equal(batch.layout.rank_BL, plain.layout.position_BL)
    assert torch.equal(batch.layout.document_BL, plain.layout.document_BL)
    compared = 0
    for b, row in enumerate(rows):
        for number, piece in enumerate(row):
            late_L = batch.tokens_BL[b][batch.layout.document_BL[b] == number].tolist()
            assert late_L == [tokenizer().special.bos, *piece.tokens_L[:-1]]
            compared += 1
    assert compared == 3
    assert (batch.tokens_BL[batch.layout.document_BL < 0] == tokenizer().special.pad).all()


@pytest.mark.parametrize(("rows", "accumulation"), [(1, 1), (3, 1), (8, 4)])
def test_every_epoch_has_every_piece_once_in_its_own_order(rows: int, accumulation: int) -> None:
    encoded = _encoded(50)
    plan = TrainingRows(encoded, rows=rows, accumulation=accumulation, epochs=3, key=Key(4))
    assert plan.rows <= rows and plan.rows % accumulation == 0
    tokens = sorted(tuple(piece.tokens_L) for piece in encoded.pieces)
    orders = []
    for begin, end in zip([0, *plan.epochs.ends], plan.epochs.ends, strict=False):
        seen = []
        for step in range(begin, end):
            batch = plan.batch(step)
            assert batch.tokens_BL.shape == (plan.rows, 64) and batch.labels_BN.shape == (plan.rows, plan.capacity)
            assert float(batch.weights_BN.sum()) > 0
            for row, document_L in zip(batch.tokens_BL, batch.layout.document_BL, strict=True):
                seen += [tuple(row[document_L == n].tolist()) for n in range(int(document_L.max()) + 1)]
        assert sorted(seen) == tokens
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]
    assert 0.5 < plan.share_of_real_tokens <= 1.0


def test_the_longest_texts_are_spread_over_the_steps_of_an_epoch() -> None:
    plan = TrainingRows(_encoded(400), rows=4, accumulation=1, epochs=1, key=Key(4))
    longest = []
    for step in range(plan.epochs.total):
        layout = plan.batch(step).layout
        longest += [int(position_L.max()) for position_L in layout.position_BL[(layout.document_BL >= 0).any(dim=1)]]
    half = len(longest) // 2
    assert half > 40
    assert sum(longest[:half]) / half == pytest.approx(sum(longest[half:]) / (len(longest) - half), rel=0.15)
    assert longest != sorted(longest, reverse=True)


def test_a_step_is_a_function_of_its_number_and_the_key() -> None:
    encoded = _encoded(50)
    one, other, third = (TrainingRows(encoded, rows=4, accumulation=1, epochs=3, key=Key(seed)) for seed in (4, 4, 5))
    steps = list(range(one.epochs.total))
    forward = [one.batch(step).tokens_BL for step in steps]
    backward = [other.batch(step).tokens_BL for step in reversed(steps)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not torch.equal(forward[0], third.batch(0).tokens_BL)


def test_steps_of_an_epoch_are_of_nearly_equal_size() -> None:
    plan = TrainingRows(_encoded(80), rows=8, accumulation=1, epochs=1, key=Key(0))
    sizes = [int((plan.batch(step).layout.document_BL[:, 0] >= 0).sum()) for step in range(plan.epochs.total)]
    assert len(sizes) > 1 and max(sizes) - min(sizes) <= 1 and max(sizes) == plan.rows


def test_capacity_is_enough_however_rows_are_filled() -> None:
    rng = np.random.default_rng(5)
    encoded = _encoded(40)
    capacity = row_capacity(encoded.pieces, 64)
    for _ in range(50):
        row, left = [], 64
        for number in rng.permutation(len(encoded.pieces)):
            if len(encoded.pieces[number].tokens_L) <= left:
                row.append(encoded.pieces[number])
                left -= len(row[-1].tokens_L)
        assert sum(len(piece.places_N) for piece in row) <= capacity
    assert capacity < 64


def test_examples_without_a_label_cannot_be_learned_from() -> None:
    task = learned_task("label", label_examples(5, seed=6))
    nothing = task.encode([LabelExample(("ba", "ke"), (UNSCORED, UNSCORED))], reading())
    with pytest.raises(DataError, match="no label to learn from"):
        TrainingRows(nothing, rows=4, accumulation=1, epochs=1, key=Key(0))


def _encoded(count: int) -> Encoded:
    examples = label_examples(count, seed=7)
    return learned_task("label", examples).encode(examples, reading())
