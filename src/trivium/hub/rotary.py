"""Rotary positions in config.json: `rope_parameters`, and the `rope_theta` and `rope_scaling` that came before it."""

import math
from typing import Any, assert_never

from trivium.core.errors import HubError
from trivium.hub.options import Tree, option
from trivium.model.parts import (
    LinearScaling,
    Llama3Scaling,
    NtkScaling,
    Position,
    Rotary,
    RotaryScaling,
    YarnScaling,
)


def read_rotary(
    tree: Tree, *, base: float = 10_000.0, share: float = 1.0, max_length: int, partial: bool = False
) -> Rotary:
    """Return the positions that the options say.

    Args:
        tree: config.json.
        base: the family's own, where the options have none.
        share: likewise, of each head.
        max_length: what a scaling was made from where it does not say.
        partial: whether the family can turn a part of each head.

    Raises:
        HubError: a scaling that depends on the length of the text, or another that we do not have.
    """
    old, new = option(tree, "rope_scaling", {}), option(tree, "rope_parameters", {})
    if any(isinstance(value, dict) for value in new.values()):
        raise HubError("config.json: `rope_parameters` that differ by layer are not supported in this family.")
    found = {"rope_theta": option(tree, "rope_theta", base), **_known(tree, "partial_rotary_factor"), **new, **old}
    share = option(found, "partial_rotary_factor", share)
    if share != 1.0 and not partial:
        raise HubError(f"config.json: `partial_rotary_factor` {share} is not supported in this family: expected 1.0.")
    found |= _known(tree, "original_max_position_embeddings")
    return Rotary(base=option(found, "rope_theta", base), share=share, scaling=_scaling(found, max_length=max_length))


def write_rotary(position: Position, *, partial: bool = False) -> Tree:
    """Return `rope_parameters`; of positions that are not rotary, those of the plainest that are."""
    rotary = position if isinstance(position, Rotary) else Rotary()
    share = {"partial_rotary_factor": rotary.share} if partial else {}
    return {"rope_theta": rotary.base, **share, **_scaling_options(rotary.scaling)}


def _known(tree: Tree, key: str) -> dict[str, Any]:
    return {} if tree.get(key) is None else {key: tree[key]}


def _scaling(found: Tree, *, max_length: int) -> RotaryScaling | None:
    kind = option(found, "rope_type", option(found, "type", "default"))
    original = option(found, "original_max_position_embeddings", max_length)
    match kind:
        case "default":
            return None
        case "linear":
            return LinearScaling(factor=found["factor"])
        case "llama3":
            return Llama3Scaling(
                factor=found["factor"],
                original_length=original,
                low_frequency_factor=found["low_freq_factor"],
                high_frequency_factor=found["high_freq_factor"],
            )
        case "yarn":
            factor = option(found, "factor", max_length / original)
            return YarnScaling(
                factor=factor,
                original_length=original,
                beta_fast=option(found, "beta_fast", 32) or 32,
                beta_slow=option(found, "beta_slow", 1) or 1,
                attention_factor=_attention_factor(found, factor),
                truncate=option(found, "truncate", True),
            )
        case _:
            raise HubError(f"config.json: `rope_type` {kind!r} is not supported: default, linear, llama3, yarn are.")


def _attention_factor(found: Tree, factor: float) -> float | None:
    """Return what DeepSeek's form of YaRN says in two numbers as the one that it comes to."""
    if found.get("attention_factor") is not None:
        return float(found["attention_factor"])
    own, all_sizes = found.get("mscale"), found.get("mscale_all_dim")
    if not own or not all_sizes or factor <= 1.0:
        return None
    return (0.1 * own * math.log(factor) + 1.0) / (0.1 * all_sizes * math.log(factor) + 1.0)


def _scaling_options(scaling: RotaryScaling | None) -> Tree:
    match scaling:
        case None | NtkScaling():  # the latter is theirs only where it depends on the length of the text
            return {"rope_type": "default"}
        case LinearScaling(factor=factor):
            return {"rope_type": "linear", "factor": factor}
        case Llama3Scaling():
            return {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_length,
                "low_freq_factor": scaling.low_frequency_factor,
                "high_freq_factor": scaling.high_frequency_factor,
            }
        case YarnScaling():
            known = {} if scaling.attention_factor is None else {"attention_factor": scaling.attention_factor}
            return known | {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_length,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "truncate": scaling.truncate,
            }
        case _:
            assert_never(scaling)
