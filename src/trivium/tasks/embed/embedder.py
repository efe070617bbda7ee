"""Any model of ours, or of a Hugging Face folder, as what makes vectors of texts, any number of them."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivium.core.errors import ConfigError
from trivium.hub.sentence_folder import AfterReading, read_after_reading
from trivium.model.config import DEFAULT_READOUT, ModelConfig, Pooling, ReadoutConfig
from trivium.model.folder import load_tensors, model_folder, unique_tensors
from trivium.model.heads import TwoStacks
from trivium.model.stack import Stack
from trivium.tasks.base import TaskModel, stacks_of
from trivium.tasks.build import build_head, usual_head
from trivium.tasks.embed.task import Embed
from trivium.tasks.embed.vectors import text_pieces, text_vectors, unit
from trivium.tasks.folder import TASK, load_tuned
from trivium.tasks.pieces import Reading
from trivium.tasks.settings import EmbedSettings
from trivium.tasks.start import open_run

_TEXTS, _CHARACTERS = 512, 1 << 20  # read at a time, the fewer: what bounds memory


class Embedder(NamedTuple):
    """A model that makes a vector of each text."""

    model: TaskModel
    config: ModelConfig
    task: Embed  # what stands for a text, and how long vectors are
    reading: Reading

    @property
    def size(self) -> int:
        """Numbers a text."""
        return self.task.num_outputs or self.config.hidden_size

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything that a text's vector depends on."""
        found = hashlib.sha256()
        for part in (self.config.model_dump_json(), self.task.readout.model_dump_json(), self.reading.row_length):
            found.update(f"{part}\n".encode())
        found.update(self.reading.tokenizer.to_bytes())
        for name, tensor in sorted(unique_tensors(self.model).items()):
            found.update(name.encode())
            found.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()


def open_embedder(path: Path, *, pooling: Pooling | None = None) -> Embedder:
    """Open a run, pretrained or fine-tuned, its `model` folder, or a Hugging Face folder, to embed texts with.

    Args:
        path: the model. One that was fine-tuned for the task `embed` has its own pooling and projection; of others the
            head is left out.
        pooling: what stands for a text; None = what a folder of sentence-transformers says, else the mean, in which
            later tokens weigh more where a text is read from left to right.

    Raises:
        CheckpointError, HubError: it is missing, damaged, or has parts that are not read.
        ConfigError: another pooling than the one that the model was trained with.
    """
    folder = model_folder(path)
    if (folder / TASK).is_file():
        tuned = load_tuned(path)
        if isinstance(tuned.task, Embed) and isinstance(tuned.model, TaskModel):
            _require_same(pooling, tuned.task.readout.pooling, path)
            return Embedder(tuned.model, tuned.config, tuned.task, tuned.reading)
        task = Embed(_readout(tuned.config, pooling, (tuned.task.readout or DEFAULT_READOUT).stack))
        return _made(tuned.model.reader, tuned.config, tuned.reading, task, {})
    start, after = open_run(path), read_after_reading(folder)
    if after is None:
        after = AfterReading(_readout(start.config, pooling, "reader").pooling, {})
    _require_same(pooling, after.pooling, path)
    readout = _readout(start.config, after.pooling, "reader", bias="bias" in after.projection)
    weight_CD = after.projection.get("weight")
    settings = EmbedSettings(vector_size=None if weight_CD is None else len(weight_CD))
    if after.max_length is not None:
        start = start.for_rows(min(after.max_length, start.config.max_length))
    part, reading = start.reader(0, readout), start.reading(readout)
    return _made(stacks_of(part), start.config, reading, Embed(readout, settings), after.projection)


def vectors_of(embedder: Embedder, texts: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield vectors of any length, float32 [some texts, D], of all texts in order, in memory that does not grow.

    Args:
        embedder: the model.
        texts: some hundred are read before the first vectors come.
    """
    for some in _some(texts):
        yield text_vectors(embedder.model, text_pieces(some, embedder.reading), embedder.reading)


def embed_texts(embedder: Embedder, texts: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield the vector of each text, of length 1, float32 [D], in order; see `vectors_of`."""
    for vectors_SD in vectors_of(embedder, texts):
        yield from unit(vectors_SD)


def _require_same(pooling: Pooling | None, own: Pooling, path: Path) -> None:
    if pooling not in (None, own):
        raise ConfigError(f"--pooling {pooling}: {path} was trained with {own}; leave it out.")


def _readout(config: ModelConfig, pooling: Pooling | None, stack: str, *, bias: bool = True) -> ReadoutConfig:
    """Return what stands for a text: the pooling that is given, or the usual one of the architecture."""
    usual = usual_head("embed", config).pooling
    return ReadoutConfig.model_validate({"stack": stack, "pooling": pooling or usual, "bias": bias})


def _made(
    reader: Stack | TwoStacks, config: ModelConfig, reading: Reading, task: Embed, projection: dict[str, Tensor]
) -> Embedder:
    model = TaskModel(reader=reader, states=task.states, head=build_head(task, config, dropout=0.0))
    load_tensors(model.head, {f"projection.{name}": tensor for name, tensor in projection.items()}, "the projection")
    return Embedder(model.eval(), config, task, reading)


def _some(texts: Iterable[str]) -> Iterator[list[str]]:
    some: list[str] = []
    characters = 0
    for text in texts:
        some.append(text)
        characters += len(text)
        if len(some) >= _TEXTS or characters >= _CHARACTERS:
            yield some
            some, characters = [], 0
    if some:
        yield some
