"""How good a model was when each epoch ended, also as tensors of a checkpoint."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Epoch(NamedTuple):
    """How good the model was when an epoch ended."""

    step: int
    metrics: dict[str, float]  # of the validation examples, see `scores.Scores`


def goodness(metrics: Mapping[str, float], chosen_by: str) -> tuple[float, float]:
    """Return what is the larger, the better: of equal scores that of the lower loss."""
    less = -metrics["loss"]
    return (less if chosen_by == "loss" else metrics[chosen_by], less)


def as_tensors(epochs: tuple[Epoch, ...]) -> dict[str, Tensor]:
    """Return the epochs as columns, exactly: those of the log are rounded."""
    names = list(epochs[0].metrics) if epochs else []
    columns = {
        f"{number}|{name}": torch.tensor([epoch.metrics[name] for epoch in epochs], dtype=torch.float64)
        for number, name in enumerate(names)
    }
    return columns | {"step": torch.tensor([epoch.step for epoch in epochs])} if epochs else {}


def as_epochs(tensors: dict[str, Tensor]) -> tuple[Epoch, ...]:
    """Return what `as_tensors` was given; the metrics in their order, which the file does not keep."""
    if not tensors:
        return ()
    keys = sorted((key for key in tensors if key != "step"), key=lambda key: int(key.partition("|")[0]))
    columns = {key.partition("|")[2]: tensors[key].tolist() for key in keys}
    return tuple(
        Epoch(step, {name: column[number] for name, column in columns.items()})
        for number, step in enumerate(tensors["step"].tolist())
    )
