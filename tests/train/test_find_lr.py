"""The learning-rate finder: its curve, what it makes of one, and what it refuses."""

import math
from itertools import pairwise

import pytest
from test_run import MadeUpData

from training import run_config
from trivium.core.errors import ConfigError
from trivium.train.find_lr import Tried, find_lr, suggest
from trivium.train.optimiser_config import MuonConfig


def curve(losses: list[float], low: float = 1e-5, high: float = 1.0) -> list[Tried]:
    rates = [low * (high / low) ** (number / (len(losses) - 1)) for number in range(len(losses))]
    return [Tried(lr, loss, loss) for lr, loss in zip(rates, losses, strict=True)]


def test_rates_grow_by_one_factor_and_the_loss_falls_before_it_rises() -> None:
    config = run_config("decoder-tiny")
    found = find_lr(config, MadeUpData(), steps=60, low=1e-4, high=10.0)  # type: ignore[arg-type]
    rates = [each.lr for each in found.tried]
    factors = [later / earlier for earlier, later in pairwise(rates)]
    assert rates[0] == pytest.approx(1e-4)
    assert factors == pytest.approx([(1e5) ** (1 / 59)] * len(factors)) and len(factors) > 30
    assert found.tried[0].loss == pytest.approx(math.log(160), rel=0.1)
    assert found.tried[0].smoothed == found.tried[0].loss
    assert 1e-3 < found.suggestion <= found.lowest / 3 < 1.0
    assert min(each.smoothed for each in found.tried) < 0.95 * found.tried[0].loss
    again = find_lr(config, MadeUpData(), steps=60, low=1e-4, high=10.0)  # type: ignore[arg-type]
    assert again == found


def test_a_good_learning_rate_is_within_reach_for_another_optimiser() -> None:
    config = run_config("decoder-tiny").model_copy(update={"optimiser": MuonConfig(lr=0.01)})
    found = find_lr(config, MadeUpData(), steps=60)  # type: ignore[arg-type]
    assert 1e-3 < found.suggestion < 0.5


def test_the_steepest_place_and_the_lowest_are_found() -> None:
    # A slide around 1e-3 of the logarithm's own making, lowest at about 1e-1, then up.
    places = [number / 20 for number in range(101)]  # decades above 1e-5
    found = suggest(curve([8.0 - 2.0 / (1 + math.exp(-8 * (p - 2))) + max(0.0, p - 4) * 3 for p in places]))
    assert found.steepest == pytest.approx(1e-3, rel=0.15)
    assert 10**-1.5 < found.lowest <= 0.11
    assert found.suggestion == pytest.approx(found.steepest, rel=0.05)
    late = suggest(curve([8.0 - 2.0 / (1 + math.exp(-40 * (p - 4))) + max(0.0, p - 4.2) * 3 for p in places]))
    assert late.suggestion == pytest.approx(late.lowest / 3, rel=0.05)


def test_what_tells_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="did not fall"):
        suggest(curve([5.0 + number for number in range(30)]))
    with pytest.raises(ConfigError, match="too few"):
        suggest(curve([5.0, 4.0, 3.0]))
    with pytest.raises(ConfigError, match="--low"):
        find_lr(run_config(), MadeUpData(), low=1.0, high=0.1)  # type: ignore[arg-type]
