"""Averages of the weights over the steps: what is validated and kept in place of the weights that go on learning."""

from copy import deepcopy
from typing import Protocol, assert_never

import torch
from torch import Tensor, nn

from trivium.model.folder import load_tensors, unique_tensors
from trivium.train.config import AveragingConfig, EmaConfig, TailConfig
from trivium.train.optimiser_config import Precision
from trivium.train.precision import TrainedWeights


class Kept(Protocol):
    """The weights that are validated and kept."""

    @property
    def network(self) -> nn.Module:
        """The network in float32 that is saved; what has no average is the trained one itself."""
        ...

    def update(self, step: int) -> None:
        """Take note of the weights after a step, counted from 1."""
        ...

    def computing(self) -> nn.Module:
        """Return the network to validate, in the type that training computes in."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the trained weights, by name."""
        ...


class Latest:
    """No average: the weights as they are."""

    def __init__(self, weights: TrainedWeights) -> None:
        self._weights = weights

    @property
    def network(self) -> nn.Module:
        """The trained network."""
        return self._weights.master

    def update(self, step: int) -> None:
        """Do nothing."""

    def computing(self) -> nn.Module:
        """Return the weights as they are."""
        return self._weights.exact()

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}


class Averaged:
    """A network of its own, which each step moves towards the trained one.

    What it is after a step is a function of what it was before, the weights and the step's number, so that tensors
    are all that a checkpoint must hold of it.
    """

    def __init__(self, weights: TrainedWeights, config: AveragingConfig, *, precision: Precision, steps: int) -> None:
        self.network = deepcopy(weights.master)
        self._weights, self._config, self._precision, self._steps = weights, config, precision, steps

    def load(self, tensors: dict[str, Tensor], source: str) -> None:
        """Take the average from a checkpoint; raise CheckpointError when it is of another model."""
        load_tensors(self.network, tensors, source)

    def update(self, step: int) -> None:
        """Move the average towards the weights after a step, counted from 1."""
        averages = list(unique_tensors(self.network).values())
        latest = list(unique_tensors(self._weights.master).values())
        torch._foreach_lerp_(averages, latest, newest_share(self._config, step, self._steps))

    def computing(self) -> nn.Module:
        """Return the average, rounded to the type that training computes in."""
        return TrainedWeights(self.network, self._precision).exact()

    def tensors(self) -> dict[str, Tensor]:
        """Return the average."""
        return unique_tensors(self.network)


def newest_share(config: AveragingConfig, step: int, steps: int) -> float:
    """Return the share that the weights after a step have in the average then, in [0, 1].

    Args:
        config: how weights are averaged.
        step: updates done, 1 at least.
        steps: of the whole run.
    """
    match config:
        case EmaConfig(decay=decay, warmup=warmup):
            return 1.0 - min(decay, step / (step + warmup))
        case TailConfig(share=share):
            first = steps - max(1, round(share * steps))
            return 1.0 / max(1, step - first)
        case _:
            assert_never(config)


def kept_weights(
    weights: TrainedWeights,
    config: AveragingConfig | None,
    *,
    precision: Precision,
    steps: int,
    saved: dict[str, Tensor],
    source: str,
) -> Kept:
    """Return what is validated and kept.

    Args:
        weights: what is trained, as it begins or goes on.
        config: how weights are averaged; None = they are not.
        precision: that training computes in.
        steps: of the whole run.
        saved: of a checkpoint; empty = the run begins.
        source: of what is saved, for errors.

    Raises:
        CheckpointError: what is saved is of another model.
    """
    if config is None:
        return Latest(weights)
    averaged = Averaged(weights, config, precision=precision, steps=steps)
    if saved:
        averaged.load(saved, source)
    return averaged
