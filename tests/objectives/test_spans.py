"""Span corruption: T5's counts, nothing across documents, and the text comes back from inputs and targets."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from support import FIRST_WORD, SPECIAL, VOCABULARY_SIZE, made_up_text, random_rows, shrink
from trivium.core.batch import Batch, Rows
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.model.presets import preset
from trivium.objectives.spans import SpanCounts, Spans, SpansConfig, mode_marks, noise_mask, share_out, span_counts

SENTINELS = set(SPECIAL.sentinels)


def published_counts(length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """Hidden tokens and spans, from the description of `random_spans_noise_mask`; T5 computes in float32."""
    length = max(length, 2)
    num_noise_tokens = int(np.round(np.float32(length) * np.float32(noise_density)))
    num_noise_tokens = min(max(num_noise_tokens, 1), length - 1)
    num_noise_spans = int(np.round(np.float32(num_noise_tokens) / np.float32(mean_noise_span_length)))
    return num_noise_tokens, max(num_noise_spans, 1)


def runs(mask: np.ndarray) -> list[tuple[bool, int]]:
    """(hidden, length) of each run."""
    edges = np.flatnonzero(np.diff(mask.astype(int))) + 1
    return [(bool(part[0]), len(part)) for part in np.split(mask, edges)]


def put_together(source: list[int], target: list[int]) -> list[int]:
    """The text of one document: each sentinel of the source gives way to what the target says of it."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token in SENTINELS:
            assert token not in spans
            spans[token] = []
            current = spans[token]
        else:
            current.append(token)
    assert list(spans) == [token for token in source if token in SENTINELS] == list(SPECIAL.sentinels[: len(spans)])
    return [piece for token in source for piece in (spans[token] if token in SENTINELS else [token])]


def random_lengths(seed: int, row_length: int, longest: int) -> list[int]:
    rng = np.random.default_rng(seed)
    lengths: list[int] = []
    while sum(lengths) < row_length + 1:
        lengths.append(int(rng.integers(1, longest + 1)))
    return lengths


def documents(batch: Batch, rows: Rows) -> Iterator[tuple[list[int], list[int], list[int], list[int]]]:
    """(text, source, decoder's inputs, target) of each document of a batch."""
    assert batch.source is not None
    for row in range(len(rows.tokens_BL)):
        for document in np.unique(rows.document_BL[row, :-1]):
            if document < 0:
                continue
            mine = batch.layout.document_BL[row] == int(document)
            read = batch.source.layout.document_BL[row] == int(document)
            yield (
                rows.tokens_BL[row, :-1][rows.document_BL[row, :-1] == document].tolist(),
                batch.source.tokens_BL[row][read].tolist(),
                batch.tokens_BL[row][mine].tolist(),
                batch.labels_BN[row][mine].tolist(),
            )


def test_counts_are_those_of_the_published_algorithm_for_random_lengths() -> None:
    rng = np.random.default_rng(0)
    checked = 0
    for length in rng.integers(2, 5000, 10_000).tolist():
        for rate, mean_length in ((0.15, 3.0), (0.5, 3.0), (0.3, 8.0)):
            assert span_counts(length, rate, mean_length) == published_counts(length, rate, mean_length)
            checked += 1
    assert checked == 30_000


def test_a_text_of_one_token_hides_nothing() -> None:
    assert span_counts(1, 0.15, 3.0) == (0, 0)
    assert not noise_mask(1, SpanCounts(0, 0), np.random.default_rng(0)).any()


def test_one_document_gets_the_published_counts() -> None:
    # 100 sentinels are enough for documents of 2,000 tokens; T5 itself is trained on 512.
    rng = np.random.default_rng(0)
    config, checked = SpansConfig(), 0
    for length in rng.integers(2, 2000, 1000).tolist():
        (counts,) = share_out(np.array([length]), config, 100, rng)
        assert counts == published_counts(length, 0.15, 3.0)
        checked += 1
    assert checked == 1000


def test_masks_hide_so_many_tokens_in_so_many_runs_and_begin_with_a_kept_one() -> None:
    rng = np.random.default_rng(1)
    for length in rng.integers(2, 600, 10_000).tolist():
        counts = span_counts(length, 0.15, 3.0)
        found = runs(noise_mask(length, counts, rng))
        assert [hidden for hidden, _ in found] == [False, True] * counts.spans
        assert sum(size for hidden, size in found if hidden) == counts.noise
        assert sum(size for _, size in found) == length


def test_all_masks_of_given_counts_are_equally_likely() -> None:
    rng = np.random.default_rng(2)
    # 5 hidden of 9 in 2 spans: 4 ways to cut the hidden tokens, 3 for the kept ones.
    drawn = [noise_mask(9, SpanCounts(5, 2), rng).tobytes() for _ in range(12_000)]
    _, counts = np.unique(drawn, return_counts=True)
    assert len(counts) == 12
    assert np.abs(counts - 1000).max() < 4.5 * np.sqrt(1000 * 11 / 12)


