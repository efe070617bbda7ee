"""Rotary positions: a share of each head, and frequencies scaled for longer texts against transformers' own."""

import itertools
import math

import pytest
import torch
import transformers
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from trivium.model.build.position import build_rotary
from trivium.model.parts import LinearScaling, Llama3Scaling, NoPosition, NtkScaling, Rotary, RotaryScaling, YarnScaling
from trivium.model.rotary import RotaryPositions

SIZES = [(8, 100.0), (64, 10_000.0), (128, 500_000.0)]


def built(size: int, base: float, scaling: RotaryScaling | None = None, *, share: float = 1.0) -> RotaryPositions:
    rotary = build_rotary(Rotary(base=base, share=share, scaling=scaling), size)
    assert rotary is not None
    return rotary


def theirs(size: int, base: float, *, share: float = 1.0, **options: object) -> tuple[Tensor, float]:
    """Frequencies and the factor on cosines and sines that transformers computes."""
    config = transformers.LlamaConfig(
        hidden_size=4 * size,
        head_dim=size,
        num_attention_heads=4,
        max_position_embeddings=4096,
        rope_parameters={"rope_theta": base, "partial_rotary_factor": share, **options},
    )
    return ROPE_INIT_FUNCTIONS[str(options["rope_type"])](config, torch.device("cpu"))


def check(mine: RotaryPositions, frequencies: Tensor, amplitude: float) -> None:
    assert len(mine.frequencies) == len(frequencies) > 1
    torch.testing.assert_close(torch.tensor(mine.frequencies), frequencies, atol=0, rtol=2e-6)
    assert mine.amplitude == pytest.approx(amplitude)


@pytest.mark.parametrize("factor", [1.0, 2.5, 8.0])
@pytest.mark.parametrize(("size", "base"), SIZES)
def test_linear_scaling_is_transformers(size: int, base: float, factor: float) -> None:
    frequencies, amplitude = theirs(size, base, rope_type="linear", factor=factor)
    check(built(size, base, LinearScaling(factor=factor)), frequencies, amplitude)
    plain = built(size, base).frequencies
    assert built(size, base, LinearScaling(factor=factor)).frequencies == tuple(value / factor for value in plain)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"beta_fast": 8.0, "beta_slow": 0.5},
        {"truncate": False},
        {"attention_factor": 1.3},
        {"original_length": 4096, "factor": 16.0},
        {"original_length": 12, "factor": 2.0},  # every plane is slow
    ],
)
@pytest.mark.parametrize(("size", "base"), SIZES)
def test_yarn_is_transformers(size: int, base: float, changed: dict[str, float]) -> None:
    scaling = YarnScaling(**{"factor": 4.0, "original_length": 512, **changed})
    frequencies, amplitude = theirs(
        size,
        base,
        rope_type="yarn",
        factor=scaling.factor,
        original_max_position_embeddings=scaling.original_length,
        beta_fast=scaling.beta_fast,
        beta_slow=scaling.beta_slow,
        truncate=scaling.truncate,
        attention_factor=scaling.attention_factor,
    )
    check(built(size, base, scaling), frequencies, amplitude)


def test_yarn_leaves_fast_planes_and_interpolates_slow_ones() -> None:
    plain, scaled = built(64, 10_000.0), built(64, 10_000.0, YarnScaling(factor=4.0, original_length=512))
    assert scaled.frequencies[0] == plain.frequencies[0]
    assert scaled.frequencies[-1] == pytest.approx(plain.frequencies[-1] / 4)
    ratios = [fast / slow for fast, slow in zip(plain.frequencies, scaled.frequencies, strict=True)]
    assert ratios == sorted(ratios)
    assert scaled.amplitude == pytest.approx(0.1 * math.log(4) + 1)


