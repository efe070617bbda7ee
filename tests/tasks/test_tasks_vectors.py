"""A text's vector is the same alone and packed, in any order and any number; long texts are read whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from embed_support import embedder, texts
from task_support import FAMILIES

from trivium.core.batch import reading
from trivium.core.errors import DataError
from trivium.core.layout import TokenLayout
from trivium.model.config import Pooling
from trivium.tasks.embed.embedder import Embedder, embed_texts, vectors_of
from trivium.tasks.embed.vector_file import RowFile, fitted_whitening, save_vectors
from trivium.tasks.embed.vectors import text_pieces, unit
from trivium.tasks.settings import EmbedSettings


@torch.inference_mode()
def states(embedding: Embedder, tokens_L: np.ndarray) -> np.ndarray:
    """Return the hidden states of a window that is read by itself, hidden_LD."""
    tokens_BL = torch.from_numpy(tokens_L)[None]
    zeros_BL, position_BL = (
        torch.zeros(tokens_BL.shape, dtype=torch.int32),
        torch.arange(tokens_BL.shape[1])[None].int(),
    )
    layout = TokenLayout.bidirectional if embedding.reading.both_ways else TokenLayout.causal
    return embedding.model.reader(reading(tokens_BL, layout(zeros_BL, position_BL)))[0].double().numpy()


def by_hand(embedding: Embedder, text: str, pooling: Pooling) -> np.ndarray:
    """Return a text's vector: its windows cut, read and pooled one by one."""
    tokenizer = embedding.reading.tokenizer
    ids = np.array(tokenizer.encode(text), dtype=np.int64)
    room = embedding.reading.row_length - tokenizer.frame.size(1)
    count = max(1, -(-len(ids) // room))
    windows = [ids[number * len(ids) // count : (number + 1) * len(ids) // count] for number in range(count)]
    framed = [tokenizer.frame.around([window]).tokens_L for window in windows]
    total_D, tokens = 0.0, 0
    for window in framed:
        hidden_LD = states(embedding, window)
        shares = {
            "mean": np.ones(len(window)),
            "first": np.arange(len(window)) == 0,
            "last": np.arange(len(window)) == len(window) - 1,
            "weighted": np.arange(1.0, len(window) + 1),
        }[pooling]
        total_D = total_D + len(window) * (shares @ hidden_LD) / shares.sum()
        tokens += len(window)
    return total_D / np.linalg.norm(total_D)


@pytest.mark.parametrize(
    ("family", "pooling"),
    [*((family, "mean") for family in FAMILIES), ("encoder", "first"), ("decoder", "last"), ("decoder", "weighted")],
)
def test_a_vector_is_that_of_the_text_read_alone_window_by_window(family: str, pooling: Pooling) -> None:
    embedding = embedder(family, pooling=pooling, row_length=32)
    given = texts(40, seed=1)
    counts = np.bincount([piece.example for piece in text_pieces(given, embedding.reading)])
    assert counts.max() > 3 and counts.min() == 1 and len(counts) == 40
    differences = [
        float(np.abs(vector_D - by_hand(embedding, text, pooling)).max())
        for text, vector_D in zip(given, embed_texts(embedding, given), strict=True)
    ]
    assert len(differences) == 40 and max(differences) < 1e-5


def test_a_vector_does_not_depend_on_what_it_is_read_with() -> None:
    embedding = embedder("encoder", row_length=32, settings=EmbedSettings(vector_size=7))
    given = texts(700, seed=2, longest=20)  # more than are read at a time
    together = np.stack(list(embed_texts(embedding, given)))
    assert together.shape == (700, 7) and together.dtype == np.float32
    order = np.random.default_rng(0).permutation(700)
    shuffled = np.stack(list(embed_texts(embedding, [given[number] for number in order])))
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    for number in range(0, 700, 97):
        [alone] = embed_texts(embedding, [given[number]])
        np.testing.assert_allclose(alone, together[number], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)


def test_equal_texts_have_the_cosine_1_and_others_less() -> None:
    embedding = embedder()
    given = texts(30, seed=3)
    both = np.stack(list(embed_texts(embedding, [*given, *given])))
    cosine = both @ both.T
    np.testing.assert_allclose(cosine[np.arange(30), np.arange(30) + 30], 1.0, atol=1e-5)
    others = cosine[:30, :30][~np.eye(30, dtype=bool)]
    assert others.max() < 0.9999


def test_texts_are_read_as_they_are_asked_for() -> None:
    taken = []

    def endless() -> object:
        while True:
            taken.append(None)
            yield "ba ke lo"

    first = next(vectors_of(embedder(), endless()))  # type: ignore[arg-type]
    assert len(taken) == len(first) < 1000
    assert list(embed_texts(embedder(), [])) == []


def test_a_file_of_rows_is_what_numpy_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    blocks = [rng.normal(size=(rows, 5)).astype(np.float32) for rows in (1, 0, 1200, 37)]
    with RowFile(tmp_path / "rows.npy") as file:
        for block in blocks:
            file.add(block)
        with pytest.raises(ValueError, match="expected rows of"):
            file.add(np.zeros((2, 4), dtype=np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), np.concatenate(blocks))
    assert file.rows == 1238


@pytest.mark.parametrize(("count", "size"), [(300, 12), (6, 12)])
def test_whitened_vectors_are_centred_uncorrelated_and_equally_wide(count: int, size: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    mixed = rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) + 3.0 * rng.normal(size=size)
    mixed = mixed.astype(np.float32)
    whitening = fitted_whitening(np.array_split(mixed, 4))
    made = whitening.applied(mixed)
    np.testing.assert_allclose(made.mean(axis=0), 0.0, atol=1e-5)
    rank = min(count - 1, size)
    widths = np.linalg.eigvalsh(made.T @ made / count)
    np.testing.assert_allclose(widths[-rank:], 1.0, atol=1e-3)
    np.testing.assert_allclose(widths[:-rank], 0.0, atol=1e-6)
    # Distances are Mahalanobis': of a closed form that knows of no directions.
    inverse = np.linalg.pinv(np.cov(mixed.T.astype(np.float64), bias=True), rcond=1e-7)
    apart = (mixed[0] - mixed[1]).astype(np.float64)
    np.testing.assert_allclose(((made[0] - made[1]) ** 2).sum(), apart @ inverse @ apart, rtol=1e-3)
    shape = save_vectors(tmp_path / "white.npy", np.array_split(mixed, 3), whiten=True)
    np.testing.assert_allclose(np.load(tmp_path / "white.npy"), unit(made), atol=1e-4)
    assert shape == (count, size) and [file.name for file in tmp_path.iterdir()] == ["white.npy"]


def test_what_cannot_be_whitened_or_saved_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    alike = np.ones((5, 3), dtype=np.float32)
    for vectors in (alike, alike[:1]):
        with pytest.raises(DataError, match="--whiten needs vectors that differ"):
            save_vectors(tmp_path / "v.npy", [vectors], whiten=True)
    with pytest.raises(DataError, match="there are no texts"):
        save_vectors(tmp_path / "v.npy", [], whiten=False)
    assert not list(tmp_path.iterdir())
