"""Maximal update parametrisation: what the architecture says of it, how weights begin, what it refuses."""

import pytest
import torch

from support import lively, logits_of, packed_batch, parameters_of, shrink, tiny
from trivium.core.config import override, parse
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig, MuP
from trivium.model.initialise import initialise
from trivium.model.parametrise import width_ratio, written_out
from trivium.model.presets import preset


def wide(family: str = "decoder", **settings: int) -> ModelConfig:
    return ModelConfig.model_validate(tiny(family).model_dump() | {"parametrisation": MuP(**settings).model_dump()})


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
def test_at_the_base_width_it_is_the_standard_one(family: str) -> None:
    config = wide(family, base_hidden_size=32, base_head_size=8)
    assert width_ratio(config) == 1.0
    network, plain = build_network(config), build_network(tiny(family))
    initialise(network, config, Key(1))
    initialise(plain, tiny(family), Key(1))
    batch = packed_batch(family)
    torch.testing.assert_close(logits_of(network, batch), logits_of(plain, batch))


def test_logits_and_scores_are_scaled_down() -> None:
    config = wide("encoder_decoder", base_hidden_size=8, base_head_size=2)
    plain = written_out(config)
    assert plain.parametrisation is None
    assert plain.head.scale == 0.25
    blocks = [block for stack in plain.stacks() for block in stack.pattern]
    scales = {a.scale for block in blocks for a in (block.attention, block.cross_attention) if a is not None}
    assert scales == {2**0.5 / 8}
    assert written_out(plain) == plain
    batch = packed_batch("encoder_decoder")
    network, other = lively(config), lively(plain)
    torch.testing.assert_close(logits_of(network, batch), logits_of(other, batch))
    assert {a.scale for a in [written_out(wide(base_hidden_size=8)).stacks()[0].pattern[0].attention]} == {None}


def test_matrices_between_hidden_states_begin_smaller() -> None:
    config, plain = wide(base_hidden_size=8), tiny("decoder")
    one, other = build_network(config), build_network(plain)
    initialise(one, config, Key(4))
    initialise(other, plain, Key(4))
    found = parameters_of(other)
    assert found
    for name, value in parameters_of(one).items():
        factor = 0.5 if ".branch." in name and value.ndim == 2 else 1.0
        torch.testing.assert_close(value, factor * found[name])


def test_what_it_cannot_scale_is_refused() -> None:
    cases = {
        "t5-small": "initialisation.kind",
        "albert-base": "embedding_size",
    }
    for name, word in cases.items():
        tree = shrink(preset(name)).model_dump(mode="json", exclude_none=True)
        with pytest.raises(ConfigError, match=word):
            parse(ModelConfig, tree | {"parametrisation": {"base_hidden_size": 64}}, "here")
    tree = tiny("decoder").model_dump(mode="json", exclude_none=True)
    expert = {"kind": "gated", "size": 16, "activation": "silu"}
    experts = {"kind": "mixture_of_experts", "num_experts": 2, "top_k": 1, "expert": expert}
    tree["family"]["stack"]["pattern"][0]["feed_forward"] = experts
    assert parse(ModelConfig, tree, "here")
    with pytest.raises(ConfigError, match="router"):
        parse(ModelConfig, override(tree, ["parametrisation.base_hidden_size=64"]), "here")
