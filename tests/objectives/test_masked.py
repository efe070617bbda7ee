"""The masked objective: how much is hidden, what becomes of it, and that a row alone decides."""

import itertools

import numpy as np
import pytest
import torch

from support import FIRST_WORD, NUM_WORDS, SPECIAL, VOCABULARY, VOCABULARY_SIZE, made_up_text, random_rows, shrink
from trivium.core.batch import Batch, Rows
from trivium.core.ramp import Ramp
from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.model.build import build_network
from trivium.model.config import Encoder, EncoderDecoder
from trivium.model.folder import load_matching, unique_tensors
from trivium.model.initialise import initialise
from trivium.model.presets import preset
from trivium.objectives.build import build_objective
from trivium.objectives.hiding import GeometricSpans
from trivium.objectives.masked import Masked, MaskedConfig

LENGTH = 128


def objective(config: MaskedConfig | None = None) -> Masked:
    return Masked(config or MaskedConfig(), SPECIAL, VOCABULARY_SIZE)


def many_rows(number: int = 400) -> Rows:
    return random_rows([[LENGTH + 1]] * number, LENGTH)


def chosen(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(row, place) of every hidden token."""
    row_K, slot_K = np.nonzero(batch.weights_BN.numpy())
    return row_K, batch.places_BN.numpy()[row_K, slot_K]


def test_special_tokens_are_never_hidden() -> None:
    rows = random_rows([[30, 40, 59]] * 50, LENGTH)
    rng = np.random.default_rng(0)
    special = np.array(sorted(SPECIAL.all()))
    rows.tokens_BL[:, ::3] = rng.choice(special, rows.tokens_BL[:, ::3].shape)
    batch = objective().make(rows, Key(0))
    row_K, place_K = chosen(batch)
    assert len(row_K) == 50 * round(0.15 * LENGTH)
    assert not np.isin(rows.tokens_BL[row_K, place_K], special).any()
    assert not set(batch.labels_BN[batch.weights_BN > 0].tolist()) & SPECIAL.all()


def test_unused_places_are_never_hidden() -> None:
    rows = random_rows([[40], [7], [3], [1]], LENGTH)
    batch = objective(MaskedConfig(rate=0.5)).make(rows, Key(0))
    row_K, place_K = chosen(batch)
    assert len(row_K) > 20
    assert (rows.document_BL[row_K, place_K] >= 0).all()


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.15, 0.4])
def test_the_rate_of_a_full_row_is_hidden_and_a_short_one_in_proportion(rate: float) -> None:
    rows = random_rows([[LENGTH + 1], [60], [20], [4], []], LENGTH)
    batch = objective(MaskedConfig(rate=rate)).make(rows, Key(0))
    full = max(1, round(rate * LENGTH))
    assert batch.places_BN.shape == (5, full)
    assert batch.weights_BN.sum(1).tolist() == [round(full * length / LENGTH) for length in (LENGTH, 60, 20, 4, 0)]


def test_a_row_with_too_few_words_hides_those_it_has() -> None:
    rows = random_rows([[LENGTH + 1]], LENGTH)
    rows.tokens_BL[0, 5:] = SPECIAL.sep
    batch = objective().make(rows, Key(0))
    assert sorted(batch.places_BN[batch.weights_BN > 0].tolist()) == [0, 1, 2, 3, 4]


def test_no_place_is_hidden_twice() -> None:
    row_K, place_K = chosen(objective().make(many_rows(), Key(0)))
    assert len(set(zip(row_K.tolist(), place_K.tolist(), strict=True))) == len(row_K) > 5000


def test_labels_are_the_tokens_that_were_there_and_the_others_stay() -> None:
    rows = many_rows()
    before = rows.tokens_BL.copy()
    batch = objective().make(rows, Key(0))
    assert np.array_equal(rows.tokens_BL, before)  # `make` leaves the rows as they are
    row_K, place_K = chosen(batch)
    assert np.array_equal(batch.labels_BN[batch.weights_BN > 0].numpy(), before[row_K, place_K])
    restored = batch.tokens_BL.numpy().copy()
    assert not np.array_equal(restored, before[:, :-1])
    restored[row_K, place_K] = before[row_K, place_K]
    assert np.array_equal(restored, before[:, :-1])


def test_eighty_ten_ten() -> None:
    rows = many_rows()
    batch = objective().make(rows, Key(0))
    row_K, place_K = chosen(batch)
    was, now = rows.tokens_BL[row_K, place_K], batch.tokens_BL.numpy()[row_K, place_K]
    # A random token may be the one that was there.
    random = 0.1 * (1 - 1 / NUM_WORDS)
    for share, expected in (
        ((now == SPECIAL.mask).mean(), 0.8),
        (((now != SPECIAL.mask) & (now != was)).mean(), random),
        ((now == was).mean(), 0.2 - random),
    ):
        assert len(now) > 7000
        assert share == pytest.approx(expected, abs=4.5 * np.sqrt(expected * (1 - expected) / len(now)))


def test_random_tokens_are_any_word_and_no_special_token() -> None:
    rows = many_rows()
    batch = objective(MaskedConfig(mask_share=0.0, random_share=1.0)).make(rows, Key(0))
    row_K, place_K = chosen(batch)
    now = batch.tokens_BL.numpy()[row_K, place_K]
    counts = np.bincount(now - FIRST_WORD, minlength=NUM_WORDS)
    assert len(counts) == NUM_WORDS
    expected = len(now) / NUM_WORDS
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)


def test_every_place_is_hidden_equally_often() -> None:
    _, place_K = chosen(objective().make(many_rows(1000), Key(0)))
    counts = np.bincount(place_K, minlength=LENGTH)
    expected = len(place_K) / LENGTH
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)


def test_a_row_is_hidden_alike_whatever_rows_are_with_it() -> None:
    reader = RowReader(made_up_text(60), row_length=64, key=Key(0), pad=SPECIAL.pad)
    number = reader.rows_per_epoch + 5
    together = objective().make(reader.rows(0, number), Key(1))
    for row in range(number):
        single = objective().make(reader.rows(row, row + 1), Key(1))
        assert torch.equal(single.tokens_BL[0], together.tokens_BL[row])
        assert torch.equal(single.places_BN[0], together.places_BN[row])


def test_epochs_rows_and_keys_hide_differently() -> None:
    rows = random_rows([[LENGTH + 1]], LENGTH)
    first = objective().make(rows, Key(0)).places_BN
    others = (
        objective().make(rows._replace(epoch_B=rows.epoch_B + 1), Key(0)),
        objective().make(rows._replace(row_B=rows.row_B + 1), Key(0)),
        objective().make(rows, Key(1)),
        objective().make(rows, Key(0).child("make")),
    )
    for other in others:
        assert not torch.equal(first, other.places_BN)


def test_every_token_sees_its_whole_document() -> None:
    batch = objective().make(random_rows([[30, 40, 59]], LENGTH), Key(0))
    assert batch.layout.kind == "all"
    assert not batch.layout.rank_BL.any()
    assert batch.layout.position_BL[0, [0, 29, 30, 69, 70]].tolist() == [0, 29, 0, 39, 0]


def test_shares_over_one_are_refused() -> None:
    with pytest.raises(ValueError, match="must not exceed 1 together"):
        MaskedConfig(mask_share=0.9, random_share=0.2)
    MaskedConfig(mask_share=0.9, random_share=0.1)


def test_of_an_encoder_decoder_the_encoder_learns_as_if_it_were_alone() -> None:
    config = shrink(preset("seq2seq-tiny"))
    assert isinstance(config.family, EncoderDecoder)
    learned = build_objective(MaskedConfig(), VOCABULARY._replace(two_stacks=True))
    both = learned.network(config)
    initialise(both, config, Key(1))
    alone = build_network(config.model_copy(update={"family": Encoder(stack=config.family.encoder)}))
    named = {name.replace("encoder.", "stack.", 1): tensor for name, tensor in unique_tensors(both).items()}
    assert load_matching(alone, named) == []
    batch = learned.make(many_rows(4), Key(0))
    (term,), (expected,) = learned.loss(both, batch, Key(0)), objective().loss(alone, batch, Key(0))
    assert torch.equal(term.sum, expected.sum)
    term.sum.backward()
    taught = {name.partition(".")[0] for name, tensor in both.named_parameters() if tensor.grad is not None}
    assert taught == {"encoder"}
    # Nobody asks an encoder-decoder's encoder for tokens.
    assert objective().speaks and not learned.speaks


def test_the_rate_follows_its_ramp_and_the_shape_does_not() -> None:
    learned = objective(MaskedConfig(rate=Ramp(start=0.4, stop=0.1, until=0.5)))
    for done, rate in ((0.0, 0.4), (0.25, 0.25), (0.5, 0.1), (1.0, 0.1)):
        batch = learned.make(many_rows(3), Key(0), done)
        assert batch.weights_BN.sum(1).tolist() == [round(rate * LENGTH)] * 3
        assert batch.places_BN.shape == (3, round(0.4 * LENGTH))


@pytest.mark.parametrize("rate", [0.0, 1.0, Ramp(start=0.5, stop=0.0)])
def test_a_rate_outside_of_0_and_1_is_refused(rate: float | Ramp) -> None:
    with pytest.raises(ValueError, match="must be more than 0 and less than 1"):
        MaskedConfig(rate=rate)


def test_masked_next_tokens_are_predicted_from_the_place_before_in_the_same_document() -> None:
    rows = random_rows([[30, 1, 40, 58]] * 40, LENGTH)
    batch = objective(MaskedConfig(predicted_from="before", mask_share=1.0, random_share=0.0)).make(rows, Key(0))
    row_K, place_K = chosen(batch)
    assert len(row_K) == 40 * round(0.15 * LENGTH)
    assert np.array_equal(batch.labels_BN[batch.weights_BN > 0].numpy(), rows.tokens_BL[row_K, place_K + 1])
    assert (batch.tokens_BL.numpy()[row_K, place_K + 1] == SPECIAL.mask).all()
    assert (rows.document_BL[row_K, place_K] == rows.document_BL[row_K, place_K + 1]).all()
    assert int((batch.tokens_BL == SPECIAL.mask).sum()) == len(row_K)


def test_a_span_becomes_one_of_the_three_as_a_whole() -> None:
    rows = many_rows(100)
    batch = objective(MaskedConfig(unit=GeometricSpans(stop=0.1), mask_share=0.5, random_share=0.0)).make(rows, Key(0))
    alike = 0
    for b in range(100):
        places = batch.places_BN[b][batch.weights_BN[b] > 0].tolist()
        hidden = batch.tokens_BL[b, places] == SPECIAL.mask
        for (place, one), (after, other) in itertools.pairwise(zip(places, hidden.tolist(), strict=True)):
            alike += (one == other) if after == place + 1 else 0
    neighbours = sum(
        after == place + 1
        for b in range(100)
        for place, after in itertools.pairwise(batch.places_BN[b][batch.weights_BN[b] > 0].tolist())
    )
    # Neighbours are of two spans now and then.
    assert neighbours > 500
    assert alike > 0.9 * neighbours


def test_with_rarity_every_kind_of_token_is_hidden_as_often_as_every_other() -> None:
    rng = np.random.default_rng(0)
    rows = many_rows(1500)
    kinds = FIRST_WORD + np.arange(3)
    rows.tokens_BL[:] = rng.choice(kinds, rows.tokens_BL.shape, p=[0.8, 0.16, 0.04])
    counts_V = np.bincount(rows.tokens_BL.ravel(), minlength=VOCABULARY_SIZE)
    for rarity, expected in ((0.0, [0.8, 0.16, 0.04]), (1.0, [1 / 3, 1 / 3, 1 / 3])):
        config = MaskedConfig(rarity=rarity, rate=0.01)
        batch = Masked(config, SPECIAL, VOCABULARY_SIZE, counts_V).make(rows, Key(0))
        labels = batch.labels_BN[batch.weights_BN > 0].numpy()
        shares = np.bincount(labels - FIRST_WORD, minlength=3) / len(labels)
        np.testing.assert_allclose(shares, expected, atol=0.06)
