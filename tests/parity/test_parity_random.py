"""Options of small models changed at random: what `write_folder` accepts, transformers computes as we do."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_cases import CASES, close, our_logits, same, their_logits

from trivium.core.errors import HubError
from trivium.hub.compare import differences
from trivium.hub.families import family_of, read_config
from trivium.hub.folder import SpecialIds, read_folder, write_folder
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.folder import unique_tensors

LAYER, RMS = {"kind": "layer_norm", "eps": 0.1}, {"kind": "rms_norm", "eps": 0.1}
SCALED = {"factor": 3.0, "original_length": 8}
# Values that change numbers visibly.
VALUES: dict[str, tuple[Any, ...]] = {
    "eps": (0.3, 1e-5),
    "bias": (True, False),
    "output_bias": (None, True, False),
    "scale": (None, 1.0, 0.7),
    "soft_cap": (None, 2.0),
    "window": (None, 3, 5),
    "activation": ("gelu", "gelu_tanh", "relu", "relu_squared", "silu", "tanh"),
    "placement": ("pre", "post", "sandwich", "output"),
    "first_norm": (True, False),
    "final_norm": (None, LAYER, RMS),
    "norm": (None, LAYER, RMS, {**LAYER, "bias": False}),
    "tied": (True, False),
    "base": (20.0, 777.0),
    "share": (0.5, 1.0),
    "scaling": (None, {"kind": "linear", "factor": 3.0}, {"kind": "yarn", **SCALED}, {"kind": "llama3", **SCALED}),
    "query_key_norm": (None, LAYER, RMS),
    "num_heads": (2, 4),
    "num_key_value_heads": (1, 2, 4),
    "head_size": (4, 8, 12),
    "arrangement": ({"kind": "parallel"}, {"kind": "sequential"}),
    "sharing": ({"kind": "unshared"}, {"kind": "consecutive", "num_blocks": 1}, {"kind": "looped", "num_blocks": 1}),
    "num_segments": (0, 1, 2),
    "offset": (0, 1, 2, 5),
    "transform": (None, {"activation": "gelu"}, {"activation": "gelu", "norm": LAYER}),
    "embedding_size": (None, 8),
    "size": (9, 16),
    "num_layers": (1, 2, 4),
    "position": (None, {"kind": "rotary", "base": 33.0}, {"kind": "none"}),
    "feed_forward": (
        {"kind": "plain", "size": 9, "activation": "silu"},
        {"kind": "gated", "size": 9, "activation": "relu"},
    ),
}


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a configuration there is an option to change."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        if key in VALUES:
            yield (*path, key)
        yield from places(child, (*path, key))


def change(tree: dict[str, Any], rng: random.Random) -> None:
    """Give one option another value."""
    *path, last = rng.choice(list(places(tree)))
    node: Any = tree
    for key in path:
        node = node[key]
    node[last] = rng.choice(VALUES[last])


def changed(config: ModelConfig, rng: random.Random) -> ModelConfig | None:
    """The configuration with one to three options changed, in some layers only; None = nothing we can build."""
    tree = config.model_dump(mode="json")
    if rng.random() < 0.3:
        for stack in tree["family"].values():
            if isinstance(stack, dict):
                stack["pattern"] = stack["pattern"] * 2
    for _ in range(rng.choice((1, 1, 2, 3))):
        change(tree, rng)
    try:
        return ModelConfig.model_validate(tree)
    except ValueError:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_is_what_transformers_computes(seed: int, tmp_path: Path) -> None:
    rng, written, refused = random.Random(f"parity {seed}"), 0, 0
    for trial in range(120):
        case = rng.choice(CASES)
        theirs = case.config(rng.choice((0, 1))).to_dict()
        config = changed(read_config(family_of(theirs), theirs), rng)
        if config is None:
            continue
        folder, model_type = tmp_path / str(trial), rng.choice((None, theirs["model_type"]))
        folder.mkdir()
        torch.manual_seed(trial)
        network = build_network(config).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter.detach(), std=0.3)
        offset = getattr(config.stacks()[0].position, "offset", 0)
        ids = SpecialIds(pad=max(offset - 1, 0), bos=1, eos=(2,), decoder_start=0)
        try:
            write_folder(folder, config, unique_tensors(network), ids=ids, model_type=model_type)
        except HubError:
            refused += 1
            continue
        model, report = case.auto.from_pretrained(folder, output_loading_info=True)
        assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        close(our_logits(network, case, trial), their_logits(model.eval(), case, trial))
        read = read_folder(folder)
        assert differences(read.config, config) == []
        same(read.tensors, unique_tensors(network))
        written += 1
    assert written >= 20 and refused >= 20