@pytest.mark.parametrize(("low", "high"), [(1.0, 4.0), (0.5, 32.0)])
@pytest.mark.parametrize(("original_length", "factor"), [(512, 8.0), (4096, 32.0), (16, 2.0)])
@pytest.mark.parametrize(("size", "base"), SIZES)
def test_llama3_scaling_is_transformers(
    size: int, base: float, original_length: int, factor: float, low: float, high: float
) -> None:
    scaling = Llama3Scaling(
        factor=factor, original_length=original_length, low_frequency_factor=low, high_frequency_factor=high
    )
    frequencies, amplitude = theirs(
        size,
        base,
        rope_type="llama3",
        factor=factor,
        original_max_position_embeddings=original_length,
        low_freq_factor=low,
        high_freq_factor=high,
    )
    check(built(size, base, scaling), frequencies, amplitude)


def test_llama3_factors_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must be less than"):
        Llama3Scaling(factor=2.0, original_length=16, low_frequency_factor=4.0, high_frequency_factor=4.0)


@pytest.mark.parametrize("factor", [1.0, 2.0, 16.0])
@pytest.mark.parametrize(("size", "base"), SIZES)
def test_ntk_scaling_slows_the_slowest_plane_and_leaves_the_fastest(size: int, base: float, factor: float) -> None:
    plain, scaled = built(size, base).frequencies, built(size, base, NtkScaling(factor=factor)).frequencies
    assert scaled[0] == plain[0] == 1.0
    assert scaled[-1] == pytest.approx(plain[-1] / factor)
    # All others are those of one base.
    steps = {round(math.log(slower / faster), 9) for faster, slower in itertools.pairwise(scaled)}
    assert len(steps) == 1


@pytest.mark.parametrize("scaling", [None, LinearScaling(factor=2.0), NtkScaling(factor=2.0)])
def test_a_share_of_the_head_is_turned_and_the_rest_is_left(scaling: RotaryScaling | None) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 3, 7, 16, generator=generator, dtype=torch.float64)
    position = torch.randint(0, 50, (2, 7), generator=generator)
    position[:, 0] = 0
    part = built(16, 100.0, scaling, share=0.25)
    assert part.frequencies == built(4, 100.0, scaling).frequencies
    turned = part.rotation(position, torch.float64).apply(states)
    whole = built(4, 100.0, scaling).rotation(position, torch.float64).apply(states[..., :4])
    assert torch.equal(turned[..., :4], whole)
    assert torch.equal(turned[..., 4:], states[..., 4:])
    assert not torch.equal(turned[..., :4], states[..., :4])
    assert torch.equal(turned[:, :, 0], states[:, :, 0])
    frequencies, _ = theirs(16, 100.0, share=0.25, rope_type="linear", factor=1.0)
    assert len(frequencies) == len(part.frequencies) == 2


def test_a_rotation_turns_each_plane_by_frequency_times_position() -> None:
    rotary = built(8, 100.0, YarnScaling(factor=4.0, original_length=64))
    states = torch.randn(1, 1, 5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    position = torch.tensor([[0, 1, 2, 9, 40]])
    plane = torch.complex(states[..., :4], states[..., 4:])
    angle = position[0, :, None] * torch.tensor(rotary.frequencies, dtype=torch.float64)
    expected = plane * torch.polar(torch.full_like(angle, rotary.amplitude), angle)
    turned = rotary.rotation(position, torch.float64).apply(states)
    torch.testing.assert_close(turned, torch.cat((expected.real, expected.imag), dim=-1))
    rotation = rotary.rotation(position, torch.float64)
    # As it comes: a part of what queries, keys and values were computed as, in another order of its axes.
    mixed = torch.randn(1, 5, 2, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    turn = lambda mixed: rotation.apply(mixed[..., 8:16].transpose(1, 2))  # noqa: E731
    assert torch.autograd.gradcheck(turn, mixed.requires_grad_())
    assert turn(mixed).is_contiguous()


def test_angles_are_exact_in_bfloat16_too() -> None:
    position = torch.tensor([[4001]])
    rounded = built(16, 1e4).rotation(position, torch.bfloat16).cos_B1LK
    exact = built(16, 1e4).rotation(position, torch.float64).cos_B1LK
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.double(), exact, atol=5e-3, rtol=0)


def test_other_schemes_turn_nothing_and_equal_ones_are_equal() -> None:
    assert build_rotary(NoPosition(), 8) is None
    assert built(8, 100.0) == built(8, 100.0) != built(8, 101.0)
