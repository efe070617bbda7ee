"""Everything that a step touches is on the run's device."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from every_objective import CASES, small
from one_device import META, OneDevice
from support import SPECIAL, VOCABULARY, made_up_text
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.loader import step_batches
from trivium.data.packing import RowReader
from trivium.model.build import build_network
from trivium.model.initialise import initialise
from trivium.objectives.build import build_objective
from trivium.train.device import CPU, open_device, settled_device
from trivium.train.loop import train_steps
from trivium.train.optimiser_config import OPTIMISERS, AdamWConfig, OptimiserConfig
from trivium.train.optimisers import build_optimiser
from trivium.train.precision import TrainedWeights


def test_what_mixes_devices_is_found() -> None:
    with OneDevice(), pytest.raises(AssertionError, match="on \\['cpu', 'meta'\\]"):
        torch.zeros(3, device=META)[torch.zeros(2, dtype=torch.int64)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_the_steps_of_every_objective_are_on_one_device(name: str, precision: Any) -> None:
    objective = build_objective(CASES[name][1], VOCABULARY._replace(counts_V=lambda: np.arange(VOCABULARY.size)))
    with META:
        network = objective.network(small(name))
    initialise(network, small(name), Key(0))
    weights = TrainedWeights(network, precision)
    optimiser = build_optimiser(AdamWConfig(lr=1e-3), network)
    reader = RowReader(made_up_text(120, seed=5), row_length=48, key=Key(1), pad=SPECIAL.pad)
    batch = step_batches(reader, objective.make, rows_per_step=8, key=Key(2), steps=10)
    assert weights.device == META
    with OneDevice():
        steps = train_steps(
            weights,
            objective,
            optimiser,
            map(batch, range(2)),
            start=0,
            lr=lambda step: 1e-3,
            accumulation=2,
            max_gradient_norm=1.0,
            key=Key(3),
        )
        assert [report.skipped for report in steps] == [False, False]
    assert all(value.device == META for state in optimiser.state.values() for value in state.values() if value.ndim)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_every_optimiser_updates_where_the_weights_are(kind: str) -> None:
    config: OptimiserConfig = TypeAdapter(OptimiserConfig).validate_python({"kind": kind, "lr": 1e-3})
    with META:
        network = build_network(small("masked"))
    optimiser = build_optimiser(config, network)
    with OneDevice():
        for _ in range(2):
            for parameter in network.parameters():
                parameter.grad = torch.zeros_like(parameter)
            optimiser.step()
    assert all(value.device == META for state in optimiser.state.values() for value in state.values() if value.ndim)


def test_without_a_gpu_auto_is_the_processor_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert settled_device("auto") == settled_device("cpu") == "cpu"
    assert open_device("auto") == open_device("cpu") == CPU
    with pytest.raises(ConfigError, match="PyTorch sees no GPU here; device=cpu computes on the processor"):
        open_device("cuda")


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert settled_device("auto") == "cuda" and open_device("auto") == torch.device("cuda", 1) and chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 3 of this machine needs a GPU of its own; found 2"):
        open_device("cuda")
