"""Dropout, and the dropping of whole branches. Both are the identity outside training."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def dropout(states: Tensor, probability: float) -> Tensor:
    """Set each number to 0 with this probability and scale the others so that the mean stays (Srivastava et al. 2014).

    PyTorch draws a float for each number on a CPU, at about 1 GB/s; here a random byte decides, five times as fast, so
    that on a CPU the probability is rounded to a 256th (0.1 to 26/256) and the scale is that of the rounded one.
    """
    if states.device.type != "cpu":
        return functional.dropout(states, probability)
    threshold = min(max(round(probability * 256), 1), 255)
    dropped: Tensor = _ByteDropout.apply(states, threshold)  # type: ignore[no-untyped-call]
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


class _ByteDropout(torch.autograd.Function):
    """Dropout of `threshold` 256ths. The mask, a byte a number, is kept for the backward pass."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, states: Tensor, threshold: int) -> Tensor:
        count = states.numel()
        # Eight bytes at a draw: over the whole range of int64 every byte is uniform.
        draws = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = (draws.view(torch.uint8)[:count] >= threshold).view(states.shape)
        ctx.save_for_backward(kept)
        ctx.scale = 256 / (256 - threshold)  # type: ignore[attr-defined]
        return (states * kept).mul_(256 / (256 - threshold))

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return (gradients[0] * kept).mul_(ctx.scale), None  # type: ignore[attr-defined]


def draws(network: nn.Module) -> bool:
    """Return whether two passes of the network in training differ."""
    return any(isinstance(module, Dropout | StochasticDepth) for module in network.modules())
