"""What each task lets its user choose beside what all have: `settings` of a fine-tuning run, kept with the model."""

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveInt

from trivium.core.config import Config, parse
from trivium.core.errors import ConfigError, nearest

TASKS = ("classify", "label", "answer")


class NoSettings(Config):
    """Of tasks that leave nothing to choose."""


class AnswerSettings(Config):
    """Of the task that answers questions.

    `stride` is how many tokens of the context one window begins after the one before, at most; None = half of what a
    window shows. An answer is at most `max_answer_tokens` long; `num_best` answers are compared and shown.
    """

    stride: PositiveInt | None = None
    max_answer_tokens: PositiveInt = 64
    num_best: PositiveInt = 10


NO_SETTINGS, ANSWER_SETTINGS = NoSettings(), AnswerSettings()
TaskSettings = NoSettings | AnswerSettings


def task_settings(task: str, tree: Mapping[str, Any]) -> TaskSettings:
    """Return a task's settings from what a file or the command line says.

    Raises:
        ConfigError: there is no such task; an unknown key, or a value that does not fit.
    """
    match task:
        case "classify" | "label":
            return parse(NoSettings, tree, f"settings of {task}")
        case "answer":
            return parse(AnswerSettings, tree, f"settings of {task}")
        case _:
            raise ConfigError(f"`{task}` is no task.{nearest(task, list(TASKS))}")
