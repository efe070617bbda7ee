"""What makes lower layers learn slower, or later, as values."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from trivium.core.config import Config

# The learning rate of a parameter is multiplied by this for every layer that it lies below the head.
LayerDecay = Annotated[float, Field(gt=0.0, le=1.0)]


class UnfreezeBySteps(Config):
    """The head learns from the first step on; one more layer, the top one first, every so many steps."""

    kind: Literal["steps"] = "steps"
    every: PositiveInt


class UnfreezeByEpochs(Config):
    """The head learns from the first step on; one more layer, the top one first, every so many epochs.

    After Howard & Ruder (2018), section 3.3, where `every` is 1.
    """

    kind: Literal["epochs"] = "epochs"
    every: PositiveInt = 1


Unfreezing = Annotated[UnfreezeBySteps | UnfreezeByEpochs, Field(discriminator="kind")]
