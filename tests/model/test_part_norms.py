"""Norms and activations against their formulas."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trivium.model.build.feed_forward import build_activation, build_feed_forward
from trivium.model.build.norm import build_norm
from trivium.model.parts import Activation, Gated, LayerNormConfig, Plain, RMSNormConfig


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize("kind", [LayerNormConfig, RMSNormConfig])
def test_a_norm_is_its_formula(
    kind: type[LayerNormConfig] | type[RMSNormConfig], eps: float, weight: bool, bias: bool
) -> None:
    norm = build_norm(kind(eps=eps, weight=weight, bias=bias), 12).double()
    there = {"weight"} if weight else set()
    assert {name for name, _ in norm.named_parameters()} == (there | {"bias"} if bias else there)
    gain = drawn(12, seed=1) if weight else None
    shift = drawn(12, seed=2) if bias else None
    norm.load_state_dict({name: tensor for name, tensor in (("weight", gain), ("bias", shift)) if tensor is not None})
    hidden = drawn(2, 5, 12, seed=3) + 1.0
    if kind is LayerNormConfig:
        expected = functional.layer_norm(hidden, (12,), gain, shift, eps)
    else:
        expected = hidden / (hidden.square().mean(-1, keepdim=True) + eps).sqrt()
        expected = expected * (1.0 if gain is None else gain) + (0.0 if shift is None else shift)
    torch.testing.assert_close(norm(hidden), expected, atol=1e-12, rtol=1e-12)
    # The gradient of one is written out: it is that of the formula, to numbers as far apart as drawn ones are.
    hidden, names = hidden[:, :2].clone().requires_grad_(), list(dict(norm.named_parameters()))

    def output(hidden: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(norm, dict(zip(names, parameters, strict=True)), hidden)

    parameters = [parameter.detach().clone().requires_grad_() for parameter in norm.parameters()]
    assert torch.autograd.gradcheck(output, (hidden, *parameters))


@pytest.mark.parametrize("config", [LayerNormConfig(weight=False, bias=False), RMSNormConfig(weight=False)])
def test_a_norm_of_bfloat16_is_that_of_float32_rounded(config: LayerNormConfig | RMSNormConfig) -> None:
    hidden = 100 * drawn(4, 64).to(torch.bfloat16)
    norm = build_norm(config, 64)
    rounded = norm(hidden)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), norm(hidden.float()), atol=2e-2, rtol=2e-2)


def test_rms_norm_takes_the_mean_square_in_float32() -> None:
    # 300 squared is beyond float16.
    hidden = torch.full((1, 8), 300.0, dtype=torch.float16)
    assert build_norm(RMSNormConfig(), 8).half()(hidden).tolist() == [[1.0] * 8]


FORMULAS = {
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
    "relu_squared": lambda x: max(x, 0.0) ** 2,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_is_its_formula(name: Activation) -> None:
    points = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = torch.tensor([FORMULAS[name](float(point)) for point in points], dtype=torch.float64)
    torch.testing.assert_close(build_activation(name)(points), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", FORMULAS)
def test_feed_forwards_are_their_formulas(name: Activation, bias: bool) -> None:
    hidden, activation = drawn(2, 3, 6), build_activation(name)
    plain = build_feed_forward(Plain(size=10, activation=name, bias=bias), 6).double()
    gated = build_feed_forward(Gated(size=10, activation=name, bias=bias), 6).double()
    assert {key for key, _ in plain.named_parameters() if key.endswith("bias")} == (
        {"up.bias", "down.bias"} if bias else set()
    )
    up, down = plain.state_dict(), gated.state_dict()
    zero = torch.zeros((), dtype=torch.float64)
    inner = activation(hidden @ up["up.weight"].t() + up.get("up.bias", zero))
    torch.testing.assert_close(plain(hidden), inner @ up["down.weight"].t() + up.get("down.bias", zero))
    both = hidden @ down["gate_up.weight"].t() + down.get("gate_up.bias", zero)
    inner = activation(both[..., :10]) * both[..., 10:]
    torch.testing.assert_close(gated(hidden), inner @ down["down.weight"].t() + down.get("down.bias", zero))
