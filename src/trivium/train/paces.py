"""How each parameter is trained other than the rest: by its depth, and by the width of the network."""

from collections.abc import Callable, Sequence
from typing import assert_never

from torch import nn

from trivium.model.config import ModelConfig
from trivium.model.parametrise import width_ratio
from trivium.model.roles import block_matrices, hidden_matrices, layer_depths, readout_matrices
from trivium.train.config import RunConfig
from trivium.train.optimiser_config import (
    AdafactorConfig,
    AdamWConfig,
    LambConfig,
    LionConfig,
    MuonConfig,
    NorMuonConfig,
    OptimiserConfig,
)
from trivium.train.optimisers import Pace
from trivium.train.pace_config import UnfreezeByEpochs, UnfreezeBySteps, Unfreezing


def paces(
    network: nn.Module,
    model: ModelConfig,
    optimiser: OptimiserConfig,
    *,
    layer_decay: float = 1.0,
    first_steps: Callable[[int], int] = lambda depth: 0,
) -> dict[str, Pace]:
    """Return by name how each parameter is trained.

    Args:
        network: what is trained.
        model: its architecture; says how wide it is next to the one that its learning rate was found for.
        optimiser: what the learning rate is of.
        layer_decay: learning rates are multiplied by this for each layer below the head (Clark et al. 2020). Differs
            from ELECTRA's code: the top layer has it once there is nothing but the head above, not twice.
        first_steps: from a depth (see `layer_depths`) to the first step in which it learns, counted from 0.
    """
    widths = _by_width(network, model, optimiser)
    return {
        name: Pace(
            scale=layer_decay**depth * widths.get(name, 1.0),
            # What a weight loses in a step stays what it is at the base width (Wang & Aitchison 2024).
            decay=1.0 if isinstance(optimiser, LambConfig) else 1.0 / widths.get(name, 1.0),
            first_step=first_steps(depth),
        )
        for name, depth in layer_depths(network).items()
    }


def run_paces(config: RunConfig, network: nn.Module) -> dict[str, Pace]:
    """Return by name how each parameter is trained in a pretraining run."""
    train = config.train
    begins = first_steps(train.unfreezing, ())
    return paces(network, config.model, config.optimiser, layer_decay=train.layer_decay, first_steps=begins)


def first_steps(unfreezing: Unfreezing | None, epoch_ends: Sequence[int]) -> Callable[[int], int]:
    """Return the function from a depth to the first step in which it learns.

    Args:
        unfreezing: how layers join in; None = all learn from the first step on.
        epoch_ends: steps done at the end of each epoch; what joins after the last learns nothing.
    """
    match unfreezing:
        case None:
            return lambda depth: 0
        case UnfreezeBySteps(every=every):
            return lambda depth: depth * every
        case UnfreezeByEpochs(every=every):
            ends = (0, *epoch_ends)
            return lambda depth: ends[min(depth * every, len(ends) - 1)]
        case _:
            assert_never(unfreezing)


def _by_width(network: nn.Module, model: ModelConfig, optimiser: OptimiserConfig) -> dict[str, float]:
    """Return the factors of learning rates that `parametrisation` mup asks for (Yang et al. 2022, Table 8).

    Between hidden states a weight may change by 1 / width, in the root mean square. Adam and Lion give every weight the
    learning rate, so it is divided by the width. What LAMB and Adafactor give is in proportion to the weights, which
    are drawn smaller by the root of the width; what Muon gives shrinks so by itself. Embeddings and vectors stay.
    """
    ratio = width_ratio(model)
    if ratio == 1.0:
        return {}
    hidden, readouts = hidden_matrices(network), readout_matrices(network)
    match optimiser:
        case AdamWConfig() | LionConfig():
            return dict.fromkeys(hidden | readouts, 1.0 / ratio)
        case LambConfig():
            return dict.fromkeys(hidden, ratio**-0.5)
        case AdafactorConfig(relative=relative):
            return dict.fromkeys(hidden, ratio**-0.5) if relative else dict.fromkeys(hidden | readouts, 1.0 / ratio)
        case MuonConfig() | NorMuonConfig():
            orthogonal = set(block_matrices(network))
            return dict.fromkeys(hidden | readouts, 1.0 / ratio) | dict.fromkeys(orthogonal, ratio**-0.5)
        case _:
            assert_never(optimiser)
