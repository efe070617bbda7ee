"""A packed network gives the same logits and texts, and leaves the one it was made of as it was."""

import pytest
import torch

from support import family_of, layout_of, lively, logits_of, packed_batch, shrink
from trivium.core.batch import reading
from trivium.model.build.feed_forward import build_feed_forward
from trivium.model.config import Decoder, ModelConfig
from trivium.model.decoding import Beam, Decoding
from trivium.model.generate import decode
from trivium.model.light import Identity
from trivium.model.packed import (
    PackedLinear,
    ProjectedHead,
    _with_packed_layers,
    can_pack,
    packed,
    packed_to_read,
    shallow_copy,
)
from trivium.model.parts import Activation, MixtureOfExpertsConfig, Plain
from trivium.model.precision import InferencePrecision, Int8Linear, computing_in, in_int8
from trivium.model.presets import PRESETS, preset

WRITING_PRESETS = [name for name in PRESETS if family_of(preset(name)) != "encoder"]
needs_packing = pytest.mark.skipif(not can_pack(), reason="this build of PyTorch has no oneDNN")
needs_narrow = pytest.mark.skipif(
    not (can_pack() and torch.ops.mkldnn._is_mkldnn_bf16_supported()), reason="oneDNN has no bfloat16 on this processor"
)


def with_experts(config: ModelConfig) -> ModelConfig:
    """The same decoder with four experts in the place of each feed-forward."""
    mixture = MixtureOfExpertsConfig(num_experts=4, top_k=2, expert=Plain(size=16, activation="gelu"))
    assert isinstance(config.family, Decoder)
    stack = config.family.stack
    blocks = tuple(block.model_copy(update={"feed_forward": mixture}) for block in stack.pattern)
    family = config.family.model_copy(update={"stack": stack.model_copy(update={"pattern": blocks})})
    return config.model_copy(update={"family": family})


@needs_packing
@pytest.mark.parametrize("name", [*WRITING_PRESETS, "experts"])
@pytest.mark.parametrize("rows", [1, 3])
@torch.inference_mode()
def test_logits_are_the_same_for_any_number_of_rows(rows: int, name: str) -> None:
    config = with_experts(shrink(preset("decoder-tiny"))) if name == "experts" else shrink(preset(name))
    network = lively(config)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    faster = packed(network, rows=rows)
    modules = list(faster.modules())
    assert sum(isinstance(module, PackedLinear) for module in modules) > 6
    assert isinstance(faster.head, ProjectedHead) and not isinstance(network.head, ProjectedHead)
    batch = packed_batch(family_of(config))
    torch.testing.assert_close(logits_of(faster, batch), logits_of(network, batch), atol=1e-5, rtol=1e-5)
    after = network.state_dict()
    assert before and all(torch.equal(before[key], after[key]) for key in before)


@needs_packing
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu", "relu_squared"])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_narrow)])
@torch.inference_mode()
def test_the_product_takes_over_the_activations_that_it_has(activation: Activation, dtype: torch.dtype) -> None:
    layer = build_feed_forward(Plain(size=48, activation=activation, bias=True), 16)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    container = torch.nn.ModuleList([layer]).to(dtype).eval()
    faster = _with_packed_layers(shallow_copy(container), 4)
    taken = isinstance(faster[0].activation, Identity)
    assert taken == (activation in ("gelu", "gelu_tanh")) and not isinstance(layer.activation, Identity)
    states = torch.randn(3, 5, 16).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(faster[0](states), layer(states), atol=tolerance * 10, rtol=tolerance)


@needs_packing
@torch.inference_mode()
def test_an_activation_is_lost_to_no_layer_that_is_not_packed() -> None:
    layer = build_feed_forward(Plain(size=48, activation="gelu", bias=True), 16)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn_like(parameter))
    narrow = in_int8(torch.nn.ModuleList([layer]))
    states = torch.randn(3, 5, 16)
    assert torch.equal(_with_packed_layers(shallow_copy(narrow), 4)[0](states), narrow[0](states))


@needs_packing
@torch.inference_mode()
def test_bfloat16_is_packed_only_where_the_processor_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    network = lively(shrink(preset("gpt2")))
    narrow = network.bfloat16()
    assert packed(narrow, rows=1) is narrow


