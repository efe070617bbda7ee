"""What a run's loop works on: as it begins, or as the newest whole checkpoint has it."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from trivium.core.progress import Progress
from trivium.core.random import Key
from trivium.model.folder import unique_tensors
from trivium.train.averaging import Kept, kept_weights
from trivium.train.checkpoint import load_checkpoint, tensors_beside
from trivium.train.config import RunConfig
from trivium.train.distributed import ALONE, Ranks
from trivium.train.material import Material, draw, trained_network
from trivium.train.mixout import trained_weights
from trivium.train.optimisers import Optimiser, build_optimiser
from trivium.train.paces import run_paces
from trivium.train.precision import TrainedWeights
from trivium.train.resume import newest_whole
from trivium.train.sharded import ShardedWeights, is_sharding
from trivium.train.state import TrainState

AVERAGE, START = "average", "start"  # files of a checkpoint, see `save_checkpoint`


class Begun(NamedTuple):
    """What the loop works on."""

    weights: TrainedWeights
    kept: Kept
    optimiser: Optimiser
    start: dict[str, Tensor]  # the weights that the run began with, where mixout needs them
    state: TrainState


def begin(config: RunConfig, material: Material, out: Path, progress: Progress, ranks: Ranks = ALONE) -> Begun:
    """Return what the loop works on.

    Args:
        config: the run, nothing left open.
        material: its start is not opened when the run goes on.
        out: the run's folder.
        progress: told where the run goes on, and what is not of the model that it begins with.
        ranks: that make the run.

    Raises:
        CheckpointError: there are checkpoints and all are damaged, or one is of another model.
    """
    network, key = trained_network(config, material), Key(config.seed)
    path = ranks.told(lambda: newest_whole(out, progress))
    began: dict[str, Tensor] = {}
    if path is None:
        anew = draw(network, config, material, progress)
        if config.mixout:
            began = {name: tensor.clone() for name, tensor in unique_tensors(network).items() if name not in anew}
    precision, steps = config.train.precision, config.train.steps or 0
    # In parts before the optimiser is made, whose parameters these are; rounded after a checkpoint is read.
    sharded = ShardedWeights(network, precision, ranks) if is_sharding(config, ranks) else None
    optimiser = build_optimiser(config.optimiser, network, run_paces(config, network))
    state, average = TrainState(), {}
    if path is not None:
        state = load_checkpoint(path, network, optimiser)
        average, began = tensors_beside(path, AVERAGE), tensors_beside(path, START)
        progress.line(f"resumed at step {state.step} of {config.train.steps}")
    weights = sharded or trained_weights(
        network, precision, mixout=config.mixout, start=began, key=key, step=state.step
    )
    kept = kept_weights(weights, config.averaging, precision=precision, steps=steps, saved=average, source=str(path))
    return Begun(weights, kept, optimiser, began, state)
