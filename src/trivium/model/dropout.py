"""Dropout, and the dropping of whole branches. Both are the identity outside training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.model.light import Light

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # as wide as numbers of so many bytes


def dropout(states: Tensor, probability: float) -> Tensor:
    """Set each number to 0 with this probability and scale the others so that the mean stays (Srivastava et al. 2014).

    PyTorch draws a float for each number on a CPU, at about 1 GB/s; here a random byte decides, ten times as fast, so
    that on a CPU the probability is rounded to a 256th (0.1 to 26/256) and the scale is that of the rounded one. In
    bfloat16 the scale is rounded too: the mean moves by up to 0.4 %.
    """
    if states.device.type != "cpu":
        return functional.dropout(states, probability)
    return states * _factors(states, min(max(round(probability * 256), 1), 255))


class Dropout(Light):
    """`dropout` in training, the identity else."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, states: Tensor) -> Tensor:
        """Return the states with some set to 0."""
        return dropout(states, self.probability) if self.training else states


class StochasticDepth(Light):
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


def _factors(states: Tensor, dropped: int) -> Tensor:
    """Return what each of the states is multiplied by, of their type: 0 for `dropped` of 256, a scale for the others.

    A bool times a float is slow on a CPU, where PyTorch converts one to the other number by number. Numbers of equal
    width are not: each byte of a random word decides over a number as wide as the word. It is shifted to the word's
    top, and whether the word then reaches a bound, 1 or 0, is multiplied by the scale's own bits.
    """
    size, count = states.element_size(), states.numel()
    kind, top = _INTEGERS[size], 8 * (size - 1)
    longs = -(-count // 8)  # as many bytes as there are numbers
    words = torch.empty(size, longs * 8 // size, dtype=kind)
    # Eight bytes at a draw: over the whole range of int64 every byte is uniform.
    words[0].view(torch.int64).random_(-(2**63), None)
    for byte in range(1, size):
        torch.bitwise_left_shift(words[0], 8 * byte, out=words[byte])
    words.ge_((dropped - 128) << top).mul_(torch.tensor(256 / (256 - dropped), dtype=states.dtype).view(kind))
    return words.view(-1)[:count].view(states.shape).view(states.dtype)


def draws(network: nn.Module) -> bool:
    """Return whether two passes of the network in training differ."""
    return any(isinstance(module, Dropout | StochasticDepth) for module in network.modules())
