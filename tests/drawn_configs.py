"""Architectures drawn at random from all of the configuration space, a few layers small."""

import math
import random
from collections.abc import Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from support import MAX_LENGTH, VOCABULARY_SIZE
from trivium.core.config import Config
from trivium.model.config import ModelConfig

Tree = dict[str, Any]
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "relu_squared", "silu", "tanh")


@cache
def drawn_config(seed: int) -> ModelConfig:
    """A network that the configuration allows; what it refuses is drawn again."""
    rng = random.Random(f"architecture {seed}")
    # Once: two stacks are refused more often than one, and would be rare.
    family = rng.choice(("encoder", "decoder", "encoder_decoder"))
    for _ in range(200):
        try:
            tree = _model(rng, family)
            config = ModelConfig.model_validate(tree)
        except ValueError:
            continue
        return _scaled(rng, tree) or config
    raise AssertionError(f"200 draws of seed {seed} were all refused")


def _scaled(rng: random.Random, tree: Tree) -> ModelConfig | None:
    """The same network with muP, now and then; None where it is refused: to draw anew would make experts rare."""
    mup = {"base_hidden_size": 8, "base_head_size": rng.choice((None, 4))}
    try:
        return ModelConfig.model_validate(tree | {"parametrisation": mup}) if rng.random() < 0.5 else None
    except ValueError:
        return None


def choices_of(config: Config) -> Iterator[tuple[str, str, str]]:
    """Every (class, field, choice) that a configuration makes; numbers are one choice."""
    for field in type(config).model_fields:
        value = getattr(config, field)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Config):
                yield type(config).__name__, field, type(item).__name__
                yield from choices_of(item)
            elif field != "kind":
                number = isinstance(item, int | float) and not isinstance(item, bool)
                yield type(config).__name__, field, "number" if number else str(item)


def all_choices(kind: type[Config]) -> set[tuple[str, str, str]]:
    """Every (class, field, choice) that there is below a configuration class, from its annotations."""
    found: set[tuple[str, str, str]] = set()
    for field, info in kind.model_fields.items():
        if field == "kind":
            continue
        for option in _options(info.annotation):
            if isinstance(option, type) and issubclass(option, Config):
                found |= {(kind.__name__, field, option.__name__)} | all_choices(option)
            else:
                found.add((kind.__name__, field, str(option)))
    return found


def _options(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Literal:
        yield from get_args(annotation)
    elif origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType, tuple):
        for argument in get_args(annotation):
            if argument is not Ellipsis:
                yield from _options(argument)
    elif annotation is bool:
        yield from (True, False)
    elif annotation is NoneType:
        yield None
    elif annotation in (int, float):
        yield "number"
    else:
        yield annotation


def _model(rng: random.Random, family: str) -> Tree:
    if family == "encoder_decoder":
        stacks = {"encoder": _stack(rng, cross=False), "decoder": _stack(rng, cross=True)}
    else:
        stacks = {"stack": _stack(rng, cross=False)}
    normal = {"kind": "normal", "std": 0.05, "residual": rng.choice(("equal", "scaled", "zero"))}
    transform = {"activation": rng.choice(ACTIVATIONS), "norm": _maybe(rng, _norm), "bias": _flip(rng)}
    return {
        "vocabulary_size": VOCABULARY_SIZE,
        "hidden_size": rng.choice((16, 24, 32)),
        "embedding_size": rng.choice((None, None, 12)),
        "max_length": MAX_LENGTH,
        "family": {"kind": family, **stacks},
        "head": {
            "tied": _flip(rng),
            "bias": _flip(rng),
            "scale": rng.choice((1.0, 0.5)),
            "soft_cap": rng.choice((None, 30.0)),
            "trained": rng.random() < 0.9,
            "transform": transform if _flip(rng) else None,
        },
        "initialisation": normal if rng.random() < 0.8 else {"kind": "t5", "factor": rng.choice((1.0, 0.5))},
    }


def _stack(rng: random.Random, *, cross: bool) -> Tree:
    position = _position(rng)
    mixed = position["kind"] in ("rotary", "none")
    sharing = rng.choice(("unshared", "unshared", "unshared", "consecutive", "looped"))
    shared = {} if sharing == "unshared" else {"num_blocks": rng.choice((1, 2))}
    return {
        "num_layers": 2 if sharing == "unshared" else rng.choice((2, 4)),
        "pattern": [_block(rng, cross=cross, mixed=mixed) for _ in range(rng.choice((1, 1, 2)))],
        "sharing": {"kind": sharing, **shared},
        "position": position,
        "embedding": {
            "scale": rng.choice((1.0, math.sqrt(32))),
            "num_segments": rng.choice((0, 2)),
            "norm": _maybe(rng, _norm),
            "dropout": _rate(rng),
        },
        "first_norm": rng.random() < 0.6,
        "stochastic_depth": _rate(rng),
        "final_norm": _maybe(rng, _norm, share=0.7),
        "final_dropout": _rate(rng),
    }


