"""Learning rates in closed form."""

import math

import pytest

from trivium.train.schedule_config import (
    AsLearningRate,
    ConstantSchedule,
    CosineSchedule,
    InverseSquareRootSchedule,
    LinearSchedule,
    ScheduleConfig,
)
from trivium.train.schedules import decay_share, lr_share

SCHEDULES: list[ScheduleConfig] = [
    LinearSchedule(warmup_share=0.1),
    LinearSchedule(warmup_share=0.0, final_share=0.25),
    CosineSchedule(warmup_share=0.05, final_share=0.1),
    ConstantSchedule(warmup_share=0.1, cooldown_share=0.3),
    ConstantSchedule(warmup_share=0.0, cooldown_share=0.0),
    ConstantSchedule(warmup_share=0.2, cooldown_share=0.8, final_share=0.1),
    InverseSquareRootSchedule(warmup_share=0.1, cooldown_share=0.2),
    InverseSquareRootSchedule(warmup_share=0.0),
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


def test_inverse_square_root() -> None:
    warmup = [(step + 1) / 10 for step in range(10)]
    down = [math.sqrt(10 / done) for done in range(11, 101)]
    assert curve(InverseSquareRootSchedule(warmup_share=0.1), 100) == pytest.approx([*warmup, *down])
    last = [math.sqrt(10 / done) * (101 - done) / 21 for done in range(81, 101)]
    cooled = InverseSquareRootSchedule(warmup_share=0.1, cooldown_share=0.2)
    assert curve(cooled, 100) == pytest.approx([*warmup, *down[:70], *last])
    assert curve(InverseSquareRootSchedule(warmup_share=0.0), 4) == pytest.approx([1.0, 0.5**0.5, 3**-0.5, 0.5])


def test_weight_decay_has_a_schedule_of_its_own_or_follows_the_learning_rate_or_stays() -> None:
    schedule, down = CosineSchedule(), LinearSchedule(warmup_share=0.0)
    steps = range(200)
    assert [decay_share(None, schedule, step, 200) for step in steps] == [1.0] * 200
    assert [decay_share(AsLearningRate(), schedule, step, 200) for step in steps] == curve(schedule, 200)
    assert [decay_share(down, schedule, step, 200) for step in steps] == [(200 - step) / 200 for step in steps]


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
    final = getattr(config, "final_share", 0.0) if getattr(config, "cooldown_share", 1.0) else 1.0
    if isinstance(config, InverseSquareRootSchedule):  # has no final share: it falls for ever
        final = 0.0 if config.cooldown_share else 1000**-0.5
    assert final <= lr_share(config, 999, 1000) <= final + 0.005
