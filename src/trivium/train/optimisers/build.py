"""Optimisers from their configuration: which parameters go together, and what each of them is handed."""

from collections.abc import Mapping
from typing import Any, NamedTuple, assert_never

import torch
from torch import Tensor, nn

from trivium.model.roles import block_matrices
from trivium.train.optimiser_config import (
    AdafactorConfig,
    AdamWConfig,
    LambConfig,
    LionConfig,
    MuonConfig,
    NorMuonConfig,
    OptimiserConfig,
)
from trivium.train.optimisers.adafactor import Adafactor
from trivium.train.optimisers.adamw import CautiousAdamW, FusedAdamW
from trivium.train.optimisers.base import Group, Optimiser
from trivium.train.optimisers.lamb import Lamb
from trivium.train.optimisers.lion import Lion
from trivium.train.optimisers.muon import Muon


class Pace(NamedTuple):
    """How one parameter is trained other than the rest.

    Args:
        scale: multiplies the learning rate.
        decay: multiplies the weight decay.
        first_step: updates, counted from 0, before which it stays as it is.
    """

    scale: float = 1.0
    decay: float = 1.0
    first_step: int = 0


class _Kind(NamedTuple):
    """Parameters of one kind are updated alike."""

    orthogonal: bool
    vector: bool
    pace: Pace


def build_optimiser(config: OptimiserConfig, network: nn.Module, paces: Mapping[str, Pace] | None = None) -> Optimiser:
    """Return the optimiser of all trained parameters; matrices are decayed, vectors (norms, biases) are not.

    Args:
        config: which, and its settings.
        network: what is trained.
        paces: of the parameters, by name, that are not trained like the rest.
    """
    matrices = block_matrices(network) if isinstance(config, MuonConfig | NorMuonConfig) else {}
    kinds: dict[_Kind, dict[str, Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            kind = _Kind(name in matrices, parameter.ndim < 2, (paces or {}).get(name, Pace()))
            kinds.setdefault(kind, {})[name] = parameter
    groups = [_group(config, kind, kinds[kind], matrices) for kind in sorted(kinds, key=lambda k: (not k[0], *k[1:]))]
    optimiser = _build(config, groups)
    set_lr(optimiser, config.lr)
    return optimiser


def _group(
    config: OptimiserConfig, kind: _Kind, parameters: Mapping[str, Tensor], matrices: Mapping[str, tuple[int, ...]]
) -> Group:
    """Return the parameters of one kind with the settings that are theirs alone."""
    scale = kind.pace.scale
    group: Group = {}
    if isinstance(config, MuonConfig | NorMuonConfig):
        if not kind.orthogonal and config.vector_lr is not None:
            scale *= config.vector_lr / config.lr
        parts = {id(p): matrices[name] for name, p in parameters.items() if name in matrices}
        group = {"orthogonal": kind.orthogonal, "parts": parts}
    return group | {
        "params": list(parameters.values()),
        "scale": scale,
        "peak_decay": 0.0 if kind.vector else config.weight_decay * kind.pace.decay,
        "first_step": kind.pace.first_step,
    }


def _build(config: OptimiserConfig, groups: list[Group]) -> Optimiser:
    match config:
        case AdamWConfig(cautious=False, cautious_decay=False):
            return FusedAdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)
        case AdamWConfig():
            return CautiousAdamW(groups, **_adam_settings(config, cautious=config.cautious), lr=config.lr)
        case MuonConfig() | NorMuonConfig():
            return Muon(
                groups,
                lr=config.lr,
                momentum=config.momentum,
                nesterov=config.nesterov,
                iterations=config.iterations,
                dtype=torch.bfloat16 if config.precision == "bfloat16" else torch.float32,
                row_beta=config.row_beta if isinstance(config, NorMuonConfig) else None,
                **_adam_settings(config, cautious=False),
            )
        case LambConfig():
            return Lamb(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)
        case AdafactorConfig():
            return Adafactor(groups, **config.model_dump(exclude={"kind", "weight_decay", "decay_schedule"}))
        case LionConfig():
            return Lion(groups, lr=config.lr, betas=(config.beta1, config.beta2), cautious_decay=config.cautious_decay)
        case _:
            assert_never(config)


def _adam_settings(config: AdamWConfig | MuonConfig | NorMuonConfig, *, cautious: bool) -> dict[str, Any]:
    return {
        "betas": (config.beta1, config.beta2),
        "eps": config.eps,
        "cautious": cautious,
        "cautious_decay": config.cautious_decay,
    }


def set_lr(optimiser: Optimiser, lr: float, *, decay: float = 1.0) -> None:
    """Use this learning rate, times each group's scale, for the next update.

    Args:
        optimiser: from `build_optimiser`.
        lr: of parameters whose scale is 1.
        decay: share of the weight decay.
    """
    for group in optimiser.param_groups:
        group["lr"] = lr * group["scale"]
        group["weight_decay"] = group["peak_decay"] * decay


def drop_frozen(optimiser: Optimiser, step: int) -> None:
    """Forget the gradients of parameters whose first step is still to come.

    Without a gradient an optimiser neither moves nor decays a parameter and keeps nothing of it: when its step comes,
    it begins as at step 0.
    """
    for group in optimiser.param_groups:
        if group["first_step"] > step:
            for parameter in group["params"]:
                parameter.grad = None
