"""Position schemes against their formulas (relative buckets, rotary and ALiBi slopes: see parity)."""

import math

import pytest
import torch

from trivium.model.positions import AlibiScores, RelativeBucketScores, SinusoidalPositions
from trivium.model.rotary import RotaryPositions, plain_frequencies


def test_sinusoids_are_those_of_the_paper() -> None:
    position_BL = torch.tensor([[0, 1, 7, 50]])
    vectors_LD = SinusoidalPositions(size=10)(position_BL)[0]
    for place, position in enumerate(position_BL[0].tolist()):
        for pair in range(5):
            angle = position / 10_000 ** (2 * pair / 10)
            assert float(vectors_LD[place, 2 * pair]) == pytest.approx(math.sin(angle), abs=1e-5)
            assert float(vectors_LD[place, 2 * pair + 1]) == pytest.approx(math.cos(angle), abs=1e-5)


def test_sinusoids_of_an_odd_size() -> None:
    assert SinusoidalPositions(size=7)(torch.arange(4)[None]).shape == (1, 4, 7)


def test_rotary_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)
    rotary = RotaryPositions(plain_frequencies(16, 10_000.0))

    def product(first: int, second: int) -> float:
        turned = [
            rotary.rotation(torch.tensor([[place]]), torch.float64).apply(states)
            for place, states in ((first, query), (second, key))
        ]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 1) == pytest.approx(product(103, 101), abs=1e-9)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-3)
    assert product(5, 5) == pytest.approx(float((query * key).sum()), abs=1e-9)


def test_alibi_is_a_penalty_on_the_distance_either_way() -> None:
    places_1L = torch.arange(5)[None]
    scores_HLM = AlibiScores(num_heads=2)(places_1L, places_1L)[0]
    distance_LM = (places_1L - places_1L.t()).abs().float()
    torch.testing.assert_close(scores_HLM, torch.stack((-distance_LM / 16, -distance_LM / 256)))


def test_far_places_share_the_last_bucket() -> None:
    scores = RelativeBucketScores(num_heads=3, num_buckets=8, max_distance=12, bidirectional=True)
    torch.nn.init.normal_(scores.weight)
    scores_HLM = scores(torch.tensor([[0]]), torch.tensor([[11, 12, 13, 5000]]))[0]
    assert torch.equal(scores_HLM[:, 0, 1], scores_HLM[:, 0, 3])
    assert torch.equal(scores_HLM[:, 0, 1], scores_HLM[:, 0, 2])