def test_span_lengths_follow_their_distribution() -> None:
    rng = np.random.default_rng(3)
    counts = span_counts(512, 0.15, 3.0)
    sizes = np.array([size for _ in range(2000) for hidden, size in runs(noise_mask(512, counts, rng)) if hidden])
    assert sizes.mean() == pytest.approx(counts.noise / counts.spans)
    # A composition of n into s parts: the first is of length k in C(n-k-1, s-2) of C(n-1, s-1) cases.
    probability = (counts.spans - 1) / (counts.noise - 1)
    expected = probability
    for size in range(1, 6):
        share = float((sizes == size).mean())
        assert share == pytest.approx(expected, abs=4.5 * np.sqrt(expected / len(sizes)))
        expected *= (counts.noise - counts.spans - size + 1) / (counts.noise - 1 - size)
    assert sizes.max() > 8


@pytest.mark.parametrize("longest", [4, 12, 60, 300])
@pytest.mark.parametrize("config", [SpansConfig(), SpansConfig(rate=0.5, mean_length=2.0)])
def test_inputs_and_targets_put_together_give_the_text_back(longest: int, config: SpansConfig) -> None:
    rows = random_rows([random_lengths(seed, 128, longest) for seed in range(40)], 128, seed=longest)
    batch = Spans(config, SPECIAL).make(rows, Key(3))
    whole = cut = 0
    for text, source, inputs, target in documents(batch, rows):
        if target:
            assert put_together(source, target) == text
            assert inputs == [SPECIAL.bos, *target[:-1]]
            whole += 1
        else:
            # Read only: all of it, or what fitted where the row's documents were too short for their share.
            assert source == text[: len(source)]
            cut += len(source) < len(text)
    assert whole > 40
    assert longest <= 12 or not cut


@pytest.mark.parametrize("longest", [1, 2, 3, 5, 40])
def test_the_decoder_is_asked_for_nothing_that_the_encoder_has_not_read(longest: int) -> None:
    # Rows of documents so short that they cannot take the row's share, a long one at the end.
    many = [[*random_lengths(seed, 110 - seed, longest), 200] for seed in range(40)]
    rows = random_rows(many, 128, seed=longest)
    batch = Spans(SpansConfig(rate=0.3), SPECIAL).make(rows, Key(0))
    assert batch.source is not None
    written = 0
    for row in range(len(many)):
        asked = set(batch.layout.document_BL[row].tolist()) - {-1}
        assert asked <= set(batch.source.layout.document_BL[row].tolist())
        written += len(asked)
    assert longest == 1 or written > 40
    for text, source, _, target in documents(batch, rows):
        assert not target or put_together(source, target) == text


def test_what_is_said_to_be_hidden_is_what_the_decoder_writes() -> None:
    rows = random_rows([random_lengths(seed, 128, 3 + 5 * seed) for seed in range(30)], 128)
    objective = Spans(SpansConfig(), SPECIAL)
    batch = objective.make(rows, Key(5))
    hidden_BL = objective.hidden(rows, Key(5))
    for row in range(30):
        written = batch.labels_BN[row][batch.weights_BN[row] > 0].numpy()
        words = written[~np.isin(written, SPECIAL.sentinels)]
        assert words.tolist() == rows.tokens_BL[row, :-1][hidden_BL[row]].tolist()
        assert len(words) > 0


def test_shapes_are_static() -> None:
    objective = Spans(SpansConfig(), SPECIAL)
    full = span_counts(128, 0.15, 3.0)
    shapes = set()
    for seed in range(30):
        lengths = random_lengths(seed, 128, 2 + 9 * seed) if seed else [3]
        batch = objective.make(random_rows([lengths], 128, seed=seed), Key(0))
        assert batch.source is not None
        shapes.add((batch.tokens_BL.shape, batch.labels_BN.shape, batch.source.tokens_BL.shape))
    assert len(shapes) == 1
    ((inputs, labels, source),) = shapes
    assert inputs == labels == (1, full.noise + full.spans)
    assert source == (1, 128 - full.noise + full.spans)


def test_a_full_row_hides_the_published_share_however_its_documents_lie() -> None:
    full = span_counts(128, 0.15, 3.0)
    rows = random_rows([random_lengths(seed, 128, 20 + 5 * seed) for seed in range(100)], 128)
    batch = Spans(SpansConfig(), SPECIAL).make(rows, Key(0))
    weights_BN = batch.weights_BN.numpy()
    sentinels_BN = np.isin(batch.labels_BN.numpy(), SPECIAL.sentinels)
    assert ((weights_BN > 0) & sentinels_BN).sum(1).tolist() == [full.spans] * 100
    assert weights_BN.sum(1).tolist() == [full.noise + full.spans] * 100


