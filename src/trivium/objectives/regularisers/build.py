"""Regularisers from their configuration."""

from dataclasses import replace
from typing import assert_never

from torch import nn

from trivium.core.errors import ConfigError
from trivium.model.dropout import draws
from trivium.objectives.base import Learned, Predicts
from trivium.objectives.mixed import Mixed, Part
from trivium.objectives.regularisers.adversarial import Fgm, Smart
from trivium.objectives.regularisers.base import OnlyLoss
from trivium.objectives.regularisers.config import (
    FgmConfig,
    LabelSmoothingConfig,
    NeftuneConfig,
    RDropConfig,
    RegulariserConfig,
    Regularisers,
    SmartConfig,
    ZLossConfig,
)
from trivium.objectives.regularisers.logits import LabelSmoothing, ZLoss
from trivium.objectives.regularisers.noise import Neftune
from trivium.objectives.regularisers.r_drop import RDrop
from trivium.objectives.replaced import Replaced


def regularised(
    regularisers: Regularisers, learned: Learned, *, name: str, network: nn.Module, hidden_size: int
) -> Learned:
    """Return what is learned with regularisers around it (around each part of a mixture), the first the innermost.

    Args:
        regularisers: see `RegulariserConfig`.
        learned: an objective or a task.
        name: of what is learned, for errors.
        network: what is trained.
        hidden_size: D of its stacks.

    Raises:
        ConfigError: what is learned shows no logits, or nothing is drawn in the network's passes, where one of them
            needs it.
    """
    if not regularisers:
        return learned
    if isinstance(learned, Mixed):

        def around(part: Part) -> Learned:
            return regularised(regularisers, part.objective, name=part.name, network=network, hidden_size=hidden_size)

        return replace(learned, learned=tuple(around(part) for part in learned.parts))
    for number, config in enumerate(regularisers):
        if not isinstance(learned, Predicts) and not isinstance(config, FgmConfig | NeftuneConfig):
            raise ConfigError(
                f"regulariser `{config.kind}` needs logits of labels, and `{name}` shows none; leave it out."
            )
        if isinstance(config, FgmConfig) and isinstance(learned, Replaced):
            raise ConfigError(
                "regulariser `fgm` moves the embeddings of a text against its loss, and `replaced` reads another text "
                "in each pass; leave it out."
            )
        noisy = any(isinstance(inner, NeftuneConfig) for inner in regularisers[:number])
        if isinstance(config, RDropConfig) and not noisy and not draws(network):
            raise ConfigError(
                "regulariser `r_drop` compares passes that dropout makes different, and this network drops nothing "
                "out; give it dropout, or leave `r_drop` out."
            )
    wrapped: Predicts = learned if isinstance(learned, Predicts) else OnlyLoss(learned)
    for config in regularisers:
        wrapped = _around(wrapped, config, hidden_size)
    return wrapped


def _around(learned: Predicts, config: RegulariserConfig, hidden_size: int) -> Predicts:
    match config:
        case LabelSmoothingConfig():
            return LabelSmoothing(learned, config)
        case ZLossConfig():
            return ZLoss(learned, config)
        case RDropConfig():
            return RDrop(learned, config)
        case FgmConfig():
            return Fgm(learned, config, hidden_size)
        case SmartConfig():
            return Smart(learned, config, hidden_size)
        case NeftuneConfig():
            return Neftune(learned, config, hidden_size)
        case _:
            assert_never(config)
