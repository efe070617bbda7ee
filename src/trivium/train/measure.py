"""What is found out before step 0: how long a step takes, on throw-away copies, and what the processor can do."""

from collections.abc import Callable
from statistics import mean
from time import perf_counter

import torch

from trivium.core.batch import AnyBatch
from trivium.core.random import Key
from trivium.model.folder import unique_tensors
from trivium.model.initialise import initialise
from trivium.train.averaging import kept_weights
from trivium.train.config import RunConfig
from trivium.train.device import DeviceName
from trivium.train.loop import train_steps
from trivium.train.material import Material, trained_network
from trivium.train.mixout import trained_weights
from trivium.train.optimiser_config import MuonConfig, NorMuonConfig, OptimiserConfig, Precision
from trivium.train.optimisers import build_optimiser

_WARM_STEPS, _MIN_STEPS, _MIN_SECONDS, _BUDGET_SHARE = 2, 4, 2.0, 0.04


def seconds_a_step(
    config: RunConfig,
    material: Material,
    batch: Callable[[int], AnyBatch],
    *,
    budget_seconds: float,
) -> float:
    """Return the mean time of one update of this run, on a network that is thrown away.

    The mean and not the median: a run pays for its slow steps too. A longer run is measured for longer, since a
    machine's speed drifts.
    """
    network = trained_network(config, material)
    key = Key(config.seed).child("measure")
    initialise(network, config.model, key)
    precision, many = config.train.precision, 1_000_000
    weights = trained_weights(network, precision, mixout=config.mixout, start=unique_tensors(network), key=key, step=0)
    kept = kept_weights(weights, config.averaging, precision=precision, steps=many, saved={}, source="")
    steps = train_steps(
        weights,
        material.learned,
        build_optimiser(config.optimiser, network),  # no unfreezing: every step as dear as the last
        map(batch, range(many)),
        start=0,
        lr=lambda step: 0.0,
        accumulation=config.train.accumulation,
        max_gradient_norm=config.train.max_gradient_norm,
        key=key,
    )
    for _ in range(_WARM_STEPS):
        next(steps)
    times: list[float] = []
    enough = max(min(_MIN_SECONDS, 0.2 * budget_seconds), _BUDGET_SHARE * min(budget_seconds, 600.0))
    while len(times) < _MIN_STEPS or sum(times) < enough:
        begun = perf_counter()
        kept.update(next(steps).step)
        times.append(perf_counter() - begun)
    return mean(times)


def settled_precision(precision: Precision, device: DeviceName = "cpu") -> Precision:
    """Return the type to compute in; auto is bfloat16 where this device multiplies it in hardware."""
    if precision == "auto":
        return "bfloat16" if bfloat16_is_native(device) else "float32"
    return precision


def settled_optimiser(config: OptimiserConfig, device: DeviceName = "cpu") -> OptimiserConfig:
    """Return the optimiser with the type it computes in decided."""
    if isinstance(config, MuonConfig | NorMuonConfig):
        return config.model_copy(update={"precision": settled_precision(config.precision, device)})
    return config


def bfloat16_is_native(device: DeviceName = "cpu") -> bool:
    """Return whether this device multiplies bfloat16 matrices in hardware (elsewhere it is slower than float32)."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
