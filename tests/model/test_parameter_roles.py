"""What parameters are for: matrices of blocks, and depths."""

import pytest

from support import shrink, tiny
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ReadoutConfig, TransformConfig
from trivium.model.presets import PRESETS, preset
from trivium.model.roles import block_matrices, hidden_matrices, layer_depths, readout_matrices
from trivium.tasks.build import build_model, build_task


@pytest.mark.parametrize("name", PRESETS)
def test_the_matrices_of_the_blocks_are_all_linear_layers_in_them(name: str) -> None:
    network = build_network(shrink(preset(name)), device="meta")
    found = block_matrices(network)
    wanted = {key for key, p in network.named_parameters() if ".blocks." in key and p.ndim == 2}
    assert set(found) == wanted != set()
    for key, rows in found.items():
        assert sum(rows) == network.get_parameter(key).shape[0], key
        assert len(rows) == (3 if "qkv" in key else 2 if "key_value" in key or "gate_up" in key else 1)


def test_parts_are_those_of_grouped_queries() -> None:
    parts = block_matrices(build_network(tiny("encoder_decoder", groups=2)))
    assert {rows for name, rows in parts.items() if name.endswith("qkv.weight")} == {(32, 16, 16)}
    assert {rows for name, rows in parts.items() if name.endswith("key_value.weight")} == {(16, 16)}


def test_depths_count_from_the_head() -> None:
    depths = layer_depths(build_network(tiny("encoder", "learned")))
    seen = {
        (name.split(".")[1] + "." + name.split(".")[2] if "blocks" in name else name.rpartition(".")[0]): depth
        for name, depth in depths.items()
    }
    assert seen == {
        "stack.embedding.tokens": 3,
        "stack.embedding.positions": 3,
        "blocks.0": 2,
        "blocks.1": 1,
        "stack.final_norm": 0,
    }


def test_an_encoder_lies_below_its_decoder() -> None:
    depths = layer_depths(build_network(tiny("encoder_decoder", "relative_buckets")))
    for stack, first in (("encoder", 4), ("decoder", 2)):
        for number in (0, 1):
            found = {depth for name, depth in depths.items() if name.startswith(f"{stack}.blocks.{number}.")}
            assert found == {first - number}
        assert (
            depths[
                f"{stack}.scores.table.weight"
                if f"{stack}.scores.table.weight" in depths
                else next(name for name in depths if name.startswith(f"{stack}.scores."))
            ]
            == 5
        )
    assert depths["encoder.embedding.tokens.weight"] == 5
    assert {depths[name] for name in depths if name.startswith("decoder.final_norm")} == {0}
    assert {depths[name] for name in depths if name.startswith("encoder.final_norm")} == {3}


def test_blocks_that_layers_share_are_counted_once() -> None:
    network = build_network(shrink(preset("albert-base")))
    assert {depth for name, depth in layer_depths(network).items() if ".blocks." in name} == {1}
    assert layer_depths(network)["stack.embedding.tokens.weight"] == 2


def test_a_task_has_its_head_on_top() -> None:
    readout = ReadoutConfig(transform=TransformConfig(activation="tanh", norm=None))
    config = tiny("encoder")
    model = build_model(
        build_task("classify", ["a", "b"], readout), config, build_network(config).reader, dropout=0.0, key=Key(0)
    )
    depths = layer_depths(model)
    assert {depth for name, depth in depths.items() if name.startswith("head.")} == {0}
    assert depths["reader.embedding.tokens.weight"] == 3
    assert depths["reader.blocks.1.feed_forward.branch.up.weight"] == 1
    assert readout_matrices(model) == {"head.projection.weight"}
    assert hidden_matrices(model) - set(block_matrices(model)) == {"head.transform.dense.weight"}
