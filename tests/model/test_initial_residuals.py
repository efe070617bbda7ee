"""How what writes into the residual stream begins: alike, scaled, as nothing, or as DeepNorm has it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from support import packed_batch, parameters_of, tiny
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.heads import Network
from trivium.model.initialise import initialise

STD = 0.04


def architecture(family: str, *, residual: str = "equal", depths: tuple[int, ...] = (2,), **block: Any) -> ModelConfig:
    """Stacks of those depths, 64 hidden units wide."""
    tree = tiny(family, groups=2).model_dump() | {
        "hidden_size": 64,
        "initialisation": {"kind": "normal", "std": STD, "residual": residual},
    }
    stacks = [stack for stack in tree["family"].values() if isinstance(stack, dict)]
    for stack, depth in zip(stacks, depths, strict=True):
        stack["num_layers"] = depth
        stack["pattern"] = [old | block for old in stack["pattern"]]
    return ModelConfig.model_validate(tree)


def begun(config: ModelConfig, seed: int = 0) -> Network:
    network = build_network(config).eval()
    initialise(network, config, Key(seed))
    return network


def check_spread(tensor: Tensor, expected: float, name: str) -> None:
    assert float(tensor.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * tensor.numel())), name


WRITES = ("attention.branch.out.weight", "feed_forward.branch.down.weight")


def test_scaled_counts_the_branches_of_each_stack() -> None:
    # Two branches a layer read, three write.
    network = begun(architecture("encoder_decoder", residual="scaled", depths=(3, 5)))
    checked = 0
    for name, tensor in parameters_of(network).items():
        branches = 3 * 2 if name.startswith("encoder") else 5 * 3
        if tensor.ndim > 1:
            check_spread(tensor, STD / math.sqrt(branches) if name.endswith(WRITES) else STD, name)
            checked += name.endswith(WRITES)
    assert checked == 3 * 2 + 5 * 3


def test_scaled_counts_shared_layers_as_often_as_they_are_used() -> None:
    tree = architecture("decoder", residual="scaled", depths=(6,)).model_dump()
    tree["family"]["stack"]["sharing"] = {"kind": "looped", "num_blocks": 2}
    written = [
        tensor
        for name, tensor in parameters_of(begun(ModelConfig.model_validate(tree))).items()
        if name.endswith(WRITES)
    ]
    assert len(written) == 4
    for tensor in written:
        check_spread(tensor, STD / math.sqrt(12), "shared")


def test_scaled_counts_a_parallel_block_s_branches_and_reaches_every_expert() -> None:
    experts = {
        "kind": "mixture_of_experts",
        "num_experts": 3,
        "top_k": 1,
        "expert": {"kind": "gated", "size": 48, "activation": "silu"},
    }
    config = architecture(
        "decoder", residual="scaled", depths=(3,), arrangement={"kind": "parallel"}, feed_forward=experts
    )
    parameters = parameters_of(begun(config))
    written = [name for name in parameters if name.endswith(("branch.out.weight", "down.weight"))]
    assert len(written) == 3 * (1 + 3)
    for name in written:
        check_spread(parameters[name], STD / math.sqrt(6), name)
    routers = [tensor for name, tensor in parameters.items() if name.endswith("router.weight")]
    assert len(routers) == 3
    assert all(0.5 * STD < float(router.std()) < 1.5 * STD for router in routers)


@pytest.mark.parametrize("arrangement", ["sequential", "parallel"])
@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
def test_zero_begins_as_the_identity_on_the_embedding(family: str, arrangement: str) -> None:
    depths = (2, 3) if family == "encoder_decoder" else (3,)
    network = begun(architecture(family, residual="zero", depths=depths, arrangement={"kind": arrangement}))
    batch = packed_batch(family)
    with torch.inference_mode():
        embedded = network.writer.embedding(batch)
        assert torch.equal(network(batch), network.writer.final_norm(embedded))
    written = [tensor for name, tensor in parameters_of(network).items() if name.endswith(WRITES)]
    assert len(written) == (2 * 2 + 3 * 3 if family == "encoder_decoder" else 6)
    assert not any(bool(tensor.any()) for tensor in written)


def test_layer_scale_of_0_begins_as_the_identity_too() -> None:
    tree = architecture("decoder", depths=(2,)).model_dump()
    for block in tree["family"]["stack"]["pattern"]:
        block["residual"] = {"kind": "layer_scale", "start": 0.0}
    network = begun(ModelConfig.model_validate(tree))
    batch = packed_batch("decoder")
    with torch.inference_mode():
        assert torch.equal(network(batch), network.writer.final_norm(network.writer.embedding(batch)))


@pytest.mark.parametrize("kind", ["plain", "gated"])
def test_deep_norm_widens_values_outputs_and_feed_forwards(kind: str) -> None:
    beta = 0.3
    tree = architecture("encoder_decoder", depths=(2, 2)).model_dump()
    for stack in (tree["family"]["encoder"], tree["family"]["decoder"]):
        for block in stack["pattern"]:
            block["residual"] = {"kind": "deep_norm", "alpha": 2.0, "beta": beta}
            block["placement"] = "post"
            block["feed_forward"] = {"kind": kind, "size": 48, "activation": "gelu"}
    parameters = parameters_of(begun(ModelConfig.model_validate(tree)))
    checked = 0
    for name, tensor in parameters.items():
        if tensor.ndim < 2:
            continue
        if name.endswith("qkv.weight"):
            # 4 heads of queries, 2 of keys, 2 of values, 8 wide each.
            check_spread(tensor[:48], STD, name)
            check_spread(tensor[48:], beta * STD, name)
        elif name.endswith("key_value.weight"):
            check_spread(tensor[:16], STD, name)
            check_spread(tensor[16:], beta * STD, name)
        else:
            widened = name.endswith((*WRITES, "up.weight"))
            check_spread(tensor, beta * STD if widened else STD, name)
            checked += widened
    assert checked == 2 * 3 + 2 * 4
