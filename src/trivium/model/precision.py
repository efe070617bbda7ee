"""Narrower types for inference on a CPU: bfloat16, and int8, whose products take about half the time of float32's."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any, Literal, TypeVar, assert_never

import torch
from torch import Tensor, nn

from trivium.model.heads import LanguageHead
from trivium.model.light import Light
from trivium.model.linear import Linear
from trivium.model.packed import ProjectedHead, shallow_copy

N = TypeVar("N", bound=nn.Module)
InferencePrecision = Literal["float32", "bfloat16", "int8"]


def computing_in(network: N, precision: InferencePrecision) -> N:
    """Return a network, for inference on a CPU, that computes in this type; in float32 it is itself.

    Args:
        network: in float32; stays as it is.
        precision: bfloat16 is faster where the processor multiplies it, int8 on any processor; answers are nearly those
            of float32.
    """
    match precision:
        case "float32":
            return network
        case "bfloat16":
            return deepcopy(network).to(torch.bfloat16)
        case "int8":
            return in_int8(network)
        case _:
            assert_never(precision)


class Int8Linear(Light):
    """A linear layer whose weight is rounded to int8, each of its rows with a scale of its own.

    What comes in is rounded to int8 with one scale for all that comes at once, chosen by its largest and smallest
    number (dynamic quantisation, PyTorch's `quantized.linear_dynamic`), so that what is beside it in a batch changes
    the result: of ten texts alone and together a probability differs by some thousandths. A scale a row would change
    this, but PyTorch has a product of that kind for x86 alone, and it is slower (docs/experiments.md). Sums are int32,
    what comes out is float32. The float32 weight stays beside, for whoever reads it as a matrix (a router in float32):
    memory is not saved.
    """

    def __init__(self, *, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features = len(weight)
        self.weight = weight
        self.bias = bias
        scale_O = (weight.abs().amax(dim=1).double() / 127).clamp(min=1e-12)
        zeros_O = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            # Tensors of a quantised type are to go one day; there is no other way yet to fill a packed one.
            warnings.simplefilter("ignore", UserWarning)
            rounded = torch.quantize_per_channel(weight.detach(), scale_O, zeros_O, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, bias)

    def forward(self, states: Tensor) -> Tensor:
        """Return the product, [..., out_features]."""
        # Else PyTorch asks the packed weight whether it overrides functions, which answers by an exception: 5 of 11 us.
        with torch._C.DisableTorchFunctionSubclass():
            # True: inputs in 7 bits, without which processors that have no VNNI overflow.
            product: Tensor = _linear_dynamic()(states, self.packed, True)
        return product

    def part(self, states: Tensor, outputs: slice) -> Tensor:
        """Return some of the outputs; all are computed, for the matrix is packed as one."""
        return self(states)[..., outputs]


@cache
def _linear_dynamic() -> Callable[[Tensor, Any, bool], Tensor]:
    """Return the operation below the layer in Python that looks through its arguments for stand-ins: 1 us a call."""
    operation: Callable[[Tensor, Any, bool], Tensor] = torch.ops.quantized.linear_dynamic._op
    return operation


@torch.inference_mode()
def in_int8(network: N) -> N:
    """Return a network, for inference on a CPU, that multiplies its weights in int8; all else stays as it is.

    Args:
        network: in float32; stays as it is, what is not rounded is shared.
    """
    return _with_int8_layers(shallow_copy(network))


def _with_int8_layers(module: N) -> N:
    for name, child in module.named_children():
        if type(child) is Linear:
            setattr(module, name, Int8Linear(weight=child.weight, bias=child.bias))
        elif isinstance(child, LanguageHead):
            _with_int8_layers(child.transform)
            projection = Int8Linear(weight=child.projection.weight, bias=child.bias)
            setattr(module, name, ProjectedHead(head=child, projection=projection))
        else:
            _with_int8_layers(child)
    return module
