"""Dropout: how often, how scaled, the same backward, the same again from the same seed."""

import math

import pytest
import torch
from torch import Tensor, nn

from support import lively, packed_batch, tiny, with_dropout
from trivium.model.build.dropout import build_depth, build_dropout
from trivium.model.dropout import Dropout, StochasticDepth, dropout


def seeded(states: Tensor, probability: float, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return dropout(states, probability)


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.5, 0.9])
def test_so_many_are_dropped_and_the_others_scaled_exactly(probability: float) -> None:
    count = 200_000
    states = torch.rand(count, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1
    given = seeded(states, probability)
    kept = given != 0
    rounded = round(256 * probability) / 256
    # Four standard deviations.
    bound = 4 * math.sqrt(rounded * (1 - rounded) / count)
    assert float(kept.double().mean()) == pytest.approx(1 - rounded, abs=bound)
    torch.testing.assert_close(given[kept], states[kept] / (1 - rounded), atol=0, rtol=1e-15)
    assert float(given.mean()) == pytest.approx(float(states.mean()), abs=4 * 2 * bound / (1 - rounded))


@pytest.mark.parametrize(
    ("probability", "dropped"), [(0.1, 26), (0.5, 128), (1e-9, 1), (0.0019, 1), (0.999, 255), (0.3, 77)]
)
def test_a_probability_is_rounded_to_a_256th_but_never_to_none_or_all(probability: float, dropped: int) -> None:
    given = seeded(torch.ones(100_000, dtype=torch.float64), probability)
    assert set(given.unique().tolist()) == {0.0, 256 / (256 - dropped)}
    assert "256th" in str(dropout.__doc__)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 7), (2, 1, 9, 11), (0, 4), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_any_size_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    states = torch.ones(shape, dtype=dtype)
    given = seeded(states, 0.5)
    assert given.shape == states.shape
    assert given.dtype == dtype
    assert set(given.flatten().tolist()) <= {0.0, 2.0}
    assert torch.equal(states, torch.ones(shape, dtype=dtype))


def test_all_places_are_dropped_independently() -> None:
    draws = torch.stack([seeded(torch.ones(13), 0.5, seed=seed) for seed in range(4000)]) / 2
    # Shares and correlations of every pair, within five standard deviations.
    assert bool(((draws.mean(0) - 0.5).abs() < 5 * 0.5 / math.sqrt(4000)).all())
    correlation = torch.corrcoef(draws.t()) - torch.eye(13)
    assert float(correlation.abs().max()) < 5 / math.sqrt(4000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backward_pass_drops_the_same(dtype: torch.dtype) -> None:
    base = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    for view in (lambda tensor: tensor, lambda tensor: tensor.t(), lambda tensor: tensor[::2, 1::3]):
        leaf = base.clone().requires_grad_()
        states = view(leaf)
        given = seeded(states, 0.4)
        weights = torch.randn(given.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
        (gradient,) = torch.autograd.grad((given * weights).sum(), states)
        scale = 256 / (256 - round(0.4 * 256))
        kept = given != 0
        assert 0 < int(kept.sum()) < kept.numel()
        exact, scale = scale, float(torch.tensor(scale, dtype=dtype))
        assert abs(scale / exact - 1) < 2**-8
        assert torch.equal(gradient, torch.where(kept, weights * scale, 0.0))
        assert torch.equal(given, torch.where(kept, states * scale, 0.0))


def test_second_derivatives_go_through_it() -> None:
    """Adversarial regularisers ask for the gradient of a gradient."""
    states = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda each: seeded(each.sin() * each, 0.4) ** 2, (states,))
    narrow = torch.randn(4, 6).t().requires_grad_()  # laid out the other way round
    given = seeded(narrow, 0.5)
    (gradient,) = torch.autograd.grad(given.sum(), narrow)
    assert torch.equal(gradient * narrow, given)


def test_a_seed_gives_the_same_and_another_another() -> None:
    states = torch.ones(1000)
    assert torch.equal(seeded(states, 0.3, 5), seeded(states, 0.3, 5))
    assert not torch.equal(seeded(states, 0.3, 5), seeded(states, 0.3, 6))
    torch.manual_seed(5)
    first, second = dropout(states, 0.3), dropout(states, 0.3)
    assert not torch.equal(first, second)


def test_it_is_the_identity_outside_training_and_nothing_where_there_is_none() -> None:
    states = torch.ones(5, 4, 3)
    for module in (Dropout(0.5), StochasticDepth(0.5)):
        assert module.eval()(states) is states
        torch.manual_seed(1)
        assert not torch.equal(module.train()(states), states)
    assert isinstance(build_dropout(0.0), nn.Identity)
    assert isinstance(build_depth(0.0), nn.Identity)
    assert isinstance(build_dropout(0.1), Dropout)
    assert isinstance(build_depth(0.1), StochasticDepth)


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
def test_a_network_drops_in_training_only(family: str) -> None:
    network, batch = lively(with_dropout(tiny(family), 0.3)), packed_batch(family)
    plain = lively(tiny(family))
    with torch.no_grad():
        assert torch.equal(network(batch), plain(batch))
        network.train()
        torch.manual_seed(0)
        dropped = network(batch)
        assert float((dropped - plain(batch)).abs().mean()) > 0.05
        torch.manual_seed(0)
        assert torch.equal(dropped, network(batch))
        assert torch.equal(plain.train()(batch), plain.eval()(batch))
    places = [module for module in network.modules() if isinstance(module, Dropout)]
    # The embedding's and the last norm's, a layer's three (its branches' and the feed-forward's), or four.
    layers = {"encoder": 2 * 3, "decoder": 2 * 3, "encoder_decoder": 2 * 3 + 2 * 4}[family]
    assert len(places) == layers + (4 if family == "encoder_decoder" else 2)
