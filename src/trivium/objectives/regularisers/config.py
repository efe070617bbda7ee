"""Regularisers as values of a recipe."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat

from trivium.core.config import Config

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class LabelSmoothingConfig(Config):
    """`share` of each label's probability is spread evenly over all classes."""

    kind: Literal["label_smoothing"] = "label_smoothing"
    share: Share = 0.1


class ZLossConfig(Config):
    """`weight` times the square of the logarithm of the softmax's sum, which keeps logits near 0."""

    kind: Literal["z_loss"] = "z_loss"
    weight: PositiveFloat = 1e-4


class RDropConfig(Config):
    """Two passes with dropout of their own; `weight` is the paper's alpha."""

    kind: Literal["r_drop"] = "r_drop"
    weight: PositiveFloat = 1.0


class FgmConfig(Config):
    """A second pass, each document's embeddings moved by `epsilon` (a Euclidean norm) to where the loss is higher."""

    kind: Literal["fgm"] = "fgm"
    epsilon: PositiveFloat = 1.0
    weight: PositiveFloat = 1.0


class SmartConfig(Config):
    """Predictions should not change where the embeddings move by at most `epsilon` a number.

    Differs from Jiang et al. 2020: noise of 1e-5 (theirs, beside a step of 1e-3) is lost in a bfloat16 network's
    rounding, so that the usual sizes are larger.

    Args:
        epsilon: bound of the perturbation, a number of an embedding.
        std: of the noise that the ascent begins with.
        step: length of the ascent's step, a number of an embedding at most.
        weight: of the divergence (lambda in the paper).
    """

    kind: Literal["smart"] = "smart"
    epsilon: PositiveFloat = 0.01
    std: PositiveFloat = 0.003
    step: PositiveFloat = 0.01
    weight: PositiveFloat = 1.0


class NeftuneConfig(Config):
    """Uniform noise between -x and x on the embeddings, x = `alpha` over the root of a document's numbers (L x D)."""

    kind: Literal["neftune"] = "neftune"
    alpha: PositiveFloat = 5.0


RegulariserConfig = Annotated[
    LabelSmoothingConfig | ZLossConfig | RDropConfig | FgmConfig | SmartConfig | NeftuneConfig,
    Field(discriminator="kind"),
]


def _each_once(regularisers: tuple[RegulariserConfig, ...]) -> tuple[RegulariserConfig, ...]:
    kinds = [each.kind for each in regularisers]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(f"expected each kind once at most, found `{kind}` {kinds.count(kind)} times")
    return regularisers


# The first is the innermost: each of the others wraps the loss that those before it make.
Regularisers = Annotated[tuple[RegulariserConfig, ...], AfterValidator(_each_once)]
