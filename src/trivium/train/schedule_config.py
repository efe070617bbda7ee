"""How learning rate and weight decay change over a run, as values."""

from typing import Annotated, Literal

from pydantic import Field

from trivium.core.config import Config

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ConstantSchedule(Config):
    """Warm-up, constant, then straight down to `final_share` over the last `cooldown_share` of the steps."""

    kind: Literal["constant"] = "constant"
    warmup_share: Share = 0.05
    cooldown_share: Share = 0.3
    final_share: Share = 0.0


class LinearSchedule(Config):
    """Warm-up, then straight down to `final_share` of the peak."""

    kind: Literal["linear"] = "linear"
    warmup_share: Share = 0.05
    final_share: Share = 0.0


class CosineSchedule(Config):
    """Warm-up, then half a cosine down to `final_share` of the peak."""

    kind: Literal["cosine"] = "cosine"
    warmup_share: Share = 0.05
    final_share: Share = 0.1


class InverseSquareRootSchedule(Config):
    """Warm-up, then the peak times sqrt(warm-up steps / steps done) (Vaswani et al. 2017; T5).

    Over the last `cooldown_share` of the steps it goes on straight down to 0.
    """

    kind: Literal["inverse_sqrt"] = "inverse_sqrt"
    warmup_share: Share = 0.05
    cooldown_share: Share = 0.0


class AsLearningRate(Config):
    """The share that the learning rate has of its peak."""

    kind: Literal["as_lr"] = "as_lr"


ScheduleConfig = Annotated[
    ConstantSchedule | LinearSchedule | CosineSchedule | InverseSquareRootSchedule, Field(discriminator="kind")
]
DecaySchedule = Annotated[
    AsLearningRate | ConstantSchedule | LinearSchedule | CosineSchedule | InverseSquareRootSchedule,
    Field(discriminator="kind"),
]
