"""A network for writing a few rows at once on a CPU: its matrices laid out as the processor reads them."""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.model.feed_forward import ActivationFunction, PlainFeedForward, gelu_tanh
from trivium.model.heads import LanguageHead, Network
from trivium.model.light import Identity, Light
from trivium.model.linear import Linear

N = TypeVar("N", bound=nn.Module)

_FEWEST_ROWS, _MANY_ROWS = 4, 1024
_LOGITS = 1 << 22  # that exist at once
_NOTHING = ("none", "")
# Activations that oneDNN has beside its product, by its names. It has ReLU, too, but of no number makes 0.
_FUSED: dict[ActivationFunction, tuple[str, str]] = {
    functional.gelu: ("gelu", "none"),
    gelu_tanh: ("gelu", "tanh"),
}


class PackedLinear(Light):
    """A linear layer whose weight oneDNN has laid out for so many rows; others are right, only slower.

    One row is faster by the layout for four than by its own, whose product one thread makes by itself.

    Args:
        weight, bias: as those of PyTorch's linear layer.
        rows: see above.
        then: what is done to the product while it is at hand, and how, by oneDNN's names.
    """

    def __init__(self, *, weight: Tensor, bias: Tensor | None, rows: int, then: tuple[str, str] = _NOTHING) -> None:
        super().__init__()
        self.out_features = len(weight)
        # Whoever reads it as a matrix (a router in float32) finds it.
        self.weight = weight
        self.bias = None if bias is None else bias.detach()
        self.then, self.how = then
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), max(rows, _FEWEST_ROWS))

    def forward(self, states: Tensor) -> Tensor:
        """Return the product, [..., out_features]."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, self.packed, self.bias, self.then, [], self.how)
        return product

    def part(self, states: Tensor, outputs: slice) -> Tensor:
        """Return some of the outputs; all are computed, for the matrix is packed as one."""
        return self(states)[..., outputs]


class ProjectedHead(nn.Module):
    """The scores of a language head whose projection is computed in another way."""

    def __init__(self, *, head: LanguageHead, projection: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.projection = projection

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """Return logits_NV."""
        return self.head.capped(self.projection(self.head.projected(hidden_ND)))

    def summed_nats(self, hidden_ND: Tensor, labels_N: Tensor, weights_N: Tensor) -> Tensor:
        """Return the weighted sum of the labels' cross-entropies, nats, without a gradient; see `LanguageHead`."""
        at_once = max(1, _LOGITS // self.head.projection.weight.shape[0])
        places = (torch.split(each, at_once) for each in (hidden_ND, labels_N, weights_N))
        return torch.stack(
            [
                functional.cross_entropy(self(some_ND).float(), some_N, reduction="none") @ weight_N.float()
                for some_ND, some_N, weight_N in zip(*places, strict=True)
            ]
        ).sum()


@torch.inference_mode()
def packed(network: Network, *, rows: int) -> Network:
    """Return the network, for inference, with a packed copy of its matrices where that makes it faster; else itself.

    The product of a few rows, or of one, and a matrix takes PyTorch's own kernel about twice as long as oneDNN's with a
    packed matrix; packing takes as long as some tokens. The results are equal but for rounding.

    Args:
        network: stays as it is; what is not packed is shared.
        rows: how many go on at once (prompts x beams).
    """
    weight = network.writer.embedding.tokens.weight
    if isinstance(network.head, ProjectedHead):  # in int8
        return network
    if not _can_be_packed(weight):
        return network
    return _with_packed_layers(shallow_copy(network), rows)


@torch.inference_mode()
def packed_to_read(module: N) -> N:
    """Return a module, for reading whole texts on a CPU, with a packed copy of its matrices; else itself.

    On AMD's processors with AVX-512 oneDNN's product of packed float32 matrices is twice as fast as PyTorch's own,
    which is MKL's, and that of bfloat16 matrices a quarter faster.

    Args:
        module: stays as it is; what is not packed is shared.
    """
    first = next(module.parameters(), None)
    if first is None or torch.backends.cpu.get_cpu_capability() != "AVX512" or not _can_be_packed(first):
        return module
    return _with_packed_layers(shallow_copy(module), _MANY_ROWS)


def shallow_copy(network: N) -> N:
    """Return a copy of a network whose parameters and buffers are its own."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return deepcopy(network, shared)


def _can_be_packed(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not can_pack():
        return False
    narrow = weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(weight.dtype == torch.float32 or narrow)


def can_pack() -> bool:
    """Return whether this build of PyTorch has oneDNN's packed products."""
    return bool(torch.backends.mkldnn.enabled) and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def _with_packed_layers(module: N, rows: int) -> N:
    for name, child in list(module.named_children()):
        if type(child) is Linear:
            then = _NOTHING
            if isinstance(module, PlainFeedForward) and name == "up" and module.activation in _FUSED:
                then, module.activation = _FUSED[module.activation], Identity()
            setattr(module, name, PackedLinear(weight=child.weight, bias=child.bias, rows=rows, then=then))
        elif isinstance(child, LanguageHead):
            _with_packed_layers(child.transform, rows)
            projection = PackedLinear(weight=child.projection.weight, bias=child.bias, rows=rows)
            setattr(module, name, ProjectedHead(head=child, projection=projection))
        else:
            _with_packed_layers(child, rows)
    return module
