"""Mixout against its paper's formula, and runs that are pulled towards what they began with."""

from pathlib import Path

import pytest
import torch
from run_support import config_of, log_of, model_bytes, run
from torch import Tensor

from stopping import Killed, KilledAt
from support import lively, parameters_of, tiny
from training import Trial, run_config, trial
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.folder import load_model
from trivium.model.heads import Network
from trivium.train.checkpoint import checkpoints
from trivium.train.config import Precision
from trivium.train.loop import StepReport, train_steps
from trivium.train.mixout import MixedWeights, trained_weights
from trivium.train.precision import TrainedWeights

P = 0.4


def pulled(
    network: Network, start: dict[str, Tensor], *, step: int = 0, precision: Precision = "float32"
) -> MixedWeights:
    return MixedWeights(network, precision, start=start, probability=P, key=Key(3), step=step)


def test_each_number_of_a_matrix_is_the_starts_or_its_own_with_the_mean_put_right() -> None:
    network, start = lively(tiny("encoder")), parameters_of(lively(tiny("encoder"), seed=1))
    mixed, mine = parameters_of(pulled(network, start).compute), parameters_of(network)
    replaced = total = 0
    for name, m in mixed.items():
        w, u = mine[name], start[name]
        if w.ndim < 2:
            assert torch.equal(m, w)
            continue
        from_start, from_own = (u - P * u) / (1 - P), (w - P * u) / (1 - P)
        is_start = (m - from_start).abs() < 1e-6
        assert bool((is_start | ((m - from_own).abs() < 1e-6)).all())
        replaced, total = replaced + int(is_start.sum()), total + m.numel()
    assert total > 10_000
    assert replaced / total == pytest.approx(P, abs=0.02)


