"""Cross-entropy over a vocabulary without its logits: some places at a time, loss and gradients in one pass."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Places at a time. On a CPU their logits stay in the cache; on a GPU there must be enough to keep it busy.
_PLACES_CPU, _PLACES_GPU = 256, 4096


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


class _Gradients(NamedTuple):
    hidden_ND: Tensor
    weight_VD: Tensor  # float32 or better: many parts are added up
    bias_V: Tensor | None


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
        gradients = None
        if differentiable and any(ctx.needs_input_grad):
            gradients = _Gradients(
                torch.empty_like(hidden_ND),
                torch.zeros_like(weight_VD, dtype=exact),
                None if bias_V is None else torch.zeros_like(bias_V, dtype=exact),
            )
        places = max(1, min(len(hidden_ND), _PLACES_GPU if hidden_ND.is_cuda else _PLACES_CPU))
        # Written again by every part: fresh memory costs more than the arithmetic.
        logits_nV = hidden_ND.new_empty(places, len(weight_VD))
        chances_nV = torch.empty_like(logits_nV, dtype=exact)
        total = hidden_ND.new_zeros((), dtype=exact)
        for start in range(0, len(hidden_ND), places):
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
            # The weights go to the narrow side of each product.
            slopes_nV, weights_n1 = own_nV.to(hidden_ND.dtype), weights_N[part, None].to(hidden_ND.dtype)
            gradients.hidden_ND[part] = (slopes_nV @ weight_VD) * weights_n1
            _add_product(gradients.weight_VD, slopes_nV, hidden_nD * weights_n1)
            if gradients.bias_V is not None:
                _add_product(gradients.bias_V[:, None], slopes_nV, weights_n1)
        if gradients is not None:
            tensors = (gradients.hidden_ND, gradients.weight_VD.to(weight_VD.dtype))
            ctx.save_for_backward(*tensors, *(() if gradients.bias_V is None else (gradients.bias_V,)))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, *bias = (gradient * slope.to(gradient.dtype) for gradient in ctx.saved_tensors)
        return hidden_ND, weight_VD, bias[0].to(hidden_ND.dtype) if bias else None, None, None, None, None


def _logits(
    hidden_nD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, soft_cap: float | None, out_nV: Tensor
) -> Tensor:
    """Return the logits of some places, written to `out_nV`."""
    if bias_V is None:
        torch.mm(hidden_nD, weight_VD.T, out=out_nV)
    else:
        torch.addmm(bias_V, hidden_nD, weight_VD.T, out=out_nV)
    return out_nV if soft_cap is None else out_nV.div_(soft_cap).tanh_().mul_(soft_cap)


def _add_product(total_VD: Tensor, slopes_nV: Tensor, hidden_nD: Tensor) -> None:
    """Add slopes.T @ hidden to the total, in the total's type."""
    if total_VD.dtype == slopes_nV.dtype:
        total_VD.addmm_(slopes_nV.T, hidden_nD)
    else:
        total_VD += slopes_nV.T @ hidden_nD
