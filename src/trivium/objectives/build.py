"""Objectives from their configuration."""

from typing import Annotated, assert_never

from pydantic import Field

from trivium.core.special import SpecialTokens
from trivium.model.config import Decoder, Encoder, EncoderDecoder, ModelConfig
from trivium.objectives.base import Objective
from trivium.objectives.causal import Causal, CausalConfig
from trivium.objectives.masked import Masked, MaskedConfig
from trivium.objectives.spans import Spans, SpansConfig

ObjectiveConfig = Annotated[MaskedConfig | CausalConfig | SpansConfig, Field(discriminator="kind")]


def build_objective(
    config: ObjectiveConfig, special: SpecialTokens, vocabulary_size: int, *, balanced: bool = False
) -> Objective:
    """Return the objective for texts of this vocabulary.

    Args:
        config: what is learned.
        special: the special tokens.
        vocabulary_size: of the texts.
        balanced: the network has experts, whose load is balanced beside (see `has_experts`).

    Raises:
        ConfigError: the vocabulary lacks special tokens that the objective needs.
    """
    match config:
        case MaskedConfig():
            return Masked(config, special, vocabulary_size, balanced)
        case CausalConfig():
            return Causal(balanced)
        case SpansConfig():
            return Spans(config, special, balanced)
        case _:
            assert_never(config)


def usual_objective(config: ModelConfig) -> ObjectiveConfig:
    """Return what a family is pretrained with unless the recipe says otherwise."""
    match config.family:
        case Encoder():
            return MaskedConfig()
        case Decoder():
            return CausalConfig()
        case EncoderDecoder():
            return SpansConfig()
        case _:
            assert_never(config.family)
