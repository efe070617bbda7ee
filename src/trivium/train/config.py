"""A complete run as a value, and how a recipe becomes one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from trivium.core.config import Config, Tree, override, parse, read_toml
from trivium.model.config import ModelConfig
from trivium.model.parts import Probability
from trivium.model.presets import preset
from trivium.objectives.build import ObjectiveConfig, usual_objective
from trivium.objectives.regularisers.config import Regularisers

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class DataConfig(Config):
    """`fingerprint` names the prepared data; it is written when the run begins and checked when it is resumed."""

    row_length: Annotated[int, Field(ge=8)] = 128
    fingerprint: str | None = None


class AdamWConfig(Config):
    """AdamW (Loshchilov & Hutter 2019); vectors (norms, biases) are not decayed."""

    kind: Literal["adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    eps: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1


class ConstantSchedule(Config):
    """Warm-up, constant, then straight down to `final_share` over the last `cooldown_share` of the steps."""

    kind: Literal["constant"] = "constant"
    warmup_share: Share = 0.05
    cooldown_share: Share = 0.3
    final_share: Share = 0.0


class LinearSchedule(Config):
    """Warm-up, then straight down to `final_share` of the peak."""

    kind: Literal["linear"] = "linear"
    warmup_share: Share = 0.05
    final_share: Share = 0.0


class CosineSchedule(Config):
    """Warm-up, then half a cosine down to `final_share` of the peak."""

    kind: Literal["cosine"] = "cosine"
    warmup_share: Share = 0.05
    final_share: Share = 0.1


ScheduleConfig = Annotated[ConstantSchedule | LinearSchedule | CosineSchedule, Field(discriminator="kind")]


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
# auto: bfloat16 where the processor multiplies it in hardware; settled before step 0.
Precision = Literal["auto", "float32", "bfloat16"]


class TrainConfig(Config):
    """How long and in what steps. A field that may be None is settled before step 0 and written into the run."""

    steps: PositiveInt | None = None
    rows: PositiveInt = 16
    accumulation: PositiveInt = 1
    precision: Precision = "auto"
    max_gradient_norm: PositiveFloat = 1.0
    log_steps: PositiveInt | None = None
    validate_steps: PositiveInt | None = None
    validate_rows: PositiveInt = 128
    checkpoint_steps: PositiveInt | None = None
    checkpoints_kept: PositiveInt = 2  # of the last, beside the best
    prefetch: NonNegativeInt = 2


class RunConfig(Config):
    """Everything a run depends on besides the data itself."""

    seed: NonNegativeInt = 0
    start_from: str | None = None  # a run whose weights this one begins with
    model: ModelConfig
    objective: ObjectiveConfig
    data: DataConfig = DataConfig()
    optimiser: AdamWConfig = AdamWConfig()
    schedule: ScheduleConfig = LinearSchedule()
    train: TrainConfig = TrainConfig()
    regularisers: Regularisers = ()
    averaging: AveragingConfig | None = None  # of the weights; the average is what is validated and kept
    mixout: Probability = 0.0  # towards the weights of `start_from`


def load_recipe(recipe: str, assignments: Sequence[str] = ()) -> RunConfig:
    """Return the run that a recipe describes.

    Args:
        recipe: a TOML file, or a preset's name for that preset with the usual settings.
        assignments: `dotted.key=value` to change.

    Raises:
        ConfigError: no such file or preset, an unknown key, a value that does not fit.
    """
    tree = read_toml(Path(recipe)) if recipe.endswith(".toml") else {"model": {"preset": recipe}}
    # Another preset comes first: the rest is changed in what it gives.
    presets = [text for text in assignments if text.partition("=")[0].strip() == "model.preset"]
    others = [text for text in assignments if text not in presets]
    return parse(RunConfig, override(complete(override(tree, presets)), others), recipe)


def complete(tree: Mapping[str, Any]) -> Tree:
    """Fill in what a recipe leaves to its preset: the architecture, and the objective and learning rate usual for it.

    The peak learning rate is 0.4 / hidden size (0.0031 at 128, 0.0005 at 768), measured best at 128.
    """
    result = dict(tree)
    model = result.get("model", {})
    if isinstance(model, Mapping) and "preset" in model:
        changes = {key: value for key, value in model.items() if key != "preset"}
        model = _merge(preset(str(model["preset"])).model_dump(mode="json", exclude_none=True), changes)
    result["model"] = model
    if "objective" not in result:
        result["objective"] = usual_objective(parse(ModelConfig, model, "model")).model_dump(mode="json")
    optimiser = result.get("optimiser", {})
    if isinstance(optimiser, Mapping) and "lr" not in optimiser:
        result["optimiser"] = {"lr": round(0.4 / parse(ModelConfig, model, "model").hidden_size, 6), **optimiser}
    return result


def _merge(base: Tree, changes: Mapping[str, Any]) -> Tree:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        same_kind = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind")
        )
        merged[key] = _merge(old, value) if same_kind and isinstance(old, dict) else value
    return merged
