"""A fine-tuning run as a value, and what the file beside a fine-tuned model says."""

from collections.abc import Sequence
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from trivium.core.config import Config, Tree, override, parse
from trivium.core.errors import ConfigError
from trivium.model.config import ModelConfig, ReadoutConfig
from trivium.model.history import Made
from trivium.model.parts import Probability
from trivium.objectives.regularisers.config import Regularisers
from trivium.tasks.settings import task_settings
from trivium.train.config import AveragingConfig
from trivium.train.device import DeviceName
from trivium.train.optimiser_config import AdamWConfig, OptimiserConfig, Precision
from trivium.train.pace_config import LayerDecay, Unfreezing
from trivium.train.schedule_config import LinearSchedule, ScheduleConfig

C = TypeVar("C", bound="TuningConfig")

# Hidden sizes and learning rates of AdamW: from 768 on those of Devlin et al. 2019, A.3 (2e-5 to 5e-5); 256 measured
# (docs/experiments.md, 2026-11-28). Between them lie the 5e-5 to 3e-4 that Turc et al. 2019 tried on smaller BERTs.
_WIDTHS, _RATES = (128, 256, 768, 1024), (1e-3, 5e-4, 5e-5, 3e-5)


class Fingerprints(Config):
    """SHA-256 of what a fine-tuning run reads: it goes on with the same only. See `tasks.fingerprints`."""

    train: str | None = None
    valid: str | None = None
    test: str | None = None
    tokenizer: str | None = None
    start: str | None = None  # of the architecture, and of the weights where it has some


class TuningConfig(Config):
    """What fine-tuning depends on, whatever is learned.

    `rows` is the most a step has: the packed rows of an epoch are spread evenly over its steps. `row_length` None =
    that of the pretraining run; `readout` None = that of transformers for this architecture, so that the result can be
    exported, or the mean of a text where it has none that the reading stack is enough for. Training ends after
    `epochs`, after `max_steps` when they are fewer, or when `patience` epochs in a row were no better than one before.
    A learning rate that is left out is settled when the run begins, see `with_lr`. `layer_decay` and `unfreezing` None:
    all layers learn alike, from the first step on. A checkpoint is written at the end of each epoch and, within one,
    every `checkpoint_steps` from its beginning; None = a tenth of the run. Of updates that are not finite `max_skipped`
    in a row are borne. `steps`, how many there are, follows from the rest; it and what is said of files and weights are
    written when the run begins, whatever was there before.
    """

    seed: NonNegativeInt = 0
    start_from: str | None = None  # a run whose weights this one begins with, or a preset's name
    epochs: PositiveInt = 10
    max_steps: PositiveInt | None = None
    patience: PositiveInt | None = None
    steps: PositiveInt | None = None
    rows: PositiveInt = 8
    row_length: Annotated[int, Field(ge=8)] | None = None
    accumulation: PositiveInt = 1
    checkpoint_steps: PositiveInt | None = None
    readout: ReadoutConfig | None = None
    dropout: Probability = 0.1  # before the head's projection
    precision: Precision = "auto"
    device: DeviceName = "auto"  # a GPU where there is one
    max_gradient_norm: PositiveFloat = 1.0
    max_skipped: NonNegativeInt = 10
    layer_decay: LayerDecay = 1.0
    unfreezing: Unfreezing | None = None
    optimiser: OptimiserConfig = AdamWConfig(weight_decay=0.1)
    schedule: ScheduleConfig = LinearSchedule(warmup_share=0.1)
    regularisers: Regularisers = ()
    averaging: AveragingConfig | None = None  # of the weights; the average is what is validated and kept
    mixout: Probability = 0.0  # towards the pretrained weights
    stochastic_depth: Probability | None = None  # None = as the model was pretrained
    reinitialise_layers: NonNegativeInt = 0  # of the top, see `tasks.reader`
    history: tuple[Made, ...] = ()  # how the weights of `start_from` came to be

    @model_validator(mode="after")
    def _rows_divide(self) -> Self:
        if self.rows % self.accumulation:
            raise ValueError(f"`accumulation` must divide `rows`: {self.accumulation} does not divide {self.rows}")
        return self


class FinetuneConfig(TuningConfig):
    """Everything a fine-tuning run depends on besides the files and the weights it names, see `TuningConfig`."""

    task: str
    settings: dict[str, Any] = Field(default_factory=dict)  # of the task, see `tasks.settings`
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    fingerprints: Fingerprints | None = None

    @model_validator(mode="after")
    def _readout_is_the_tasks(self) -> Self:
        if self.task == "write" and self.readout is not None:
            raise ValueError(
                "`readout`: the task `write` learns by the model's own head over the vocabulary; leave it out"
            )
        return self


class TaskFile(Config):
    """task.toml: the task a model was fine-tuned for."""

    task: str
    labels: tuple[str, ...]
    row_length: PositiveInt
    readout: ReadoutConfig | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    numbers: dict[str, float] = Field(default_factory=dict)


def finetune_config(task: str, assignments: Sequence[str] = ()) -> FinetuneConfig:
    """Return the usual settings for a task, changed as asked.

    Args:
        task: its name.
        assignments: `dotted.key=value` to change.

    Raises:
        ConfigError: an unknown task or key, a value that does not fit, or `steps`, which follows from the rest.
    """
    tree = open_tree(FinetuneConfig(task=task))
    tree["settings"] = task_settings(task, {}).model_dump(mode="json", exclude_none=True)
    config = parse(FinetuneConfig, override(tree, assignments), "finetune")
    task_settings(task, config.settings)
    if config.steps is not None:
        raise ConfigError("finetune: `steps` follows from `epochs` and the examples; `max_steps` sets the most.")
    return config


def open_tree(config: TuningConfig) -> Tree:
    """Return settings as a tree that is to be changed; a learning rate that nobody has said is left out of it."""
    tree = config.model_dump(mode="json", exclude_none=True)
    if "lr" not in config.optimiser.model_fields_set:
        del tree["optimiser"]["lr"]
    return tree


def with_lr(config: C, architecture: ModelConfig) -> C:
    """Return the settings with a learning rate: their own, or else the usual one for a network of this width.

    AdamW's is 1e-3 up to 128 hidden units, 5e-4 at 256, 5e-5 at 768 and 3e-5 from 1,024 on, between these a straight
    line of logarithms, in two digits. Those of the other optimisers stand to it everywhere as at 128. The width of a
    network with `parametrisation` is its base's.
    """
    if "lr" in config.optimiser.model_fields_set:
        return config
    base = architecture.parametrisation
    width = architecture.hidden_size if base is None else base.base_hidden_size
    rate = np.exp(np.interp(np.log(width), np.log(_WIDTHS), np.log(_RATES)))
    lr = float(f"{config.optimiser.lr * rate / _RATES[0]:.2g}")
    return config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"lr": lr})})
