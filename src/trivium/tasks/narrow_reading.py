"""A fine-tuned model that reads in a narrower type than it was trained in."""

from copy import deepcopy
from typing import Literal

import torch

from trivium.core.errors import ConfigError
from trivium.model.int8 import in_int8
from trivium.tasks.base import TaskModel
from trivium.tasks.folder import TunedModel

ReadingPrecision = Literal["float32", "bfloat16", "int8"]


def reading_in(tuned: TunedModel, precision: ReadingPrecision = "float32") -> TunedModel:
    """Return the model, computing in another type.

    Args:
        tuned: in float32, on a CPU; it stays as it is.
        precision: bfloat16 is faster where the processor multiplies it, int8 on any processor. The answers are nearly
            the same: how near, `trivium evaluate` says with the same option.

    Raises:
        ConfigError: a model that writes, which reads too few rows at once for either to be faster.
    """
    if precision == "float32":
        return tuned
    model = tuned.model
    if not isinstance(model, TaskModel):
        raise ConfigError(f"--precision {precision}: `{tuned.task.name}` writes texts, in float32 only.")
    if precision == "bfloat16":
        return tuned._replace(model=deepcopy(model).to(torch.bfloat16))
    narrow = TaskModel(reader=in_int8(model.reader), states=model.states, head=model.head, chain=model.chain)
    return tuned._replace(model=narrow.eval())
