"""Optimisers as values. Each has the learning rate of its own kind: see `usual_lr`."""

from typing import Annotated, Literal, assert_never

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from trivium.core.config import Config
from trivium.train.schedule_config import DecaySchedule

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
# auto: bfloat16 where the processor multiplies it in hardware; settled before step 0.
Precision = Literal["auto", "float32", "bfloat16"]


class _OptimiserConfig(Config):
    """What all optimisers have. Vectors (norms, biases) are not decayed.

    `weight_decay` times the learning rate is what a weight loses of itself in a step; `decay_schedule` says which share
    of `weight_decay` each step has, None = all of it.
    """

    weight_decay: NonNegativeFloat = 0.1
    decay_schedule: DecaySchedule | None = None


class AdamWConfig(_OptimiserConfig):
    """AdamW (Loshchilov & Hutter 2019).

    `cautious`: what the update and the gradient disagree on in sign is left out and the rest made larger (Liang et al.
    2024). `cautious_decay`: a weight is decayed only where its update makes it smaller too (Chen et al. 2025).
    """

    kind: Literal["adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    eps: PositiveFloat = 1e-8
    cautious: bool = False
    cautious_decay: bool = False


class _OrthogonalConfig(_OptimiserConfig):
    """What Muon and NorMuon have in common.

    They are for the matrices of the blocks; all else is AdamW's, at `vector_lr` (None = `lr`). An update is an
    orthogonal matrix times 0.2 sqrt(max(rows, columns)), so that learning rates and weight decay of AdamW fit (Liu et
    al. 2025, section 2.2). `precision` is the type of the iteration.
    """

    lr: PositiveFloat = 1e-3
    momentum: Decay = 0.95
    nesterov: bool = True
    iterations: PositiveInt = 5
    precision: Precision = "auto"
    cautious_decay: bool = False
    vector_lr: PositiveFloat | None = None
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    eps: PositiveFloat = 1e-8


class MuonConfig(_OrthogonalConfig):
    """Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal by Newton-Schulz iteration."""

    kind: Literal["muon"] = "muon"


class NorMuonConfig(_OrthogonalConfig):
    """Muon whose rows are each divided by a running mean of their size (NorMuon, Li et al. 2025)."""

    kind: Literal["normuon"] = "normuon"
    row_beta: Decay = 0.95


class LambConfig(_OptimiserConfig):
    """LAMB (You et al. 2020): AdamW's update made as long as the weights of its matrix; vectors take AdamW's."""

    kind: Literal["lamb"] = "lamb"
    lr: PositiveFloat = 1e-2
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    eps: PositiveFloat = 1e-6


class AdafactorConfig(_OptimiserConfig):
    """Adafactor (Shazeer & Stern 2018): second moments of matrices kept as one row and one column.

    Second moments forget with step ** `beta2_power`. Updates of a larger root mean square than `clip` are scaled down
    to it. `relative`: the learning rate is multiplied by the root mean square of the weights, at least `min_scale`.
    """

    kind: Literal["adafactor"] = "adafactor"
    lr: PositiveFloat = 1e-2
    weight_decay: NonNegativeFloat = 0.0
    beta1: Decay = 0.0
    beta2_power: Annotated[float, Field(ge=-1.0, lt=0.0)] = -0.8
    eps: PositiveFloat = 1e-30
    clip: PositiveFloat = 1.0
    relative: bool = True
    min_scale: PositiveFloat = 1e-3


class LionConfig(_OptimiserConfig):
    """Lion (Chen et al. 2023): the sign of a momentum; a smaller learning rate than AdamW's and more decay."""

    kind: Literal["lion"] = "lion"
    lr: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 1.0
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    cautious_decay: bool = False


OptimiserConfig = Annotated[
    AdamWConfig | MuonConfig | NorMuonConfig | LambConfig | AdafactorConfig | LionConfig, Field(discriminator="kind")
]
OptimiserKind = Literal["adamw", "muon", "normuon", "lamb", "adafactor", "lion"]
OPTIMISERS: tuple[OptimiserKind, ...] = ("adamw", "muon", "normuon", "lamb", "adafactor", "lion")


def usual_lr(kind: OptimiserKind, hidden_size: int) -> float:
    """Return the peak learning rate to pretrain a network of this width with.

    AdamW's is 0.4 / hidden size (0.0031 at 128, 0.0005 at 768), measured best at 128. Muon's updates are as large as
    AdamW's. Adafactor's is AdamW's over sqrt(0.4 / hidden size), the weights' standard deviation at the beginning.
    Lion's and LAMB's are multiples of the like, measured at 128 (docs/experiments.md).
    """
    match kind:
        case "adamw" | "muon" | "normuon":
            return round(0.4 / hidden_size, 6)
        case "lion":
            return round(0.16 / hidden_size, 7)
        case "lamb":
            return round(0.25 * float((0.4 / hidden_size) ** 0.5), 4)
        case "adafactor":
            return round(float((0.4 / hidden_size) ** 0.5), 4)
        case _:
            assert_never(kind)