def test_documents_are_hidden_in_proportion_to_their_lengths() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([10, 20, 40, 58])
    shares = [share_out(lengths, SpansConfig(), 100, rng) for _ in range(4000)]
    noise = np.array([[counts.noise for counts in row] for row in shares])
    assert set(noise.sum(1).tolist()) == {span_counts(128, 0.15, 3.0).noise}
    np.testing.assert_allclose(noise.mean(0) / noise.sum(1).mean(), lengths / 128, atol=0.03)


def test_the_first_token_of_a_document_is_never_hidden() -> None:
    reader = RowReader(made_up_text(60), row_length=96, key=Key(0), pad=SPECIAL.pad)
    rows = reader.rows(0, reader.rows_per_epoch)
    hidden_BL = Spans(SpansConfig(rate=0.5), SPECIAL).hidden(rows, Key(0))
    begins_BL = np.diff(rows.document_BL[:, :-1], axis=1, prepend=-2) != 0
    assert hidden_BL.sum() > 500
    assert not (hidden_BL & begins_BL).any()
    assert not (hidden_BL & (rows.tokens_BL[:, :-1] == SPECIAL.bos)).any()
    assert not (hidden_BL & (rows.document_BL[:, :-1] < 0)).any()


def test_a_row_is_hidden_alike_whatever_rows_are_with_it() -> None:
    reader = RowReader(made_up_text(60), row_length=64, key=Key(0), pad=SPECIAL.pad)
    objective = Spans(SpansConfig(), SPECIAL)
    together = objective.make(reader.rows(0, 12), Key(1))
    for row in range(12):
        single = objective.make(reader.rows(row, row + 1), Key(1))
        assert torch.equal(single.tokens_BL[0], together.tokens_BL[row])
        assert torch.equal(single.labels_BN[0], together.labels_BN[row])


def test_epochs_and_keys_hide_differently() -> None:
    rows = random_rows([[128]], 128)
    objective = Spans(SpansConfig(), SPECIAL)
    other = rows._replace(epoch_B=rows.epoch_B + 1)
    assert not np.array_equal(objective.hidden(rows, Key(0)), objective.hidden(other, Key(0)))
    assert not np.array_equal(objective.hidden(rows, Key(0)), objective.hidden(rows, Key(1)))


def test_a_document_never_needs_more_sentinels_than_there_are() -> None:
    few = SPECIAL._replace(sentinels=SPECIAL.sentinels[:3])
    rows = random_rows([[100, 28, 1], [129]], 128)
    batch = Spans(SpansConfig(rate=0.4), few).make(rows, Key(0))
    used = set(batch.labels_BN[batch.weights_BN > 0].tolist()) & SENTINELS
    assert used == set(few.sentinels)
    assert set(batch.labels_BN[batch.weights_BN > 0].tolist()) - SENTINELS <= {
        SPECIAL.eos,
        *range(FIRST_WORD, VOCABULARY_SIZE),
    }


def test_one_stack_is_refused() -> None:
    with pytest.raises(ConfigError, match="one stack"):
        Spans(SpansConfig(), SPECIAL).network(shrink(preset("encoder-tiny")))


def test_a_span_at_the_end_is_what_the_decoder_writes() -> None:
    config = SpansConfig(placement="end", rate=0.25, mode="sequential")
    rows = random_rows([random_lengths(seed, 128, 60) for seed in range(40)], 128)
    batch = Spans(config, SPECIAL).make(rows, Key(0))
    mark, checked = mode_marks(SPECIAL)["sequential"], 0
    for text, source, inputs, target in documents(batch, rows):
        if not target:
            # Too short, or behind the last one that has room.
            assert source[: len(text) + 1] == [mark, *text][: len(source)]
            continue
        assert source[0] == mark
        kept, hidden = source[1:-1], target[1:]
        assert source[-1] == target[0] == SPECIAL.sentinels[0]
        assert [*kept, *hidden] == text
        assert 1 <= len(hidden) <= max(1, len(text) // 2)
        assert inputs == [SPECIAL.bos, *target[:-1]]
        checked += 1
    assert checked > 100


def test_every_length_at_the_end_is_equally_likely() -> None:
    rows = random_rows([[129]] * 1000, 128)
    hidden_BL = Spans(SpansConfig(placement="end", rate=0.25), SPECIAL).hidden(rows, Key(0))
    lengths = hidden_BL.sum(1)
    assert (lengths.min(), lengths.max()) == (1, 64)
    assert lengths.mean() == pytest.approx(32.5, abs=4.5 * 18.5 / 1000**0.5)
    assert (np.diff(hidden_BL.astype(int), axis=1) >= 0).all()


def test_marks_need_sentinels_of_their_own() -> None:
    with pytest.raises(ConfigError, match="more than 6 sentinels, the tokenizer has 6"):
        Spans(SpansConfig(mode="regular"), SPECIAL._replace(sentinels=SPECIAL.sentinels[:6]))
