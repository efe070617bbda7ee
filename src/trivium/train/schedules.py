"""Learning rate and weight decay as pure functions of the step."""

import math
from typing import assert_never

from trivium.train.schedule_config import (
    AsLearningRate,
    ConstantSchedule,
    CosineSchedule,
    DecaySchedule,
    InverseSquareRootSchedule,
    LinearSchedule,
    ScheduleConfig,
)


def lr_share(config: ScheduleConfig, step: int, steps: int) -> float:
    """Return the share of the peak learning rate for a step, counted from 0, of a run of `steps`."""
    warmup = round(config.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    match config:
        case ConstantSchedule(cooldown_share=cooldown_share, final_share=final):
            cooldown = round(cooldown_share * steps)
            return final + (1.0 - final) * min(1.0, (steps - step) / (cooldown + 1))
        case LinearSchedule(final_share=final):
            return final + (1.0 - final) * (steps - step) / max(1, steps - warmup)
        case CosineSchedule(final_share=final):
            done = (step - warmup) / max(1, steps - warmup)
            return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * done))
        case InverseSquareRootSchedule(cooldown_share=cooldown_share):
            cooldown = round(cooldown_share * steps)
            falling = min(1.0, (steps - step) / (cooldown + 1))
            return falling * math.sqrt(max(warmup, 1) / (step + 1))
        case _:
            assert_never(config)


def decay_share(decay: DecaySchedule | None, schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Return the share of the weight decay for a step; without a schedule of its own it is 1.

    Args:
        decay: how it changes.
        schedule: the learning rate's, which the decay may follow.
        step: counted from 0.
        steps: of the run.
    """
    match decay:
        case None:
            return 1.0
        case AsLearningRate():
            return lr_share(schedule, step, steps)
        case _:
            return lr_share(decay, step, steps)
