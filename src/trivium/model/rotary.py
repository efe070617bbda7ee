"""Rotary positions (RoFormer, Su et al. 2021): queries and keys turned by angles that grow with the position."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Frequencies = tuple[float, ...]  # radians a position, one a plane, the fastest first


class Rotation(NamedTuple):
    """Cosines and sines by which a batch's queries and keys are turned; shape [B, 1, L, planes of a head]."""

    cos_B1LK: Tensor
    sin_B1LK: Tensor

    def apply(self, states_BHLK: Tensor) -> Tensor:
        """Turn queries or keys; places of the head beyond those turned stay as they are."""
        turned = 2 * self.cos_B1LK.shape[-1]
        if turned == states_BHLK.shape[-1]:
            return self._turn(states_BHLK)
        return torch.cat((self._turn(states_BHLK[..., :turned]), states_BHLK[..., turned:]), dim=-1)

    def _turn(self, states_BHLK: Tensor) -> Tensor:
        turned: Tensor = _Turn.apply(states_BHLK, self.cos_B1LK, self.sin_B1LK)  # type: ignore[no-untyped-call]
        return turned


class _Turn(torch.autograd.Function):
    """A turn, whose gradient is the turn back: half the passes over memory of products, sums and joins by autograd.

    The gradient itself has none: nothing here is differentiated twice.
    """

    @staticmethod
    def forward(context: Any, states_BHLK: Tensor, cos_B1LK: Tensor, sin_B1LK: Tensor) -> Tensor:
        context.save_for_backward(cos_B1LK, sin_B1LK)
        return _turned(states_BHLK, cos_B1LK, sin_B1LK)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient_BHLK: Tensor) -> tuple[Tensor, None, None]:
        cos_B1LK, sin_B1LK = context.saved_tensors
        return _turned(gradient_BHLK, cos_B1LK, -sin_B1LK), None, None


def _turned(states_BHLK: Tensor, cos_B1LK: Tensor, sin_B1LK: Tensor) -> Tensor:
    """Return states turned, each head's places side by side in memory, as the products that follow read them."""
    # The first half of the places and the second are the two axes of the planes, as in GPT-NeoX and Llama.
    first, second = states_BHLK.chunk(2, dim=-1)
    if torch.compiler.is_compiling():  # which fuses all of it, and does not trace what is written into a part
        return torch.cat((first * cos_B1LK - second * sin_B1LK, second * cos_B1LK + first * sin_B1LK), dim=-1)
    turned_BHLK = states_BHLK.new_empty(states_BHLK.shape)
    into_first, into_second = turned_BHLK.chunk(2, dim=-1)
    torch.mul(first, cos_B1LK, out=into_first).addcmul_(second, sin_B1LK, value=-1)
    torch.mul(second, cos_B1LK, out=into_second).addcmul_(first, sin_B1LK)
    return turned_BHLK


@dataclass(frozen=True)
class RotaryPositions:
    """How fast each plane of a head turns, and a factor on cosines and sines; equal values share their rotations."""

    frequencies: Frequencies
    amplitude: float = 1.0

    def rotation(self, position_BL: Tensor, dtype: torch.dtype) -> Rotation:
        """Return the rotation of the places; angles are computed in float32 or better, then rounded to `dtype`."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        frequency_K = torch.tensor(self.frequencies, dtype=wide, device=position_BL.device)
        angle_B1LK = (position_BL[..., None].to(wide) * frequency_K)[:, None]
        cos_B1LK, sin_B1LK = angle_B1LK.cos(), angle_B1LK.sin()
        if self.amplitude != 1.0:
            cos_B1LK, sin_B1LK = cos_B1LK * self.amplitude, sin_B1LK * self.amplitude
        return Rotation(cos_B1LK.to(dtype), sin_B1LK.to(dtype))


def plain_frequencies(size: int, base: float) -> Frequencies:
    """Return base ** (-2 i / size) for each of the size / 2 planes (Su et al. 2021, section 3.2.2)."""
    return tuple(base ** (-place / size) for place in range(0, size, 2))


def linear_frequencies(frequencies: Frequencies, factor: float) -> Frequencies:
    """Return frequencies for positions divided by `factor` (Chen et al. 2023)."""
    return tuple(frequency / factor for frequency in frequencies)


def ntk_frequencies(size: int, base: float, factor: float) -> Frequencies:
    """Return frequencies of a base raised so that the slowest plane, and it only, is `factor` times slower."""
    return plain_frequencies(size, base * factor ** (size / (size - 2)) if size > 2 else base)


def yarn_frequencies(
    size: int,
    base: float,
    *,
    factor: float,
    original_length: int,
    beta_fast: float,
    beta_slow: float,
    truncate: bool,
) -> Frequencies:
    """Return YaRN's "NTK-by-parts" frequencies (Peng et al. 2023, section 3.2).

    Args:
        size: places of a head that are turned.
        base: of the plain frequencies.
        factor: how many times longer the text may be.
        original_length: tokens of the rows the model was pretrained on.
        beta_fast: planes that turn more often than this within the original length are left as they are.
        beta_slow: planes that turn less often than this are interpolated.
        truncate: round the ends of the ramp between the two outwards to whole planes.
    """

    def plane(turns: float) -> float:
        return size * math.log(original_length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = plane(beta_fast), plane(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001  # a ramp of no length has no slope

    def interpolated(number: int) -> float:
        return min(max((number - low) / (high - low), 0.0), 1.0)

    return tuple(
        frequency / factor * interpolated(number) + frequency * (1 - interpolated(number))
        for number, frequency in enumerate(plain_frequencies(size, base))
    )


def yarn_amplitude(factor: float) -> float:
    """Return YaRN's factor on cosines and sines, 0.1 ln(factor) + 1 (Peng et al. 2023, equation 22)."""
    return 0.1 * math.log(factor) + 1.0


def llama3_frequencies(
    frequencies: Frequencies, *, factor: float, original_length: int, low: float, high: float
) -> Frequencies:
    """Return Llama 3.1's frequencies: slow planes interpolated, fast ones left, a mixture of both between.

    Args:
        frequencies: the plain ones.
        factor: how many times longer the text may be.
        original_length: tokens of the rows the model was pretrained on.
        low: planes that turn less often than this within the original length are interpolated.
        high: planes that turn more often than this are left as they are.
    """

    def scaled(frequency: float) -> float:
        turns = original_length * frequency / (2 * math.pi)
        share = min(max((turns - low) / (high - low), 0.0), 1.0)
        return (1 - share) * frequency / factor + share * frequency

    return tuple(scaled(frequency) for frequency in frequencies)
