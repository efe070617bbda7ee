"""What a run's loop works on: as it begins, or as the newest whole checkpoint has it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.model.folder import SavedModel, load_matching, unique_tensors
from trivium.model.initialise import initialise
from trivium.objectives.base import Objective
from trivium.train.averaging import Kept, kept_weights
from trivium.train.checkpoint import latest_good, load_checkpoint, tensors_beside
from trivium.train.config import RunConfig
from trivium.train.mixout import trained_weights
from trivium.train.optimisers import build_optimiser
from trivium.train.precision import TrainedWeights
from trivium.train.state import TrainState

AVERAGE, START = "average", "start"  # files of a checkpoint, see `save_checkpoint`

Start = Callable[[], SavedModel]


class Begun(NamedTuple):
    """What the loop works on."""

    weights: TrainedWeights
    kept: Kept
    optimiser: torch.optim.Optimizer
    start: dict[str, Tensor]  # the weights that the run began with, where mixout needs them
    state: TrainState


def begin(config: RunConfig, objective: Objective, start: Start | None, out: Path, progress: Progress) -> Begun:
    """Return what the loop works on.

    Args:
        config: the run, nothing left open.
        objective: builds the network.
        start: opens the model whose weights the run begins with; not asked for when it goes on.
        out: the run's folder.
        progress: told where the run goes on, and what is not of the model that it begins with.

    Raises:
        CheckpointError: there are checkpoints and all are damaged, or one is of another model.
    """
    network, key = objective.network(config.model), Key(config.seed)
    optimiser = build_optimiser(config.optimiser, network)
    path, complaints = latest_good(out)
    for complaint in complaints:
        progress.line(f"{complaint} The checkpoint before it is used.")
    average: dict[str, Tensor] = {}
    began: dict[str, Tensor] = {}
    if path is not None:
        state = load_checkpoint(path, network, optimiser)
        average, began = tensors_beside(path, AVERAGE), tensors_beside(path, START)
        progress.line(f"resumed at step {state.step} of {config.train.steps}")
    else:
        state = TrainState()
        anew = _first_weights(config, start, network, progress)
        if config.mixout:
            began = {name: tensor.clone() for name, tensor in unique_tensors(network).items() if name not in anew}
    precision, steps = config.train.precision, config.train.steps or 0
    weights = trained_weights(network, precision, mixout=config.mixout, start=began, key=key, step=state.step)
    kept = kept_weights(weights, config.averaging, precision=precision, steps=steps, saved=average, source=str(path))
    return Begun(weights, kept, optimiser, began, state)


def _first_weights(config: RunConfig, start: Start | None, network: nn.Module, progress: Progress) -> list[str]:
    """Draw the weights, or take them from the model that the run begins with; return which that one has not."""
    initialise(network, config.model, Key(config.seed))
    if config.start_from is None or start is None:
        return list(unique_tensors(network))
    anew = load_matching(network, unique_tensors(start().network))
    if anew:
        shown = ", ".join(anew[:3]) + (f" and {len(anew) - 3} more" if len(anew) > 3 else "")
        progress.line(f"begins with {config.start_from}, but for what it has not and is drawn anew: {shown}")
    return anew
