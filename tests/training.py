"""Training on made-up text without files: what the run does, with every part in hand."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from torch import nn

from support import SPECIAL, VOCABULARY, MadeUpSplit, made_up_text, shrink, with_dropout
from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.data.loader import ahead, step_batches
from trivium.data.packing import RowReader
from trivium.model.config import EncoderDecoder, ModelConfig
from trivium.model.initialise import initialise
from trivium.model.presets import preset
from trivium.objectives.base import Objective
from trivium.objectives.build import ObjectiveConfig, build_objective, usual_objective
from trivium.objectives.spans import SpansConfig
from trivium.train.config import AdamWConfig, LinearSchedule, Precision, RunConfig, TrainConfig
from trivium.train.loop import StepReport, train_steps
from trivium.train.optimisers import Optimiser, build_optimiser
from trivium.train.paces import run_paces
from trivium.train.precision import TrainedWeights
from trivium.train.schedules import lr_share

STEPS, ROWS, ROW_LENGTH = 30, 8, 48


@dataclass
class Trial:
    """A network about to be trained."""

    config: RunConfig
    objective: Objective
    network: nn.Module
    optimiser: Optimiser
    batch: Callable[[int], Batch]

    def reports(self, start: int = 0, stop: int = STEPS, *, batches: Iterable[Batch] | None = None) -> list[StepReport]:
        """Train from step `start` to step `stop` and return the reports."""
        train = self.config.train
        return list(
            train_steps(
                TrainedWeights(self.network, train.precision),
                self.objective,
                self.optimiser,
                ahead(self.batch, start, stop, depth=train.prefetch) if batches is None else batches,
                start=start,
                lr=lambda step: self.config.optimiser.lr * lr_share(self.config.schedule, step, train.steps or STEPS),
                accumulation=train.accumulation,
                max_gradient_norm=train.max_gradient_norm,
                key=Key(self.config.seed),
            )
        )

    def losses(self, start: int = 0, stop: int = STEPS) -> list[float]:
        """Train and return the loss of each step."""
        return [report.loss for report in self.reports(start, stop)]


def one_objective(model: ModelConfig) -> ObjectiveConfig:
    """What a family is usually pretrained with; of an encoder-decoder's mixture the part that is written."""
    return SpansConfig() if isinstance(model.family, EncoderDecoder) else usual_objective(model)


def run_config(
    name: str = "decoder-tiny",
    *,
    dropout: float = 0.0,
    accumulation: int = 1,
    precision: Precision = "float32",
    seed: int = 0,
    prefetch: int = 2,
    objective: ObjectiveConfig | None = None,
) -> RunConfig:
    """A short run of a small network of the preset's architecture."""
    model = with_dropout(shrink(preset(name)), dropout)
    return RunConfig(
        seed=seed,
        model=model,
        objective=objective or one_objective(model),
        optimiser=AdamWConfig(lr=3e-3),
        schedule=LinearSchedule(warmup_share=0.1),
        train=TrainConfig(steps=STEPS, rows=ROWS, accumulation=accumulation, precision=precision, prefetch=prefetch),
    )


def trial(config: RunConfig, split: MadeUpSplit | None = None) -> Trial:
    """Everything that `train_steps` needs, made as `train.run` makes it."""
    objective = build_objective(config.objective, VOCABULARY._replace(counts_V=lambda: np.arange(VOCABULARY.size)))
    network = objective.network(config.model)
    key = Key(config.seed)
    initialise(network, config.model, key)
    reader = RowReader(
        split or made_up_text(120, seed=5), row_length=ROW_LENGTH, key=key.child("data"), pad=SPECIAL.pad
    )
    return Trial(
        config,
        objective,
        network,
        build_optimiser(config.optimiser, network, run_paces(config, network)),
        step_batches(
            reader, objective.make, rows_per_step=config.train.rows, key=key.child("make"), steps=config.train.steps
        ),
    )
