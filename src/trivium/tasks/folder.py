"""A fine-tuned model on disk: what reads, its head, its tokenizer and its task, checksummed, never pickled."""

from pathlib import Path
from typing import NamedTuple

from trivium.core.config import parse, read_toml, write_toml
from trivium.core.errors import CheckpointError
from trivium.core.files import verify_checksums, write_checksums, write_text
from trivium.data.tokenizer import Tokenizer
from trivium.hub.folder import HubModel, read_head
from trivium.hub.open import is_foreign, read_foreign, require_vocabulary
from trivium.hub.tokenizers import read_tokenizer
from trivium.model.config import ModelConfig
from trivium.model.folder import CONFIG, TOKENIZER, WEIGHTS, load_tensors, model_folder, read_tensors, save_model
from trivium.model.packed import packed_to_read
from trivium.model.precision import InferencePrecision, computing_in
from trivium.tasks.base import Task, TaskModel, TaskNetwork, reading_of
from trivium.tasks.build import HEADS, build_task, empty_model, task_numbers
from trivium.tasks.config import TaskFile
from trivium.tasks.pieces import Reading

TASK, MODEL = "task.toml", "model"
_LONGEST_ROW = 512  # of foreign models, which may read far more than is good for a batch


class TunedModel(NamedTuple):
    """A model that does a task."""

    model: TaskNetwork
    config: ModelConfig  # of the network whose reading part it has, or that it is
    task: Task
    reading: Reading


def tuned_in(tuned: TunedModel, precision: InferencePrecision) -> TunedModel:
    """Return the model as it reads fastest in a type. What writes is packed for its rows where it does."""
    model = tuned.model
    if not isinstance(model, TaskModel):
        return tuned._replace(model=computing_in(model, precision).eval())
    if precision != "int8":
        return tuned._replace(model=packed_to_read(computing_in(model, precision)))
    # The head's few numbers stay as they are.
    reader = computing_in(model.reader, precision)
    narrow = TaskModel(reader=reader, states=model.states, head=model.head, chain=model.chain)
    return tuned._replace(model=narrow.eval())


def save_tuned(folder: Path, tuned: TunedModel) -> None:
    """Write a fine-tuned model into an existing, empty folder (see `core.files.new_folder`)."""
    save_model(folder, tuned.model, tuned.config, tuned.reading.tokenizer.to_bytes())
    task = tuned.task
    file = TaskFile(
        task=task.name,
        labels=task.labels,
        row_length=tuned.reading.row_length,
        readout=task.readout,
        settings=task.settings.model_dump(mode="json", exclude_none=True),
        numbers=task_numbers(task),
    )
    write_text(folder / TASK, write_toml(file))
    write_checksums(folder)


def load_tuned(path: Path) -> TunedModel:
    """Open a fine-tuned run, or its `model` folder, or a Hugging Face folder whose head does a task.

    Raises:
        CheckpointError: it is missing, damaged, or not fine-tuned.
    """
    folder = model_folder(path)
    if is_foreign(folder):
        return _foreign(folder)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{path}: expected a fine-tuned run, found no {MODEL}/{CONFIG} in it.")
    if not (folder / TASK).is_file():
        raise CheckpointError(f"{path}: a pretrained run, not a fine-tuned one: run `trivium finetune {path}` first.")
    verify_checksums(folder)
    config = parse(ModelConfig, read_toml(folder / CONFIG), str(folder / CONFIG))
    file = parse(TaskFile, read_toml(folder / TASK), str(folder / TASK))
    task = build_task(file.task, file.labels, file.readout, file.settings, file.numbers)
    model = empty_model(task, config)
    load_tensors(model, read_tensors(folder / WEIGHTS), str(folder / WEIGHTS))
    tokenizer = Tokenizer.from_bytes((folder / TOKENIZER).read_bytes())
    return TunedModel(model.eval(), config, task, reading_of(tokenizer, file.row_length, config, task.readout))


def _foreign(folder: Path) -> TunedModel:
    """Return the model of a Hugging Face folder that does a task."""
    found = read_foreign(folder)
    if found.head not in HEADS or found.readout is None:
        raise CheckpointError(f"{folder}: a checkpoint without a task of ours (its head: {found.head}); fine-tune it.")
    task = build_task(_foreign_task(folder, found), found.labels, found.readout)
    model = empty_model(task, found.config)
    load_tensors(model, found.tensors, str(folder))
    tokenizer = read_tokenizer(folder)
    require_vocabulary(found.config, tokenizer, str(folder))
    row_length = min(found.config.max_length, _LONGEST_ROW)
    reading = reading_of(tokenizer, row_length, found.config, found.readout)
    return TunedModel(model.eval(), found.config, task, reading)


def _foreign_task(folder: Path, found: HubModel) -> str:
    """Return which task of ours a head of transformers does."""
    if found.head == "classify" and found.problem == "multi_label_classification":
        return "multi_label"
    # transformers takes one number a text for regression where nothing else is said.
    if found.head == "classify" and (found.problem == "regression" or len(found.labels) == 1):
        if len(found.labels) != 1:
            raise CheckpointError(f"{folder}: its head gives {len(found.labels)} numbers a text; expected one.")
        return "regress"
    if len(found.labels) < 2:
        raise CheckpointError(f"{folder}: its head knows fewer than two labels; expected two or more.")
    return found.head


def does_task(path: Path) -> bool:
    """Return whether a run, its `model` folder or a Hugging Face folder is fine-tuned for a task of ours."""
    folder = model_folder(path)
    return (folder / TASK).is_file() or (is_foreign(folder) and read_head(folder) in HEADS)
