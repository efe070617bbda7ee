"""Cross-entropy over a vocabulary without its logits: some places at a time, loss and gradients in one pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Places at a time: on a CPU as many as make the products fast while their logits are few, on a GPU what keeps it busy.
_PLACES_CPU, _FEWEST_CPU, _PLACES_GPU = 1024, 256, 4096
_LOGITS_CPU = 1 << 24  # 100 MB, in bfloat16 and float32; more only where the fewest places have them


def summed_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    labels_N: Tensor,
    weights_N: Tensor,
    *,
    soft_cap: float | None = None,
) -> Tensor:
    """Return the weighted sum of the cross-entropies of `hidden @ weight.T + bias`, nats, in float32 or better.

    As `dot(cross_entropy(logits, labels, "none"), weights)`, but the logits of all places never exist: what backward
    needs are the gradients of the sum, which are computed while a part's softmax is at hand (as in Liger kernels,
    Hsu et al. 2024). The price of memory for N x V numbers, on a CPU mostly page faults, was half of a small decoder's
    step.

    Args:
        hidden_ND: what is projected.
        weight_VD, bias_V: of the projection.
        labels_N: int64, in [0, V).
        weights_N: of each place in the sum.
        soft_cap: logits are bounded by `soft_cap * tanh(logits / soft_cap)`.
    """
    total: Tensor = _SummedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, bias_V, labels_N, weights_N, soft_cap, torch.is_grad_enabled()
    )
    return total


class _Gradients:
    """Those of all places: the first part's in the type it is computed in, others added in float32 or better."""

    def __init__(self, hidden_ND: Tensor) -> None:
        self.hidden_ND = torch.empty_like(hidden_ND)
        self.weight_VD: Tensor | None = None
        self.bias_1V: Tensor | None = None

    def add(self, part: slice, slopes_nV: Tensor, weights_n1: Tensor, hidden_nD: Tensor, weight_VD: Tensor) -> None:
        """Add those of some places, given the derivatives of their cross-entropies by the logits."""
        # The weights go to the narrow side of each product.
        self.hidden_ND[part] = (slopes_nV @ weight_VD) * weights_n1
        self.weight_VD = _plus(self.weight_VD, slopes_nV.T @ (hidden_nD * weights_n1))

    def add_bias(self, slopes_nV: Tensor, weights_n1: Tensor) -> None:
        """Add those of the bias."""
        self.bias_1V = _plus(self.bias_1V, weights_n1.T @ slopes_nV)


def _plus(total: Tensor | None, product: Tensor) -> Tensor:
    """Return the sum: in the product's type where it is the first, else in float32 or better."""
    return product if total is None else total.to(torch.promote_types(product.dtype, torch.float32)).add_(product)


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_N: Tensor,
        weights_N: Tensor,
        soft_cap: float | None,
        differentiable: bool,
    ) -> Tensor:
        exact = torch.promote_types(hidden_ND.dtype, torch.float32)
        gradients = _Gradients(hidden_ND) if differentiable and any(ctx.needs_input_grad) else None
        places = _places(hidden_ND, len(weight_VD))
        # Written again by every part: fresh memory costs more than the arithmetic.
        logits_nV = hidden_ND.new_empty(places, len(weight_VD))
        chances_nV = torch.empty_like(logits_nV, dtype=exact)
        total = hidden_ND.new_zeros((), dtype=exact)
        for start in range(0, max(1, len(hidden_ND)), places):  # once where there is none: gradients of 0
            part = slice(start, start + places)
            hidden_nD, labels_n1 = hidden_ND[part], labels_N[part, None]
            capped_nV = _logits(hidden_nD, weight_VD, bias_V, soft_cap, logits_nV[: len(hidden_nD)])
            own_nV = torch.softmax(capped_nV, -1, dtype=exact, out=chances_nV[: len(hidden_nD)])
            # log Z is the largest logit minus the logarithm of its chance, which is at least 1 / V.
            most_n, label_n = capped_nV.amax(-1).to(exact), capped_nV.gather(-1, labels_n1)[:, 0].to(exact)
            nats_n = most_n - label_n - own_nV.amax(-1).log()
            total += torch.dot(nats_n, weights_N[part].to(exact))
            if gradients is None:
                continue
            own_nV.scatter_add_(-1, labels_n1, own_nV.new_full((len(hidden_nD), 1), -1.0))
            if soft_cap is not None:
                own_nV *= 1.0 - (capped_nV.to(exact) / soft_cap).square()
            slopes_nV, weights_n1 = own_nV.to(hidden_ND.dtype), weights_N[part, None].to(hidden_ND.dtype)
            gradients.add(part, slopes_nV, weights_n1, hidden_nD, weight_VD)
            if bias_V is not None:
                gradients.add_bias(slopes_nV, weights_n1)
        if gradients is not None:
            added = (gradients.weight_VD, gradients.bias_1V)
            ctx.save_for_backward(
                gradients.hidden_ND, *(None if each is None else each.to(hidden_ND.dtype) for each in added)
            )
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_1V = ctx.saved_tensors
        slope = slope.to(hidden_ND.dtype)
        of_bias_V = None if bias_1V is None else bias_1V[0] * slope
        return hidden_ND * slope, weight_VD * slope, of_bias_V, None, None, None, None


def _places(hidden_ND: Tensor, vocabulary: int) -> int:
    """Return how many places are taken at a time, so that parts are of about equal size."""
    most = _PLACES_GPU if hidden_ND.is_cuda else min(_PLACES_CPU, max(_FEWEST_CPU, _LOGITS_CPU // vocabulary))
    return max(1, -(-len(hidden_ND) // max(1, -(-len(hidden_ND) // most))))


def _logits(
    hidden_nD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, soft_cap: float | None, out_nV: Tensor
) -> Tensor:
    """Return the logits of some places, written to `out_nV`."""
    if bias_V is None:
        torch.mm(hidden_nD, weight_VD.T, out=out_nV)
    else:
        torch.addmm(bias_V, hidden_nD, weight_VD.T, out=out_nV)
    return out_nV if soft_cap is None else out_nV.div_(soft_cap).tanh_().mul_(soft_cap)
