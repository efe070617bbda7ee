"""How a model's weights came to be: each step of their making, the oldest first, kept beside them."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from trivium.core.config import Config, parse
from trivium.core.errors import CheckpointError
from trivium.core.files import CHECKSUMS, write_checksums, write_json

HISTORY = "history.json"
_WEIGHTS = "weights.safetensors"


class Made(Config):
    """One step in the making of a model's weights.

    "found" is where the record begins: weights that came from elsewhere, of which nothing more is known. `name` is what
    the next step called the model; the last step of a folder has none, so that equal runs write equal bytes. `data` is
    the fingerprint of prepared text, or the SHA-256 of a training file. `weights` is the SHA-256 of the file of weights
    that the step ended with: `sha256sum model/weights.safetensors`. `steps` and `tokens` are those of this step alone.
    """

    verb: Literal["found", "pretrain", "finetune", "average"]
    name: str | None = None
    objective: str | None = None
    task: str | None = None
    data: str | None = None
    weights: str | None = None
    steps: int | None = None
    tokens: int | None = None


class _File(Config):
    history: Annotated[tuple[Made, ...], Field(min_length=1)]


def read_history(folder: Path, name: str | None = None) -> tuple[Made, ...]:
    """Return how the weights of a model folder came to be, its last step named; found, where the folder does not say.

    Args:
        folder: a model folder of ours, its checksums verified.
        name: what its user calls it.

    Raises:
        CheckpointError: the record is damaged.
    """
    file = folder / HISTORY
    if not file.is_file():
        return (Made(verb="found", name=name, weights=_weights(folder)),)
    try:
        tree = {"history": json.loads(file.read_text(encoding="utf-8"))}
    except (OSError, ValueError):
        raise CheckpointError(f"{file}: damaged: not JSON.") from None
    return with_name(parse(_File, tree, str(file)).history, name)


def with_name(history: Sequence[Made], name: str | None) -> tuple[Made, ...]:
    """Return a history whose last step has the name that its user calls it."""
    return (*history[:-1], *(step.model_copy(update={"name": name}) for step in history[-1:]))


def write_history(folder: Path, before: Iterable[Made], made: Made) -> list[dict[str, Any]]:
    """Write beside a model that is saved how its weights came to be, and return it as it is written.

    Args:
        folder: of the model, its weights and checksums written.
        before: the steps that led to what its making began with.
        made: its own step; what `weights` are is read off the folder.
    """
    steps = [*before, made.model_copy(update={"weights": _weights(folder)})]
    written = [step.model_dump(mode="json", exclude_none=True) for step in steps]
    write_json(folder / HISTORY, written)
    write_checksums(folder)
    return written


def _weights(folder: Path) -> str | None:
    """Return the SHA-256 of a model folder's weights, as its checksums have it; None where they do not."""
    try:
        return str(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))[_WEIGHTS])
    except (OSError, ValueError, KeyError):
        return None


def said(step: Made) -> str:
    """Return one step of a model's making as a line for eyes."""
    what = step.objective or step.task
    parts = [step.verb if what is None else f"{step.verb} {what}"]
    parts += [f"{step.steps:,} steps"] if step.steps is not None else []
    parts += [f"{step.tokens:,} tokens"] if step.tokens is not None else []
    parts += [f"data {step.data[:12]}"] if step.data is not None else []
    parts += [f"weights {step.weights[:12]}"] if step.weights is not None else []
    return ", ".join(parts) + (f" ({step.name})" if step.name is not None else "")


def said_chain(history: Sequence[Made]) -> list[str]:
    """Return each step of a model's making as a line for eyes, numbered, the oldest first."""
    return [f"{number}. {said(step)}" for number, step in enumerate(history, start=1)]
