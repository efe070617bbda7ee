"""Objectives from their configuration."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, assert_never

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from trivium.core.config import Config
from trivium.core.ramp import Scheduled
from trivium.core.special import SpecialTokens
from trivium.model.config import Decoder, Encoder, EncoderDecoder, ModelConfig, T5Init
from trivium.objectives.base import Objective
from trivium.objectives.causal import Causal, CausalConfig
from trivium.objectives.contrastive import Contrastive, ContrastiveConfig
from trivium.objectives.denoise import Denoise, DenoiseConfig
from trivium.objectives.distil import Distil, Weights, open_teacher
from trivium.objectives.fill_in import FillIn, FillInConfig
from trivium.objectives.masked import Masked, MaskedConfig
from trivium.objectives.mixed import Mixed, Part
from trivium.objectives.permuted import Permuted, PermutedConfig
from trivium.objectives.prefix import Prefix, PrefixConfig
from trivium.objectives.replaced import Replaced, ReplacedConfig
from trivium.objectives.sentences import Sentences, SentencesConfig
from trivium.objectives.spans import Spans, SpansConfig

# What a line of log.jsonl holds beside terms, and terms that are no part's.
_LOGGED = ("step", "split", "loss", "tokens", "seconds", "lr", "balance", "epoch")
# Those whose loss is the cross-entropy of tokens, and which train nothing but the network.
TokenObjective = Annotated[
    MaskedConfig | CausalConfig | PrefixConfig | FillInConfig | PermutedConfig | SpansConfig | DenoiseConfig,
    Field(discriminator="kind"),
]


class PartConfig(Config):
    """A part of a mixture.

    Args:
        objective: what it learns.
        share: of the rows, in proportion to the others'; may change in the course of the run.
        weight: of its terms; None = its share.
        name: of its terms; None = the objective's kind.
    """

    objective: TokenObjective
    share: Scheduled = 1.0
    weight: PositiveFloat | None = None
    name: str | None = None


class MixedConfig(Config):
    """Several objectives in one network, see `objectives.mixed`."""

    kind: Literal["mixed"] = "mixed"
    parts: Annotated[tuple[PartConfig, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_their_own(self) -> Self:
        named = [part.name for part in self.parts if part.name is not None]
        for name in named:
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name in _LOGGED:
                raise ValueError(
                    f"`name` of a part must be small letters, digits and hyphens, and no field of log.jsonl: {name!r}"
                )
        if len(set(named)) < len(named):
            raise ValueError(f"`name` of each part must be another: found {named}")
        return self


class Ul2Config(Config):
    """UL2's mixture of denoisers (Tay et al. 2023, section 3.1.2 and table 1), each with its mode's mark.

    Regular: spans of 3 or 8 tokens, 15 % hidden. Sequential: the last quarter on average. Extreme: 50 % hidden in spans
    of 3 or 8, or 64 tokens a span with 15 % or 50 % hidden. The usual shares make all seven equally likely.
    """

    kind: Literal["ul2"] = "ul2"
    regular: NonNegativeFloat = 2.0
    sequential: NonNegativeFloat = 1.0
    extreme: NonNegativeFloat = 4.0

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if not self.regular + self.sequential + self.extreme:
            raise ValueError("one of `regular`, `sequential` and `extreme` must be more than 0: found three times 0")
        return self


class DistilConfig(Config):
    """A teacher's word beside the labels, see `objectives.distil`; the usual weights are DistilBERT's.

    Args:
        teacher: a pretrained run of the same tokenizer.
        teacher_sha256: of its weights; written when the run begins and checked when it is resumed.
        objective: says which tokens are asked for.
        labels, logits, hidden: weights of the terms.
        temperature: softens both distributions.
    """

    kind: Literal["distil"] = "distil"
    teacher: str
    teacher_sha256: str | None = None
    objective: TokenObjective
    labels: NonNegativeFloat = 2.0
    logits: NonNegativeFloat = 5.0
    hidden: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        if not self.labels + self.logits + self.hidden:
            raise ValueError("one of `labels`, `logits` and `hidden` must be more than 0: found three times 0")
        return self


ObjectiveConfig = Annotated[
    MaskedConfig
    | CausalConfig
    | PrefixConfig
    | FillInConfig
    | PermutedConfig
    | SpansConfig
    | DenoiseConfig
    | SentencesConfig
    | ReplacedConfig
    | ContrastiveConfig
    | MixedConfig
    | Ul2Config
    | DistilConfig,
    Field(discriminator="kind"),
]


class Vocabulary(NamedTuple):
    """What objectives know of the texts.

    Args:
        special: the special tokens.
        size: of the vocabulary.
        counts_V: gives how often each token is in the training text; None = nobody counted.
        segments: the model tells a pair's texts apart.
        balanced: the network has experts, whose load is balanced beside (see `has_experts`).
        two_stacks: the network is an encoder-decoder.
    """

    special: SpecialTokens
    size: int
    counts_V: Callable[[], np.ndarray] | None = None
    segments: bool = False
    balanced: bool = False
    two_stacks: bool = False


def build_objective(config: ObjectiveConfig, vocabulary: Vocabulary) -> Objective:
    """Return the objective for texts of this vocabulary.

    Args:
        config: what is learned.
        vocabulary: of the texts.

    Raises:
        ConfigError: the vocabulary lacks special tokens that the objective needs; there is no such teacher.
    """
    special, balanced = vocabulary.special, vocabulary.balanced
    match config:
        case MaskedConfig():
            return _masked(config, vocabulary)
        case CausalConfig():
            return Causal(balanced=balanced)
        case PrefixConfig():
            return Prefix(config, balanced=balanced)
        case FillInConfig():
            return FillIn(config, special, balanced=balanced)
        case PermutedConfig():
            return Permuted(config, special, balanced=balanced)
        case SpansConfig():
            return Spans(config, special, balanced=balanced)
        case DenoiseConfig():
            return Denoise(config, special, balanced=balanced)
        case SentencesConfig(masked=masked):
            return Sentences(config, special, _masked(masked, vocabulary), vocabulary.segments, balanced=balanced)
        case ReplacedConfig(masked=masked):
            return Replaced(config, _masked(masked, vocabulary), balanced=balanced)
        case ContrastiveConfig():
            return Contrastive(config)
        case MixedConfig(parts=parts):
            return _mixed(parts, vocabulary)
        case Ul2Config():
            return _mixed(ul2_parts(config), vocabulary)
        case DistilConfig(teacher=teacher, teacher_sha256=expected, objective=asked):
            weights = Weights(config.labels, config.logits, config.hidden, config.temperature)
            inner, opened = build_objective(asked, vocabulary), open_teacher(Path(teacher), expected)
            return Distil(inner, opened, weights, asked.kind)
        case _:
            assert_never(config)


def ul2_parts(config: Ul2Config) -> tuple[PartConfig, ...]:
    """Return UL2's denoisers as parts of a mixture, those of share 0 left out."""
    regular = [SpansConfig(rate=0.15, mean_length=length, mode="regular") for length in (3.0, 8.0)]
    last = SpansConfig(rate=0.25, placement="end", mode="sequential")
    extreme = [
        SpansConfig(rate=rate, mean_length=length, mode="extreme")
        for length, rate in ((3.0, 0.5), (8.0, 0.5), (64.0, 0.15), (64.0, 0.5))
    ]
    parts = [
        *(PartConfig(objective=one, share=config.regular / 2, name=f"regular-{_told(one)}") for one in regular),
        PartConfig(objective=last, share=config.sequential, name="sequential"),
        *(PartConfig(objective=one, share=config.extreme / 4, name=f"extreme-{_told(one)}") for one in extreme),
    ]
    return tuple(part for part in parts if part.share)


