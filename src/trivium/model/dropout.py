"""Dropout, and the dropping of whole branches. Both are the identity outside training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their bytes


def dropout(states: Tensor, probability: float) -> Tensor:
    """Set each number to 0 with this probability and scale the others so that the mean stays (Srivastava et al. 2014).

    PyTorch draws a float for each number on a CPU, at about 1 GB/s; here a random byte decides, ten times as fast, so
    that on a CPU the probability is rounded to a 256th (0.1 to 26/256) and the scale is that of the rounded one.
    """
    if states.device.type != "cpu":
        return functional.dropout(states, probability)
    threshold = min(max(round(probability * 256), 1), 255)
    mask, scale = _kept_bits(states, threshold), 256 / (256 - threshold)
    dropped: Tensor = _Masked.apply(states, mask, scale)  # type: ignore[no-untyped-call]
    return dropped


class Dropout(nn.Module):
    """`dropout` in training, the identity else."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, states: Tensor) -> Tensor:
        """Return the states with some set to 0."""
        return dropout(states, self.probability) if self.training else states


class StochasticDepth(nn.Module):
    """Whole branches set to 0, row by row, the others scaled so that the mean stays (Huang et al. 2016).

    Differs from the paper: branches are scaled in training, not when the network is used.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, added_BLD: Tensor) -> Tensor:
        """Return what a branch adds, 0 in the rows that skip it."""
        if not self.training:
            return added_BLD
        kept_B = torch.rand(added_BLD.shape[0], device=added_BLD.device) >= self.probability
        return added_BLD * (kept_B.to(added_BLD.dtype) / (1 - self.probability))[:, None, None]


class _Masked(torch.autograd.Function):
    """The numbers whose mask is all ones, times `scale`, and 0 for the others. It is its own derivative."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, states: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale  # type: ignore[attr-defined]
        return (states.view(mask.dtype) & mask).view(states.dtype).mul_(scale)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient: Tensor = _Masked.apply(gradients[0], mask, ctx.scale)  # type: ignore[attr-defined, no-untyped-call]
        return gradient, None, None


def _kept_bits(states: Tensor, threshold: int) -> Tensor:
    """Return an integer as wide as the number for each of the states: all ones with (256 - threshold) / 256, else 0.

    A bool times a float is slow on a CPU, where PyTorch converts one to the other number by number; a bitwise and of
    equal widths is not. The bytes of a random word decide over as many numbers, each in its own part of the mask.
    """
    size, count = states.element_size(), states.numel()
    kind = _INTEGERS[size]
    words = -(-count // size)
    # Eight bytes at a draw: over the whole range of int64 every byte is uniform.
    drawn = torch.empty(-(-words * size // 8), dtype=torch.int64).random_(-(2**63), None).view(kind)[:words]
    mask = torch.empty(size, words, dtype=kind)
    for byte, part in enumerate(mask):
        torch.bitwise_right_shift(drawn, 8 * byte, out=part)
        # threshold - 1 - byte is negative, its sign all over the word, where the byte reaches the threshold.
        part.bitwise_and_(0xFF).neg_().add_(threshold - 1).bitwise_right_shift_(8 * size - 1)
    return mask.view(-1)[:count].view(states.shape)


def draws(network: nn.Module) -> bool:
    """Return whether two passes of the network in training differ."""
    return any(isinstance(module, Dropout | StochasticDepth) for module in network.modules())
