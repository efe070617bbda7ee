"""Denoising: the decoder writes the text as it was, the encoder reads it spoilt as BART's paper says."""

import itertools

import numpy as np
import pytest

from support import SPECIAL, random_rows, shrink
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.presets import preset
from trivium.objectives.denoise import Denoise, DenoiseConfig, infilled, shuffled_sentences

LENGTH = 96


def test_infilling_covers_the_rate_in_spans_that_do_not_touch() -> None:
    spans: list[int] = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        text = np.arange(100, 100 + int(rng.integers(1, 120)))
        found = infilled(text, 0.3, 3.0, 7, rng).tolist()
        kept = [token for token in found if token != 7]
        assert kept == sorted(kept)
        assert set(kept) <= set(text.tolist())
        assert len(text) - len(kept) == round(0.3 * len(text))
        assert len(found) <= len(text)
        # No two masks side by side: each stands for what is missing between its neighbours.
        assert (7, 7) not in itertools.pairwise(found)
        bounded = [99, *found, 100 + len(text)]
        spans += [bounded[i + 1] - bounded[i - 1] - 1 for i in range(1, len(bounded) - 1) if bounded[i] == 7]
    counts = np.bincount(spans, minlength=8) / len(spans)
    assert len(spans) > 1500
    poisson = [np.exp(-3.0) * 3.0**n / float(np.prod(np.arange(1, n + 1))) for n in range(8)]
    # The last span of a text is cut where the rate is reached, which shortens some.
    np.testing.assert_allclose(counts[:8], poisson, atol=0.06)
    assert counts[0] > 0.02


def test_sentences_are_permuted_whole() -> None:
    text, starts = np.arange(20), np.array([3, 10, 12])
    orders = set()
    for seed in range(500):
        found = shuffled_sentences(text, starts, np.random.default_rng(seed)).tolist()
        parts = ([0, 1, 2], list(range(3, 10)), [10, 11], list(range(12, 20)))
        order = sorted(range(4), key=lambda number: found.index(parts[number][0]))
        assert found == [token for number in order for token in parts[number]]
        orders.add(tuple(order))
    assert len(orders) == 24


def test_the_decoder_writes_each_document_and_the_encoder_reads_it_spoilt() -> None:
    rows = random_rows([[40, 57], [97], [1, 2, 3, 91], []], LENGTH)
    rows.sentence_start_BL[:] = np.arange(LENGTH + 1) % 9 == 0
    batch = Denoise(DenoiseConfig(deleted=0.1), SPECIAL).make(rows, Key(2))
    assert batch.source is not None
    documents = 0
    for b in range(4):
        for number in range(rows.document_BL[b, :-1].max() + 1):
            text = rows.tokens_BL[b, :-1][rows.document_BL[b, :-1] == number].tolist()
            mine, read = batch.layout.document_BL[b] == number, batch.source.layout.document_BL[b] == number
            assert batch.labels_BN[b][mine].tolist() == text
            assert batch.tokens_BL[b][mine].tolist() == [SPECIAL.bos, *text[:-1]]
            source = batch.source.tokens_BL[b][read].tolist()
            assert len(source) <= len(text)
            assert {token for token in source if token != SPECIAL.mask} <= set(text)
            if len(text) > 20:
                assert SPECIAL.mask in source
                assert (source[-1] == SPECIAL.eos) == (text[-1] == SPECIAL.eos)
                words = len(text) - (text[-1] == SPECIAL.eos)
                assert len([t for t in source if t not in (SPECIAL.mask, SPECIAL.eos)]) <= words - round(0.3 * words)
            documents += 1
    assert documents == 7
    assert batch.weights_BN.sum(1).tolist() == [96.0, 96.0, 96.0, 0.0]


def test_without_noise_the_text_is_read_as_it_is() -> None:
    rows = random_rows([[40, 57]], LENGTH)
    batch = Denoise(DenoiseConfig(rate=0.0, shuffled=0.0), SPECIAL).make(rows, Key(0))
    assert batch.source is not None
    assert batch.source.tokens_BL.equal(batch.labels_BN)


def test_one_stack_is_refused() -> None:
    with pytest.raises(ConfigError, match="one stack"):
        Denoise(DenoiseConfig(), SPECIAL).network(shrink(preset("encoder-tiny")))