def _block(rng: random.Random, *, cross: bool, mixed: bool) -> Tree:
    other = rng.choice((None, _rotary(rng), {"kind": "none"})) if mixed else None
    feed_forward = _experts(rng) if rng.random() < 0.25 else _feed_forward(rng, rng.choice((24, 40)))
    parallel = {"kind": "parallel", "shared_norm": _flip(rng)}
    return {
        "attention": _attention(rng, window=True),
        "cross_attention": _attention(rng, window=False) if cross else None,
        "feed_forward": feed_forward,
        "norm": _norm(rng),
        "placement": rng.choice(("pre", "post", "sandwich", "output")),
        "arrangement": parallel if rng.random() < 0.35 else {"kind": "sequential"},
        "residual": rng.choice(
            (
                {"kind": "sum", "scale": rng.choice((1.0, 0.5))},
                {"kind": "layer_scale", "start": rng.choice((0.0, 0.1))},
                {"kind": "deep_norm", "alpha": 1.4, "beta": 0.5},
            )
        ),
        "position": other,
        "dropout": _rate(rng),
    }


def _attention(rng: random.Random, *, window: bool) -> Tree:
    heads = rng.choice((2, 3, 4))
    return {
        "num_heads": heads,
        "num_key_value_heads": rng.choice([groups for groups in (1, 2, 3, 4) if heads % groups == 0]),
        "head_size": rng.choice((4, 8)),
        "bias": _flip(rng),
        "output_bias": rng.choice((None, True, False)),
        "scale": rng.choice((None, 0.3)),
        "window": rng.choice((None, 3, 5)) if window else None,
        "query_key_norm": _maybe(rng, _norm),
        "soft_cap": rng.choice((None, None, 8.0)),
        "output_gate": _flip(rng),
        "dropout": _rate(rng),
    }


def _feed_forward(rng: random.Random, size: int) -> Tree:
    kind = rng.choice(("plain", "gated"))
    return {
        "kind": kind,
        "size": size,
        "activation": rng.choice(ACTIVATIONS),
        "bias": _flip(rng),
        "dropout": _rate(rng),
    }


def _experts(rng: random.Random) -> Tree:
    experts = rng.choice((2, 3, 4))
    return {
        "kind": "mixture_of_experts",
        "num_experts": experts,
        "top_k": rng.choice((1, 2, experts)),
        "expert": _feed_forward(rng, 20),
        "normalise": _flip(rng),
        "balance_weight": rng.choice((0.0, 0.01, 1.0)),
    }


def _position(rng: random.Random) -> Tree:
    offset = rng.choice((0, 2))
    return rng.choice(
        (
            {"kind": "learned", "max_length": MAX_LENGTH + offset, "offset": offset},
            {"kind": "sinusoidal"},
            _rotary(rng),
            _rotary(rng),
            _rotary(rng),
            {"kind": "alibi"},
            {"kind": "relative_buckets", "num_buckets": 8, "max_distance": 12, "bidirectional": _flip(rng)},
            {"kind": "none"},
        )
    )


def _rotary(rng: random.Random) -> Tree:
    factor = rng.choice((1.0, 2.0, 8.0))
    scaling = rng.choice(
        (
            None,
            {"kind": "linear", "factor": factor},
            {"kind": "ntk", "factor": factor},
            {
                "kind": "yarn",
                "factor": factor,
                "original_length": 16,
                "attention_factor": rng.choice((None, 1.1)),
                "truncate": _flip(rng),
            },
            {"kind": "llama3", "factor": factor, "original_length": 16},
        )
    )
    return {"kind": "rotary", "base": rng.choice((100.0, 1e4)), "share": rng.choice((0.5, 1.0)), "scaling": scaling}


def _norm(rng: random.Random) -> Tree:
    kind = rng.choice(("layer_norm", "rms_norm"))
    return {"kind": kind, "eps": rng.choice((1e-6, 1e-3)), "weight": rng.random() < 0.7, "bias": _flip(rng)}


def _maybe(rng: random.Random, draw: Any, share: float = 0.5) -> Tree | None:
    return draw(rng) if rng.random() < share else None


def _flip(rng: random.Random) -> bool:
    return rng.random() < 0.5


def _rate(rng: random.Random) -> float:
    return rng.choice((0.0, 0.3))