def test_the_mean_over_many_mixtures_is_the_weight() -> None:
    network, start = lively(tiny("decoder")), parameters_of(lively(tiny("decoder"), seed=1))
    name, count = "stack.blocks.0.feed_forward.branch.up.weight", 400
    weights = pulled(network, start)
    sum_ = torch.zeros_like(start[name])
    for _ in range(count):
        sum_ += parameters_of(weights.compute)[name]
        weights.publish()
    w, u = parameters_of(network)[name], start[name]
    # The deviation of one mixture is |w - u| sqrt(p / (1 - p)).
    deviation = ((w - u).abs() * (P / (1 - P)) ** 0.5 / count**0.5).clamp_min(1e-6)
    normal = (sum_ / count - w) / deviation
    assert float(normal.abs().max()) < 6.0
    assert float(normal.std()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_reach_what_was_kept(precision: Precision) -> None:
    network, start = lively(tiny("encoder")), parameters_of(lively(tiny("encoder"), seed=1))
    weights = pulled(network, start, precision=precision)
    # Rounded, it cannot be told which numbers were kept; what is drawn does not depend on the type.
    mixed = parameters_of(pulled(network, start).compute)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for parameter in weights.compute.parameters():
            parameter.grad = torch.randint(1, 5, parameter.shape, generator=generator).to(parameter.dtype)
        weights.collect_gradients()
    generator.manual_seed(0)
    drawn = [[torch.randint(1, 5, p.shape, generator=generator) for p in network.parameters()] for _ in range(2)]
    checked = 0
    for (name, parameter), one, other in zip(network.named_parameters(), *drawn, strict=True):
        gradient = (one + other).float()
        if parameter.ndim >= 2:
            w, u = parameter.detach(), start[name]
            own = (w - P * u) / (1 - P)
            kept = (mixed[name] - own).abs() < (mixed[name] - u).abs()
            gradient = gradient * kept / (1 - P)
            checked += 1
        torch.testing.assert_close(parameter.grad, gradient)
    assert checked > 5


def test_what_the_start_has_not_is_left_alone_and_each_step_is_mixed_anew() -> None:
    network, start = lively(tiny("encoder")), parameters_of(lively(tiny("encoder"), seed=1))
    name = "stack.embedding.tokens.weight"
    without = {key: tensor for key, tensor in start.items() if key != name}
    first = parameters_of(pulled(network, without).compute)
    assert torch.equal(first[name], parameters_of(network)[name])
    other = "stack.blocks.0.feed_forward.branch.up.weight"
    weights = pulled(network, start, step=3)
    third = parameters_of(weights.compute)[other]
    weights.publish()
    fourth = parameters_of(weights.compute)[other]
    assert not torch.equal(third, fourth)
    assert torch.equal(parameters_of(pulled(network, start, step=4).compute)[other], fourth)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_validated_is_not_mixed(precision: Precision) -> None:
    network, start = lively(tiny("encoder")), parameters_of(lively(tiny("encoder"), seed=1))
    weights = pulled(network, start, precision=precision)
    exact = parameters_of(weights.exact())
    expected = parameters_of(TrainedWeights(network, precision).compute)
    assert len(exact) > 10 and all(torch.equal(exact[name], expected[name]) for name in exact)
    mixed = parameters_of(weights.compute)
    assert any(not torch.equal(exact[name], mixed[name]) for name in exact)


def test_without_mixout_the_weights_are_what_they_were() -> None:
    network = lively(tiny("encoder"))
    weights = trained_weights(network, "float32", mixout=0.0, start={}, key=Key(0), step=0)
    assert type(weights) is TrainedWeights and weights.compute is network is weights.exact()


def _train(attempt: Trial, start: dict[str, Tensor], accumulation: int) -> list[StepReport]:
    weights = trained_weights(attempt.network, "float32", mixout=0.5, start=start, key=Key(0), step=0)
    return list(
        train_steps(
            weights,
            attempt.objective,
            attempt.optimiser,
            map(attempt.batch, range(10)),
            start=0,
            lr=lambda step: 3e-3,
            accumulation=accumulation,
            max_gradient_norm=1.0,
            key=Key(0),
        )
    )


def test_accumulation_changes_nothing_but_memory() -> None:
    start = parameters_of(trial(run_config("decoder-tiny", seed=5)).network)
    whole, parts = (_train(trial(run_config("decoder-tiny")), start, accumulation) for accumulation in (1, 4))
    assert len(whole) == len(parts) == 10
    assert [report.loss for report in parts] == pytest.approx([report.loss for report in whole], abs=1e-5)
    assert [r.gradient_norm for r in parts] == pytest.approx([r.gradient_norm for r in whole], rel=1e-4)


def test_killed_and_resumed_a_run_with_mixout_ends_with_the_same_bits(tmp_path: Path) -> None:
    run(config_of(steps=4), tmp_path / "earlier")
    config = config_of(steps=8).model_copy(update={"start_from": str(tmp_path / "earlier"), "mixout": 0.5, "seed": 4})
    run(config, tmp_path / "unbroken")
    with pytest.raises(Killed):
        run(config, tmp_path / "broken", progress=KilledAt(5))
    run(config, tmp_path / "broken", resume=True, start=None)  # the start is in the checkpoint
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "unbroken")
    plain = config.model_copy(update={"mixout": 0.0})
    run(plain, tmp_path / "plain")
    assert model_bytes(tmp_path / "plain") != model_bytes(tmp_path / "unbroken")
    began = load_model(tmp_path / "earlier" / "model").network
    assert (checkpoints(tmp_path / "unbroken")[-1] / "start.safetensors").read_bytes() == (
        tmp_path / "earlier" / "model" / "weights.safetensors"
    ).read_bytes()
    assert len(parameters_of(began)) > 10
    assert not (checkpoints(tmp_path / "plain")[-1] / "start.safetensors").exists()


def test_mixout_towards_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`mixout` pulls towards"):
        run(config_of().model_copy(update={"mixout": 0.5}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
