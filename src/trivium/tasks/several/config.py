"""Several tasks that are learned together, as a value: what each reads, and how much it counts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from trivium.core.config import Config, override, parse, read_toml
from trivium.core.errors import ConfigError
from trivium.model.config import ReadoutConfig
from trivium.tasks.config import FinetuneConfig, Fingerprints, TuningConfig, open_tree
from trivium.tasks.settings import task_settings


class PartConfig(Config):
    """One of several tasks.

    Args:
        name: of its scores, and of its folder; None = that of the task.
        task: see `tasks.settings`.
        train, valid, test: labelled files; beside the file of the tasks, where they are not absolute.
        weight: of its loss, beside the others'.
        settings: of the task.
        readout: its head; None = as a run of this task alone has it.
        fingerprints: of what is read; written when the run begins.
    """

    name: str
    task: str
    train: str
    valid: str
    test: str | None = None
    weight: PositiveFloat = 1.0
    settings: dict[str, Any] = Field(default_factory=dict)
    readout: ReadoutConfig | None = None
    fingerprints: Fingerprints | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_as_the_task(cls, value: Any) -> Any:
        return {"name": value["task"], **value} if isinstance(value, Mapping) and "task" in value else value

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not re.fullmatch(r"[\w-]+", value):
            raise ValueError(f"{value!r} is to be the name of a folder: letters of any script, digits, - and _")
        return value

    @model_validator(mode="after")
    def _can_be_beside_others(self) -> Self:
        if self.task == "embed":
            raise ValueError("`embed` compares the texts of whole batches: fine-tune it by itself")
        return self


class SeveralConfig(TuningConfig):
    """Everything a run of several tasks depends on besides files and weights; see `TuningConfig`.

    `rows` is the most a step has of all tasks together. `readout` is the head of each task that names none of its own.
    """

    task: Literal["several"] = "several"
    tasks: Annotated[tuple[PartConfig, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [part.name for part in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tasks are called `{name}`; give each a `name` of its own")
        return self

    @model_validator(mode="after")
    def _all_write_or_none(self) -> Self:
        tasks = {part.task for part in self.tasks}
        if "write" not in tasks:
            return self
        if len(tasks) > 1:
            others = ", ".join(sorted(tasks - {"write"}))
            raise ValueError(f"`write` trains the whole network: only tasks that write learn with it, not {others}")
        if len({part.settings.get("valid_outputs") == 0 for part in self.tasks}) > 1:
            raise ValueError("`settings.valid_outputs` must be 0 for all tasks, so that the loss chooses, or for none")
        told: dict[str, str] = {}
        for part in self.tasks:
            other = told.setdefault(str(part.settings.get("instruction", "")), part.name)
            if other != part.name:
                raise ValueError(
                    f"`settings.instruction` tells tasks apart that write, and those of `{other}` and `{part.name}` "
                    "are the same; give each its own"
                )
        return self


class _TasksFile(Config):
    task: Annotated[tuple[PartConfig, ...], Field(min_length=1)]


def several_config(file: Path, assignments: Sequence[str] = ()) -> SeveralConfig:
    """Return the usual settings for the tasks of a file, changed as asked.

    Args:
        file: TOML with a table `[[task]]` for each, see `PartConfig`.
        assignments: `dotted.key=value` to change what all tasks share; `tasks.0.weight=2` what one has.

    Raises:
        ConfigError: no such file, an unknown key or task, a value that does not fit, a task that learns by itself only.
    """
    parts = parse(_TasksFile, read_toml(file), str(file)).task
    beside = [
        part.model_copy(update={split: str(file.parent / path) for split, path in _files(part)}) for part in parts
    ]
    usual = parse(SeveralConfig, {"tasks": beside}, str(file))
    tree = open_tree(usual)
    config = parse(SeveralConfig, override(tree, assignments), "finetune")
    for part in config.tasks:
        task_settings(part.task, part.settings)
    if config.steps is not None:
        raise ConfigError("finetune: `steps` follows from `epochs` and the examples; `max_steps` sets the most.")
    return config


def alone_config(config: SeveralConfig, part: PartConfig) -> FinetuneConfig:
    """Return one of the tasks as a run of its own would have it, with what all share."""
    shared = {name: getattr(config, name) for name in TuningConfig.model_fields}
    own = {name: getattr(part, name) for name in ("task", "settings", "train", "valid", "test", "fingerprints")}
    return FinetuneConfig.model_construct(**shared | own | {"readout": part.readout or config.readout})


def _files(part: PartConfig) -> list[tuple[str, str]]:
    found = (("train", part.train), ("valid", part.valid), ("test", part.test))
    return [(split, path) for split, path in found if path is not None]
