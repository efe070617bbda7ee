"""Embeddings: what is added to tokens, and dense vectors in their places."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from support import MAX_LENGTH, lively, packed_batch, tiny
from trivium.core.batch import Batch, Vectors
from trivium.model.config import ModelConfig
from trivium.model.embedding import Embedding
from trivium.model.positions import SinusoidalPositions

LAYER = {"kind": "layer_norm", "eps": 0.1}


def embedding_of(position: str = "none", *, size: int | None = None, **options: Any) -> Embedding:
    tree = tiny("encoder", position).model_dump()
    tree["family"]["stack"]["embedding"] = options
    tree["embedding_size"] = size
    if size is not None:
        tree["head"] = {"tied": False}
    return lively(ModelConfig.model_validate(tree)).double().stack.embedding


def segmented(batch: Batch) -> Batch:
    return replace(batch, segments_BL=batch.tokens_BL % 2)


@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize("position", ["none", "learned", "sinusoidal"])
@pytest.mark.parametrize(
    "options", [{}, {"scale": 5.5}, {"num_segments": 2}, {"scale": 0.3, "num_segments": 3, "norm": LAYER}]
)
def test_an_embedding_is_its_formula(options: dict[str, Any], position: str, size: int | None) -> None:
    embedding = embedding_of(position, size=size, **options)
    for batch in (packed_batch("encoder"), segmented(packed_batch("encoder"))):
        expected = embedding.tokens.weight[batch.tokens_BL] * options.get("scale", 1.0)
        place = batch.layout.position_BL.long()
        if position == "learned":
            expected = expected + embedding.positions.weight[place]
        elif position == "sinusoidal":
            expected = expected + SinusoidalPositions(size=size or 32)(place)
        if "num_segments" in options:
            segments = torch.zeros_like(batch.tokens_BL) if batch.segments_BL is None else batch.segments_BL
            expected = expected + embedding.segments.weight[segments]
        else:
            assert embedding.segments is None
        if "norm" in options:
            gain, shift = embedding.norm.weight, embedding.norm.bias
            centred = expected - expected.mean(-1, keepdim=True)
            expected = centred / (centred.square().mean(-1, keepdim=True) + 0.1).sqrt() * gain + shift
        if size is not None:
            expected = expected @ embedding.project.weight.t() + embedding.project.bias
        assert expected.shape == (*batch.tokens_BL.shape, 32)
        torch.testing.assert_close(embedding(batch), expected, atol=1e-10, rtol=1e-10)


def test_learned_positions_begin_at_their_offset() -> None:
    tree = tiny("encoder", "learned").model_dump()
    tree["family"]["stack"]["position"] |= {"max_length": MAX_LENGTH + 3, "offset": 3}
    embedding = lively(ModelConfig.model_validate(tree)).double().stack.embedding
    batch = packed_batch("encoder")
    expected = (
        embedding.tokens.weight[batch.tokens_BL] + embedding.positions.weight[batch.layout.position_BL.long() + 3]
    )
    torch.testing.assert_close(embedding(batch), expected)


def test_a_tied_head_needs_a_transform_to_the_embedding_s_size() -> None:
    tree = tiny("encoder").model_dump() | {"embedding_size": 12}
    with pytest.raises(ValueError, match=r"needs `head\.transform`"):
        ModelConfig.model_validate(tree)
    tree["head"] |= {"transform": {"activation": "gelu"}}
    network = lively(ModelConfig.model_validate(tree))
    assert network.head.projection is network.stack.embedding.tokens
    assert network.head.transform.dense.weight.shape == (12, 32)


# Vectors in place of tokens ----------------------------------------------------------------------------------------


def with_vectors(places: list[list[int]], size: int = 32, *, seed: int = 0) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, len(places[0]), size, generator=generator, dtype=torch.float64, requires_grad=True)
    batch = packed_batch("encoder")
    return replace(batch, vectors=Vectors(values, torch.tensor(places))), values


PLACES = [[3, 0, -1, 23], [-1, -1, -1, -1], [5, -1, 6, -1]]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_vectors_stand_where_they_are_put_and_are_not_scaled(scale: float) -> None:
    embedding = embedding_of("learned", num_segments=2, scale=scale)
    batch, values = with_vectors(PLACES)
    given, plain = embedding(batch), embedding(replace(batch, vectors=None))
    tokens = embedding.tokens.weight[batch.tokens_BL] * scale
    replaced = 0
    for row, places in enumerate(PLACES):
        for number, place in enumerate(places):
            if place >= 0:
                torch.testing.assert_close(
                    given[row, place], plain[row, place] - tokens[row, place] + values[row, number]
                )
                replaced += 1
    assert replaced == 5
    untouched = torch.ones(3, 24, dtype=torch.bool)
    untouched[[0, 0, 0, 2, 2], [3, 0, 23, 5, 6]] = False
    assert torch.equal(given[untouched], plain[untouched])


def test_gradients_reach_the_vectors_that_are_used_and_not_the_tokens_they_stand_for() -> None:
    embedding = embedding_of()
    batch, values = with_vectors(PLACES)
    batch.tokens_BL[0, [3, 4]] = torch.tensor([1, 2])  # tokens that stand nowhere else
    embedding(batch).square().sum().backward()
    assert values.grad is not None
    used = torch.tensor(PLACES) >= 0
    assert torch.equal((values.grad != 0).all(-1), used)
    assert not bool(values.grad[~used].any())
    assert embedding.tokens.weight.grad is not None
    assert not bool(embedding.tokens.weight.grad[1].any())
    assert bool(embedding.tokens.weight.grad[2].all())


def test_vectors_are_of_the_embedding_s_size_and_type() -> None:
    embedding = embedding_of(size=12).float()
    batch, values = with_vectors(PLACES, 12)  # float64
    given = embedding(batch)
    assert given.dtype == torch.float32
    torch.testing.assert_close(given[2, 6], embedding.project(values[2, 2].float()))


def test_vectors_go_where_their_batch_goes() -> None:
    batch, values = with_vectors(PLACES)
    part = batch.rows(1, 3)
    assert part.vectors is not None
    assert torch.equal(part.vectors.values_BPE, values[1:3])
    assert part.vectors.places_BP.tolist() == PLACES[1:]
    doubled = batch.map(lambda tensor: tensor * 2)
    assert doubled.vectors is not None
    assert torch.equal(doubled.vectors.values_BPE, values * 2)
    moved = batch.to(torch.device("meta"))
    assert moved.vectors is not None
    assert moved.vectors.values_BPE.is_meta
    assert moved.vectors.places_BP.is_meta
    network = lively(tiny("encoder")).double()
    with torch.no_grad():
        torch.testing.assert_close(network(batch)[1:3], network(part))
