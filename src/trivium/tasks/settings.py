"""What each task lets its user choose beside what all have: `settings` of a fine-tuning run, kept with the model."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from trivium.core.config import Config, parse
from trivium.core.errors import ConfigError, nearest

TASKS = ("classify", "label", "embed")


class NoSettings(Config):
    """Of a task that has none."""


class EmbedSettings(Config):
    """Of the task that embeds texts.

    `vector_size`: numbers a text, of a projection that is learned; None = the pooled hidden states as they are.
    `temperature`: cosines are divided by it. `group_rows`: so many neighbouring rows are compared with each other, and
    a micro-batch holds a multiple of them: how many other texts each one is told apart from. `loss` of pairs with
    scores: "cosent" (the order of the cosines is learned), or "cosine" (their values are).
    """

    vector_size: PositiveInt | None = None
    temperature: PositiveFloat = 0.05
    group_rows: Annotated[int, Field(ge=2)] = 8
    loss: Literal["cosent", "cosine"] = "cosent"


NO_SETTINGS, EMBED_SETTINGS = NoSettings(), EmbedSettings()
TaskSettings = NoSettings | EmbedSettings


def task_settings(task: str, tree: Mapping[str, Any]) -> TaskSettings:
    """Return a task's settings from what a file or the command line says.

    Raises:
        ConfigError: there is no such task; an unknown key, or a value that does not fit.
    """
    match task:
        case "classify" | "label":
            return parse(NoSettings, tree, f"settings of {task}")
        case "embed":
            return parse(EmbedSettings, tree, f"settings of {task}")
        case _:
            raise ConfigError(f"`{task}` is no task.{nearest(task, list(TASKS))}")