@needs_packing
@pytest.mark.parametrize("name", ["gpt2", "t5-small"])
def test_texts_are_the_same(name: str) -> None:
    config = shrink(preset(name))
    network, prompts = lively(config), [[110, 111, 112], [120], [130, 131]]
    source = None
    if family_of(config) == "encoder_decoder":
        source = reading(torch.tensor([[110, 111], [112, 113], [114, 115]]), layout_of([[0, 0]] * 3, causal=False))
    for decoding in (Decoding(max_new_tokens=9), Decoding(method=Beam(size=3), max_new_tokens=9)):
        mine, theirs = (
            decode(which, prompts, decoding, stop=frozenset(), source=source)
            for which in (packed(network, rows=9), network)
        )
        assert [[each.tokens for each in row] for row in mine] == [[each.tokens for each in row] for row in theirs]


def test_what_cannot_be_faster_stays_what_it_is() -> None:
    network = lively(shrink(preset("gpt2")))
    assert packed(network.double(), rows=8) is network


@needs_narrow
@torch.inference_mode()
def test_bfloat16_is_packed_too() -> None:
    config = shrink(preset("decoder-tiny"))
    network, batch = lively(config).bfloat16(), packed_batch(family_of(config))
    faster = packed(network, rows=1)
    assert sum(isinstance(module, PackedLinear) for module in faster.modules()) > 6
    mine, theirs = (logits_of(which, batch).float() for which in (faster, network))
    assert (mine - theirs).abs().max() < 0.05 * theirs.abs().max()


@pytest.mark.parametrize("name", ["gpt2", "t5-small", "decoder-tiny"])
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
@torch.inference_mode()
def test_logits_in_a_narrower_type_are_nearly_the_same_and_the_head_is_narrow_too(
    name: str, precision: InferencePrecision
) -> None:
    config = shrink(preset(name))
    network, batch = lively(config), packed_batch(family_of(config))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    narrow = computing_in(network, precision)
    exact, found = logits_of(network, batch), logits_of(narrow, batch).float()
    assert 0.0 < float((found - exact).abs().mean()) < 0.25 * float(exact.std())
    if precision == "int8":
        assert isinstance(narrow.head.get_submodule("projection"), Int8Linear)
        assert not [key for key, module in narrow.named_modules() if isinstance(module, torch.nn.Linear)]
    texts = (
        decode(narrow, [[110, 111, 112], [120]], Decoding(max_new_tokens=5), stop=frozenset())
        if (family_of(config) == "decoder")
        else []
    )
    assert all(len(best.tokens) == 5 for [best] in texts)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert computing_in(network, "float32") is network


@torch.inference_mode()
def test_what_is_in_int8_is_not_packed_again_and_goes_through_a_beam_search() -> None:
    narrow = computing_in(lively(shrink(preset("gpt2"))), "int8")
    assert packed(narrow, rows=3) is narrow
    [found] = decode(narrow, [[110, 111]], Decoding(method=Beam(size=3), max_new_tokens=4), stop=frozenset())
    assert len(found) == 3


@torch.inference_mode()
def test_no_places_are_no_states() -> None:
    network = lively(shrink(preset("encoder-tiny")))
    batch = packed_batch("encoder")
    states = network(batch, places_BN=torch.zeros(len(batch.tokens_BL), 0, dtype=torch.int64))
    assert states.shape == (len(batch.tokens_BL), 0, 0 + network.reader.embedding.tokens.weight.shape[1])


@needs_packing
@torch.inference_mode()
def test_what_reads_is_packed_where_the_processor_gains_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = shrink(preset("encoder-tiny"))
    network, batch = lively(config), packed_batch(family_of(config))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert packed_to_read(network.reader) is network.reader
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    reader = packed_to_read(network.reader)
    assert sum(isinstance(module, PackedLinear) for module in reader.modules()) > 6
    assert not any(isinstance(module, PackedLinear) for module in network.reader.modules())
    torch.testing.assert_close(reader(batch), network.reader(batch), atol=1e-5, rtol=1e-5)
