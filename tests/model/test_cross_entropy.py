"""The summed cross-entropy without logits, against PyTorch's with them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trivium.model import cross_entropy
from trivium.model.cross_entropy import summed_cross_entropy

PLACES, SIZE, VOCABULARY = 23, 8, 41


def drawn(dtype: torch.dtype, *, bias: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    hidden_ND = torch.randn(PLACES, SIZE, dtype=dtype, requires_grad=True)
    weight_VD = torch.randn(VOCABULARY, SIZE, dtype=dtype, requires_grad=True)
    bias_V = torch.randn(VOCABULARY, dtype=dtype, requires_grad=True) if bias else None
    weights_N = (torch.rand(PLACES) * (torch.rand(PLACES) > 0.3)).float()
    return hidden_ND, weight_VD, bias_V, torch.randint(0, VOCABULARY, (PLACES,)), weights_N


def with_logits(
    hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, labels_N: Tensor, weights_N: Tensor, cap: float | None
) -> Tensor:
    logits_NV = functional.linear(hidden_ND, weight_VD, bias_V)
    logits_NV = logits_NV if cap is None else (logits_NV / cap).tanh() * cap
    nats_N = functional.cross_entropy(logits_NV, labels_N, reduction="none")
    return torch.dot(nats_N, weights_N.to(nats_N.dtype))


@pytest.mark.parametrize("places", [1, 7, PLACES, 256])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cap", [None, 3.0])
def test_values_and_gradients_are_those_with_logits(
    places: int, bias: bool, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "_PLACES_CPU", places)
    drawn_values = drawn(torch.float64, bias=bias)
    trained = [tensor for tensor in drawn_values[:3] if tensor is not None]
    total = summed_cross_entropy(*drawn_values, soft_cap=cap)
    expected = with_logits(*drawn_values, cap)
    torch.testing.assert_close(total, expected)
    gradients = torch.autograd.grad(0.37 * total, trained)
    for found, wanted in zip(gradients, torch.autograd.grad(0.37 * expected, trained), strict=True):
        torch.testing.assert_close(found, wanted)
    assert len(gradients) == 2 + bias


def test_extreme_logits_stay_finite() -> None:
    hidden_ND, weight_VD, _, labels_N, weights_N = drawn(torch.float32, bias=False)
    with torch.no_grad():
        hidden_ND *= 1e4
    total = summed_cross_entropy(hidden_ND, weight_VD, None, labels_N, weights_N)
    torch.testing.assert_close(total, with_logits(hidden_ND, weight_VD, None, labels_N, weights_N, None))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, [hidden_ND, weight_VD]))


@pytest.mark.parametrize("places", [7, 256])
def test_in_bfloat16_it_is_as_near_as_logits_in_bfloat16_are(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "_PLACES_CPU", places)
    values = drawn(torch.float32, bias=True)
    narrow = [None if tensor is None else tensor.detach().bfloat16().requires_grad_() for tensor in values[:3]]
    total = summed_cross_entropy(*narrow, *values[3:])  # type: ignore[arg-type]
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, with_logits(*values, None), rtol=0.02, atol=0.0)
    found = torch.autograd.grad(total, [tensor for tensor in narrow if tensor is not None])
    wanted = torch.autograd.grad(with_logits(*values, None), [tensor for tensor in values[:3] if tensor is not None])
    for ours, exact in zip(found, wanted, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - exact).norm() < 0.02 * exact.norm()


def test_logits_of_bfloat16_are_taken_as_they_are() -> None:
    hidden_ND, weight_VD, _, labels_N, weights_N = drawn(torch.float32, bias=False)
    narrow = hidden_ND.detach().bfloat16(), (8.0 * weight_VD.detach()).bfloat16()
    expected = functional.cross_entropy((narrow[0] @ narrow[1].T).float(), labels_N, reduction="none")
    total = summed_cross_entropy(*narrow, None, labels_N, weights_N)
    torch.testing.assert_close(total, torch.dot(expected, weights_N), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_nothing_is_kept(context: Callable[[], torch.no_grad]) -> None:
    values = drawn(torch.float32, bias=True)
    with context():
        total = summed_cross_entropy(*values)
    assert total.grad_fn is None
    torch.testing.assert_close(total.clone(), with_logits(*values, None))


def test_of_no_places_the_sum_and_its_gradients_are_zero() -> None:
    hidden_ND, weight_VD, bias_V, labels_N, weights_N = drawn(torch.float32, bias=True)
    trained = [hidden_ND, weight_VD, bias_V]
    total = summed_cross_entropy(hidden_ND[:0], weight_VD, bias_V, labels_N[:0], weights_N[:0])
    assert float(total.detach()) == 0.0
    for gradient, tensor in zip(torch.autograd.grad(total, trained), trained, strict=True):  # type: ignore[arg-type]
        assert torch.equal(gradient, torch.zeros_like(tensor))  # type: ignore[arg-type]


def test_parts_are_of_equal_size_and_their_logits_few() -> None:
    hidden_ND = torch.empty(0, 4)
    for count, vocabulary, places in ((614, 8192, 614), (1100, 8192, 550), (5000, 1 << 17, 250), (3, 1 << 30, 3)):
        assert cross_entropy._places(hidden_ND.new_empty(count, 4), vocabulary) == places
