"""The learning rate as a pure function of the step."""

import math
from typing import assert_never

from trivium.train.config import ConstantSchedule, CosineSchedule, LinearSchedule, ScheduleConfig


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
        case _:
            assert_never(config)
