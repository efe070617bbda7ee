"""A complete run as a value, and how a recipe becomes one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from trivium.core.config import Config, Tree, override, parse, read_toml
from trivium.model.config import ModelConfig
from trivium.model.history import Made
from trivium.model.parts import Probability
from trivium.model.presets import preset, small_init
from trivium.objectives.build import ObjectiveConfig, usual_objective
from trivium.objectives.regularisers.config import Regularisers
from trivium.train.device import DeviceName
from trivium.train.optimiser_config import OPTIMISERS, AdamWConfig, Decay, OptimiserConfig, Precision, usual_lr
from trivium.train.pace_config import LayerDecay, UnfreezeBySteps
from trivium.train.schedule_config import LinearSchedule, ScheduleConfig


class DataConfig(Config):
    """`fingerprint` names the prepared data; it is written when the run begins and checked when it is resumed."""

    row_length: Annotated[int, Field(ge=8)] = 128
    fingerprint: str | None = None


class Stage(Config):
    """Up to the share `until` of the steps, a step has so many rows of so many tokens; None = as after all stages."""

    until: Annotated[float, Field(gt=0.0, lt=1.0)]
    rows: PositiveInt | None = None
    row_length: Annotated[int, Field(ge=8)] | None = None


class EmaConfig(Config):
    """A running average of the weights; after n updates it keeps `decay` of itself, or n / (n + warmup) if less.

    `warmup` 9 is TensorFlow's; 0 keeps `decay` from the first update on.
    """

    kind: Literal["ema"] = "ema"
    decay: Decay = 0.999
    warmup: NonNegativeInt = 9


class TailConfig(Config):
    """The plain average of the weights after each of the last steps, `share` of them all (Izmailov et al. 2018)."""

    kind: Literal["tail"] = "tail"
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25


AveragingConfig = Annotated[EmaConfig | TailConfig, Field(discriminator="kind")]


class TrainConfig(Config):
    """How long and in what steps. A field that may be None is settled before step 0 and written into the run.

    `layer_decay` and `unfreezing` (which stays None) are for runs that begin with a model. `stages` come before `rows`
    and `data.row_length`, which are those of the rest of the run, and of validation. `rows` are those of all ranks
    together. `device` auto is a GPU where there is one. `parallel`: what each of several ranks keeps: all weights
    (ddp), or a part of them and of the optimiser's state (fsdp). `recompute`: blocks forget what they computed and
    compute it again for the gradient. Of updates that are not finite `max_skipped` in a row are borne; then the run
    goes back to the last checkpoint and passes over the batches since, up to `max_rollbacks` times, or ends.
    """

    steps: PositiveInt | None = None
    rows: PositiveInt = 16
    stages: tuple[Stage, ...] = ()
    accumulation: PositiveInt = 1
    precision: Precision = "auto"
    device: DeviceName = "auto"
    max_gradient_norm: PositiveFloat = 1.0
    layer_decay: LayerDecay = 1.0
    unfreezing: UnfreezeBySteps | None = None
    log_steps: PositiveInt | None = None
    validate_steps: PositiveInt | None = None
    validate_rows: PositiveInt = 128
    checkpoint_steps: PositiveInt | None = None
    checkpoints_kept: PositiveInt = 2  # of the last, beside the best
    prefetch: NonNegativeInt = 2
    parallel: Literal["ddp", "fsdp"] = "ddp"
    recompute: bool = False
    max_skipped: NonNegativeInt = 10
    max_rollbacks: NonNegativeInt = 0

    @model_validator(mode="after")
    def _stages_follow(self) -> Self:
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)):
            raise ValueError(f"`stages` must each end after the one before: found `until` {ends}")
        return self


class RunConfig(Config):
    """Everything a run depends on besides the data itself.

    `history` says how the weights of `start_from` came to be; it is written when the run begins, whatever was there.
    """

    seed: NonNegativeInt = 0
    start_from: str | None = None  # a run whose weights this one begins with
    model: ModelConfig
    objective: ObjectiveConfig
    data: DataConfig = DataConfig()
    optimiser: OptimiserConfig = AdamWConfig()
    schedule: ScheduleConfig = LinearSchedule()
    train: TrainConfig = TrainConfig()
    regularisers: Regularisers = ()
    averaging: AveragingConfig | None = None  # of the weights; the average is what is validated and kept
    mixout: Probability = 0.0  # towards the weights of `start_from`
    history: tuple[Made, ...] = ()


_FIRST = ("model.preset", "model.parametrisation", "optimiser.kind")


def load_recipe(recipe: str, assignments: Sequence[str] = ()) -> RunConfig:
    """Return the run that a recipe describes.

    Args:
        recipe: a TOML file, or a preset's name for that preset with the usual settings.
        assignments: `dotted.key=value` to change.

    Raises:
        ConfigError: no such file or preset, an unknown key, a value that does not fit.
    """
    tree = read_toml(Path(recipe)) if recipe.endswith(".toml") else {"model": {"preset": recipe}}
    # What others' usual values depend on comes first: the rest is changed in what it gives.
    first = [text for text in assignments if text.partition("=")[0].strip().startswith(_FIRST)]
    others = [text for text in assignments if text not in first]
    return parse(RunConfig, override(complete(override(tree, first)), others), recipe)


def complete(tree: Mapping[str, Any]) -> Tree:
    """Fill in what a recipe leaves open: its preset's architecture, the objective and learning rate usual for it."""
    result = dict(tree)
    model = result.get("model", {})
    if isinstance(model, Mapping) and "preset" in model:
        changes = {key: value for key, value in model.items() if key != "preset"}
        usual = preset(str(model["preset"]))
        base = _base_width(changes)
        if base is not None and usual.initialisation == small_init(usual.hidden_size):
            usual = usual.model_copy(update={"initialisation": small_init(base)})
        model = _merge(usual.model_dump(mode="json", exclude_none=True), changes)
    result["model"] = model
    if "objective" not in result:
        result["objective"] = usual_objective(parse(ModelConfig, model, "model")).model_dump(mode="json")
    optimiser = result.get("optimiser", {})
    if isinstance(optimiser, Mapping) and "lr" not in optimiser:
        kind = optimiser.get("kind", "adamw")
        if kind in OPTIMISERS:  # any other is refused where the whole is checked
            lr = usual_lr(kind, _base_width(model) or parse(ModelConfig, model, "model").hidden_size)
            result["optimiser"] = {"kind": kind, "lr": lr, **optimiser}
    return result


def _base_width(model: Mapping[str, Any]) -> int | None:
    """Return the width whose learning rate and initialisation are given; None = the network's own."""
    parametrisation = model.get("parametrisation")
    base = parametrisation.get("base_hidden_size") if isinstance(parametrisation, Mapping) else None
    return base if isinstance(base, int) and base > 0 else None


def _merge(base: Tree, changes: Mapping[str, Any]) -> Tree:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        same_kind = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind")
        )
        merged[key] = _merge(old, value) if same_kind and isinstance(old, dict) else value
    return merged
