"""Averages of the weights against sums written out, and runs that keep an average in place of their weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from run_support import STEPS, config_of, log_of, model_bytes, run

from stopping import Killed, KilledAt
from support import parameters_of
from training import Trial, run_config, trial
from trivium.core.config import override, parse
from trivium.core.errors import CheckpointError
from trivium.core.random import Key
from trivium.train.averaging import Averaged, Kept, Latest, kept_weights, newest_share
from trivium.train.checkpoint import checkpoints
from trivium.train.config import AveragingConfig, EmaConfig, Precision, RunConfig, TailConfig
from trivium.train.loop import train_steps
from trivium.train.precision import TrainedWeights

AVERAGES: tuple[AveragingConfig, ...] = (EmaConfig(decay=0.8), EmaConfig(decay=0.6, warmup=0), TailConfig(share=0.5))


def with_averaging(config: RunConfig, averaging: AveragingConfig) -> RunConfig:
    return config.model_copy(update={"averaging": averaging})


def followed(
    attempt: Trial, averaging: AveragingConfig | None, precision: Precision = "float32"
) -> tuple[Kept, list[dict[str, torch.Tensor]]]:
    """Train for some steps with an average beside; return it and the weights before the first step and after each."""
    weights = TrainedWeights(attempt.network, precision)
    kept = kept_weights(weights, averaging, precision=precision, steps=STEPS, saved={}, source="")
    seen = [parameters_of(attempt.network)]
    reports = train_steps(
        weights,
        attempt.objective,
        attempt.optimiser,
        map(attempt.batch, range(STEPS)),
        start=0,
        lr=lambda step: 3e-3,
        accumulation=1,
        max_gradient_norm=1.0,
        key=Key(0),
    )
    for report in reports:
        kept.update(report.step)
        seen.append(parameters_of(attempt.network))
    return kept, seen


@pytest.mark.parametrize("warmup", [0, 9])
def test_the_running_average_is_the_sum_that_its_decays_make(warmup: int) -> None:
    decay = 0.7
    kept, seen = followed(trial(run_config("decoder-tiny")), EmaConfig(decay=decay, warmup=warmup))
    decays = [min(decay, n / (n + warmup)) for n in range(1, STEPS + 1)]
    # What the weights before the first step and after each have in the end.
    shares = [np.prod(decays), *((1 - d) * np.prod(decays[n:]) for n, d in enumerate(decays, start=1))]
    assert len(shares) == len(seen) == STEPS + 1 and sum(shares) == pytest.approx(1.0)
    averaged = parameters_of(kept.network)
    assert len(averaged) > 10
    for name, tensor in averaged.items():
        exact = sum(share * weights[name].double() for share, weights in zip(shares, seen, strict=True))
        torch.testing.assert_close(tensor.double(), exact, rtol=1e-5, atol=1e-7)
        assert not torch.equal(tensor, seen[-1][name])


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (1.0, STEPS), (1e-6, 1)])
def test_the_tail_average_is_the_mean_of_the_last_weights(share: float, count: int) -> None:
    kept, seen = followed(trial(run_config("decoder-tiny")), TailConfig(share=share))
    averaged = parameters_of(kept.network)
    assert len(averaged) > 10
    for name, tensor in averaged.items():
        mean = torch.stack([weights[name].double() for weights in seen[-count:]]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-5, atol=1e-7)


def test_before_its_tail_an_average_is_the_weights_themselves() -> None:
    shares = [newest_share(TailConfig(share=0.3), step, 10) for step in range(1, 11)]
    assert shares == pytest.approx([1.0] * 8 + [1 / 2, 1 / 3])


def test_no_average_is_the_network_itself() -> None:
    attempt = trial(run_config("decoder-tiny"))
    kept, _ = followed(attempt, None)
    assert isinstance(kept, Latest)
    assert kept.network is kept.computing() is attempt.network
    assert kept.tensors() == {}


def test_an_average_of_a_bfloat16_run_is_kept_in_float32_and_validated_in_bfloat16() -> None:
    attempt = trial(run_config("decoder-tiny", precision="bfloat16"))
    kept, seen = followed(attempt, TailConfig(share=0.5), "bfloat16")
    assert isinstance(kept, Averaged)
    rounded = parameters_of(kept.computing())
    for name, tensor in parameters_of(kept.network).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(rounded[name], tensor.bfloat16())
        mean = torch.stack([weights[name].double() for weights in seen[-6:]]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("averaging", AVERAGES, ids=str)
def test_killed_and_resumed_a_run_with_an_average_ends_with_the_same_bits(
    averaging: AveragingConfig, tmp_path: Path
) -> None:
    config = with_averaging(config_of("bert-tiny"), averaging)
    results = run(config, tmp_path / "unbroken")
    killed = 0
    for step in (2, 5, 9, 11, None):
        try:
            again = run(config, tmp_path / "broken", resume=True, **({"progress": KilledAt(step)} if step else {}))
        except Killed:
            killed += 1
    assert killed == 4
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "unbroken")
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in results.items() if k != "seconds"}


@pytest.mark.parametrize("averaging", AVERAGES, ids=str)
def test_the_weights_go_on_as_if_nobody_averaged_and_the_average_is_kept(
    averaging: AveragingConfig, tmp_path: Path
) -> None:
    run(config_of(), tmp_path / "plain")
    run(with_averaging(config_of(), averaging), tmp_path / "averaged")
    last, averaged = (checkpoints(tmp_path / name)[-1] for name in ("plain", "averaged"))
    assert (last / "weights.safetensors").read_bytes() == (averaged / "weights.safetensors").read_bytes()
    assert (last / "optimiser.safetensors").read_bytes() == (averaged / "optimiser.safetensors").read_bytes()
    assert not (last / "average.safetensors").exists()
    model = (tmp_path / "averaged" / "model" / "weights.safetensors").read_bytes()
    assert model == (averaged / "average.safetensors").read_bytes() != (averaged / "weights.safetensors").read_bytes()
    plain_loss, loss = (
        [line["loss"] for line in log_of(tmp_path / name) if line.get("split") == "validation"]
        for name in ("plain", "averaged")
    )
    assert len(loss) == 3 and loss != plain_loss
    # What is logged last is what is kept.
    kept = json.loads((tmp_path / "averaged" / "results.json").read_text())["valid"]["loss"]
    assert kept == pytest.approx(loss[-1], rel=1e-5)  # type: ignore[arg-type]


def test_a_checkpoint_whose_average_is_of_another_model_is_refused(tmp_path: Path) -> None:
    weights = TrainedWeights(trial(run_config("decoder-tiny")).network, "float32")
    with pytest.raises(CheckpointError, match="another model"):
        kept_weights(weights, EmaConfig(), precision="float32", steps=3, saved={"a": torch.zeros(2)}, source="there")


def test_an_average_is_a_value_of_the_recipe() -> None:
    tree = run_config().model_dump(mode="json", exclude_none=True)
    config = parse(RunConfig, override(tree, ["averaging.kind=ema", "averaging.decay=0.5"]), "recipe")
    assert config.averaging == EmaConfig(decay=0.5)
    config = parse(RunConfig, override(tree, ['averaging={kind = "tail", share = 0.1}']), "recipe")
    assert config.averaging == TailConfig(share=0.1)