def usual_objective(config: ModelConfig) -> ObjectiveConfig:
    """Return what a family is pretrained with unless the recipe says otherwise.

    Encoders hide 30 % of the tokens, which measured better than 15 % at our sizes (docs/objectives.md), as it did for
    ModernBERT (Warner et al. 2024); those of BERT's form, with norms after the branches, hide 15 % as published.
    Encoder-decoders write spans in every second row, and their encoder names hidden tokens in the others: spans alone
    teach an encoder nothing before the decoder has begun to look at it. Those that begin as T5 did write spans only.
    """
    match config.family:
        case Encoder(stack=stack):
            return MaskedConfig(rate=0.15 if stack.pattern[0].placement == "post" else 0.3)
        case Decoder():
            return CausalConfig()
        case EncoderDecoder():
            if isinstance(config.initialisation, T5Init):
                return SpansConfig()
            masked = PartConfig(objective=MaskedConfig(rate=0.3))
            return MixedConfig(parts=(PartConfig(objective=SpansConfig()), masked))
        case _:
            assert_never(config.family)


def is_nats_a_token(config: ObjectiveConfig) -> bool:
    """Return whether an objective's loss is a mean over tokens, so that counts of the text stand fairly beside it.

    The loss of a mixture with weights of its own, of pairs, detectors, comparisons and teachers is a sum of unlike
    things.
    """
    match config:
        case MixedConfig(parts=parts):
            return all(part.weight is None for part in parts)
        case SentencesConfig() | ReplacedConfig() | ContrastiveConfig() | DistilConfig():
            return False
        case _:
            return True


def _told(config: SpansConfig) -> str:
    return f"{config.mean_length:g}-{100 * config.rate:g}"


def _masked(config: MaskedConfig, vocabulary: Vocabulary) -> Masked:
    counts_V = vocabulary.counts_V() if config.rarity and vocabulary.counts_V is not None else None
    return Masked(
        config,
        vocabulary.special,
        vocabulary.size,
        counts_V,
        two_stacks=vocabulary.two_stacks,
        balanced=vocabulary.balanced,
    )


def _mixed(parts: tuple[PartConfig, ...], vocabulary: Vocabulary) -> Mixed:
    names = [part.name or part.objective.kind for part in parts]
    seen: Counter[str] = Counter()
    built: list[Part] = []
    for part, name in zip(parts, names, strict=True):
        seen[name] += 1
        unique = name if names.count(name) == 1 else f"{name}.{seen[name]}"
        objective = build_objective(part.objective, vocabulary)
        built.append(Part(unique, part.objective.kind, objective, part.share, part.weight))
    return Mixed(tuple(built))
