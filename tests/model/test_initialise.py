"""How parameters begin: each kind with its own spread, the same for equal keys."""

import math

import pytest
import torch

from support import VOCABULARY_SIZE, equal, parameters_of, shrink, tiny
from trivium.core.random import Key
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.initialise import initialise
from trivium.model.presets import PRESETS, preset


def begun(config: ModelConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    network = build_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    initialise(network, config, Key(seed))
    return parameters_of(network)


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_is_set_and_equal_keys_set_the_same(name: str) -> None:
    config = shrink(preset(name))
    first = begun(config)
    assert all(bool(tensor.isfinite().all()) for tensor in first.values())
    assert equal(first, begun(config))
    other = begun(config, seed=1)
    drawn = [name for name, tensor in first.items() if tensor.ndim > 1]
    assert len(drawn) > 5
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize("name", PRESETS)
def test_norms_begin_as_the_identity_and_biases_at_0(name: str) -> None:
    vectors = {key: tensor for key, tensor in begun(shrink(preset(name))).items() if tensor.ndim == 1}
    assert len(vectors) >= 5
    for key, tensor in vectors.items():
        assert set(tensor.tolist()) == ({0.0} if key.endswith("bias") else {1.0}), key


@pytest.mark.parametrize(
    ("name", "branches", "std"),
    [
        ("gpt2", 4, 0.02),
        ("bert-tiny", None, 0.02),
        # sqrt(2 / (5 x hidden)) for the hidden size that the preset had before it was shrunk.
        ("decoder-tiny", 4, math.sqrt(2 / (5 * 128))),
        ("encoder-mini", 4, math.sqrt(2 / (5 * 256))),
    ],
)
def test_normal_initialisation(name: str, branches: int | None, std: float) -> None:
    matrices = {key: tensor for key, tensor in begun(shrink(preset(name))).items() if tensor.ndim > 1}
    for key, tensor in matrices.items():
        writes = key.endswith(("attention.branch.out.weight", "feed_forward.branch.down.weight"))
        expected = std / math.sqrt(branches) if writes and branches else std
        assert float(tensor.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * tensor.numel())), key
        assert abs(float(tensor.mean())) < 4 * expected / math.sqrt(tensor.numel()), key
    assert len(matrices) >= 9


def test_t5_initialisation() -> None:
    parameters = begun(shrink(preset("t5-small")))
    hidden, heads, feed_forward, head_size = 32, 32, 48, 8
    expected = {
        "encoder.embedding.tokens.weight": 1.0,
        "encoder.scores.weight": hidden**-0.5,
        "decoder.blocks.1.attention.branch.out.weight": heads**-0.5,
        "decoder.blocks.1.cross_attention.branch.query.weight": (hidden * head_size) ** -0.5,
        "decoder.blocks.1.cross_attention.branch.key_value.weight": hidden**-0.5,
        "decoder.blocks.1.cross_attention.branch.out.weight": heads**-0.5,
        "decoder.blocks.1.feed_forward.branch.up.weight": hidden**-0.5,
        "decoder.blocks.1.feed_forward.branch.down.weight": feed_forward**-0.5,
    }
    for name, deviation in expected.items():
        tensor = parameters[name]
        assert float(tensor.std()) == pytest.approx(deviation, rel=4 / math.sqrt(2 * tensor.numel())), name
    query, key, value = parameters["encoder.blocks.0.attention.branch.qkv.weight"].split(heads)
    assert float(query.std()) == pytest.approx((hidden * head_size) ** -0.5, rel=0.1)
    assert float(key.std()) == pytest.approx(hidden**-0.5, rel=0.1)
    assert float(value.std()) == pytest.approx(hidden**-0.5, rel=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_a_fresh_network_predicts_nearly_every_word_alike(name: str) -> None:
    from support import family_of, logits_of, packed_batch

    config = shrink(preset(name))
    network = build_network(config).eval()
    initialise(network, config, Key(0))
    batch = packed_batch(family_of(config))
    with torch.inference_mode():
        log_BLV = logits_of(network, batch).log_softmax(-1)
    loss = -float(log_BLV.mean())
    assert math.log(VOCABULARY_SIZE) <= loss < 1.25 * math.log(VOCABULARY_SIZE)


@pytest.mark.parametrize("groups", [4, 2, 1])
def test_what_is_written_looks_first_at_its_like(groups: int) -> None:
    """Of many random places the heads of cross-attention that begin a network prefer the one that they stand for."""
    config = tiny("encoder_decoder", groups=groups)
    network = build_network(config)
    initialise(network, config, Key(3))
    hidden_MD = torch.randn(50, config.hidden_size, generator=torch.Generator().manual_seed(1))
    for block in network.decoder.blocks:
        cross = block.cross_attention.branch
        query_HMK = cross.query(hidden_MD).unflatten(-1, (-1, cross.head_size)).transpose(0, 1)
        keys = cross.key_value(hidden_MD)[:, : groups * cross.head_size]
        key_GMK = keys.unflatten(-1, (-1, cross.head_size)).transpose(0, 1)
        firsts = query_HMK[:: len(query_HMK) // groups]
        assert torch.equal(firsts, key_GMK)
        liked_GM = (firsts @ key_GMK.mT).argmax(-1)
        assert float((liked_GM == torch.arange(50)).float().mean()) > 0.4  # by chance 0.02
