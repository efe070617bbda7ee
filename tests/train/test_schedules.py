"""Learning rates in closed form."""

import math

import pytest

from trivium.train.config import ConstantSchedule, CosineSchedule, LinearSchedule, ScheduleConfig
from trivium.train.schedules import lr_share

SCHEDULES: list[ScheduleConfig] = [
    LinearSchedule(warmup_share=0.1),
    LinearSchedule(warmup_share=0.0, final_share=0.25),
    CosineSchedule(warmup_share=0.05, final_share=0.1),
    ConstantSchedule(warmup_share=0.1, cooldown_share=0.3),
    ConstantSchedule(warmup_share=0.0, cooldown_share=0.0),
    ConstantSchedule(warmup_share=0.2, cooldown_share=0.8, final_share=0.1),
]


def curve(config: ScheduleConfig, steps: int) -> list[float]:
    return [lr_share(config, step, steps) for step in range(steps)]


def test_linear() -> None:
    warmup = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    down = [(100 - step) / 90 for step in range(10, 100)]
    assert curve(LinearSchedule(warmup_share=0.1), 100) == pytest.approx(warmup + down)
    kept = [0.2 + 0.8 * share for share in down]
    assert curve(LinearSchedule(warmup_share=0.1, final_share=0.2), 100) == pytest.approx(warmup + kept)


def test_cosine() -> None:
    down = [0.1 + 0.9 * (1 + math.cos(math.pi * (step - 20) / 180)) / 2 for step in range(20, 200)]
    warmup = [(step + 1) / 20 for step in range(20)]
    assert curve(CosineSchedule(warmup_share=0.1, final_share=0.1), 200) == pytest.approx(warmup + down)


def test_constant_with_cooldown() -> None:
    config = ConstantSchedule(warmup_share=0.1, cooldown_share=0.3)
    warmup = [(step + 1) / 10 for step in range(10)]
    down = [(100 - step) / 31 for step in range(70, 100)]
    assert curve(config, 100) == pytest.approx([*warmup, *[1.0] * 60, *down])


def test_constant_without_cooldown_stays() -> None:
    assert curve(ConstantSchedule(warmup_share=0.0, cooldown_share=0.0), 50) == [1.0] * 50


@pytest.mark.parametrize("config", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 97, 1000])
def test_shares_are_above_0_and_at_most_1_and_rise_before_they_fall(config: ScheduleConfig, steps: int) -> None:
    shares = curve(config, steps)
    assert len(shares) == steps
    assert all(0.0 < share <= 1.0 + 1e-12 for share in shares)
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)


@pytest.mark.parametrize("config", SCHEDULES)
def test_the_peak_is_reached(config: ScheduleConfig) -> None:
    assert max(curve(config, 100)) == pytest.approx(1.0)


@pytest.mark.parametrize("config", SCHEDULES)
def test_the_last_step_is_a_step_above_the_final_share(config: ScheduleConfig) -> None:
    final = config.final_share if getattr(config, "cooldown_share", 1.0) else 1.0
    assert final <= lr_share(config, 999, 1000) <= final + 0.005
