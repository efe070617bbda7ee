"""Small prepared texts with something to learn in them, runs on them, and what pre-flight finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from support import shrink
from training import one_objective
from trivium.core.batch import AnyBatch, Batch, Rows
from trivium.core.files import new_folder
from trivium.core.progress import Silent
from trivium.core.random import Key
from trivium.data.manifest import Ledger
from trivium.data.shards import DataWriter, PreparedData
from trivium.data.tokenizer import Tokenizer
from trivium.data.words import token_bits
from trivium.model.config import ModelConfig
from trivium.model.folder import SavedModel
from trivium.model.presets import preset
from trivium.objectives.base import Objective
from trivium.objectives.build import ObjectiveConfig
from trivium.train.config import RunConfig, TrainConfig
from trivium.train.material import Material, make_material
from trivium.train.optimiser_config import AdamWConfig
from trivium.train.preflight.footprint import Machine
from trivium.train.preflight.look import Preflight, preflight
from trivium.train.settle import ready

STEPS, ROWS, ROW_LENGTH = 1500, 8, 32
LR = 3e-3  # good at 32 hidden units
SYLLABLES = ("ba", "de", "ki", "lo", "mu", "ra", "se", "ti", "vo", "zu", "an", "el", "or", "ish", "eng")
ROOMY = Machine(memory=10**12, disk=10**12)


def texts(count: int, *, seed: int = 0, chinese: bool = False, words: int = 150) -> list[str]:
    """Documents in which each word has a few that may follow it."""
    rng = np.random.default_rng(seed)
    grammar = np.random.default_rng(99)
    if chinese:
        lexicon = [chr(0x4E00 + int(place)) for place in grammar.choice(3000, 160, replace=False)]
    else:
        lexicon = ["".join(grammar.choice(SYLLABLES, grammar.integers(1, 4))) for _ in range(160)]
    follows = grammar.integers(0, len(lexicon), (len(lexicon), 4))
    joined = "" if chinese else " "
    documents = []
    for _ in range(count):
        word, said = int(rng.integers(0, len(lexicon))), []
        for _ in range(words):
            word = int(rng.choice(follows[word])) if rng.random() < 0.9 else int(rng.integers(0, len(lexicon)))
            said.append(lexicon[word])
        documents.append(joined.join(said))
    return documents


def prepared(
    folder: Path,
    train: Sequence[str],
    validation: Sequence[str],
    *,
    tokenizer: Tokenizer | None = None,
    vocabulary_size: int = 500,
) -> PreparedData:
    """Write documents as `trivium prepare` would."""
    made = tokenizer or Tokenizer.train(train, "bpe", vocabulary_size)
    with new_folder(folder) as partial, DataWriter(partial, made) as writer:
        for split, documents in (("train", train), ("validation", validation)):
            for text, spans in zip(documents, made.encode_batch(documents), strict=True):
                writer.add(
                    split,
                    spans.ids,
                    token_bits(text, spans.starts, spans.ends),
                    np.array([len(spans.ids)]),
                    len(text.encode()),
                )
        size = sum(len(text.encode()) for text in [*train, *validation])
        number = len(train) + len(validation)
        ledger = Ledger(documents_in=number, bytes_in=size, kept_documents=number, kept_bytes=size, dropped={})
        writer.finish(ledger=ledger, lossless=True, boundary="document")
    return PreparedData.open(folder)


def run_of(
    name: str, *, objective: ObjectiveConfig | None = None, lr: float = LR, seed: int = 0, **train: object
) -> RunConfig:
    """A run of a small network of the preset's architecture."""
    model = shrink(preset(name))
    settings: dict[str, object] = {"steps": STEPS, "rows": ROWS, "precision": "float32", "validate_rows": 16}
    return RunConfig.model_validate(
        {
            "seed": seed,
            "model": model.model_dump(),
            "objective": (objective or one_objective(model)).model_dump(),
            "optimiser": AdamWConfig(lr=lr).model_dump(),
            "data": {"row_length": ROW_LENGTH},
            "train": TrainConfig.model_validate(settings | train).model_dump(),
        }
    )


def changed(config: RunConfig, part: str, **values: object) -> RunConfig:
    """The run with some settings of one part changed, checked as a recipe's are."""
    tree = config.model_dump()
    tree[part] = tree[part] | values
    return RunConfig.model_validate(tree)


@dataclass(frozen=True)
class Spoilt:
    """An objective with a mistake in what it makes."""

    inner: Objective
    mistake: Callable[[Batch], Batch]

    def make(self, rows: Rows, key: Key, done: float = 1.0) -> AnyBatch:
        batch = self.inner.make(rows, key, done)
        assert isinstance(batch, Batch)
        return self.mistake(batch)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def spoilt(material: Material, mistake: Callable[[Batch], Batch]) -> Material:
    """What a run is made of, with a mistake in its labels."""
    return material._replace(objective=Spoilt(material.objective, mistake))  # type: ignore[arg-type]


def looked(
    config: RunConfig,
    data: PreparedData,
    out: Path,
    *,
    change: Callable[[Material], Material] = lambda material: material,
    machine: Machine = ROOMY,
    seconds: float = 20.0,
) -> Preflight:
    """What pre-flight finds of a run."""
    config, material = ready(config, data, out, progress=Silent())
    return preflight(config, data, change(material), out, seconds=seconds, machine=machine)


def shifted(batch: Batch) -> Batch:
    """Every label one place on."""
    return replace(batch, labels_BN=batch.labels_BN.roll(-1, dims=1))


def shuffled(batch: Batch) -> Batch:
    """The labels in another order."""
    order = torch.randperm(batch.labels_BN.numel(), generator=torch.Generator().manual_seed(0))
    return replace(batch, labels_BN=batch.labels_BN.reshape(-1)[order].view_as(batch.labels_BN))


def unshifted(batch: Batch) -> Batch:
    return replace(batch, labels_BN=batch.tokens_BL.clone())


def all_alike(batch: Batch) -> Batch:
    return replace(batch, labels_BN=torch.full_like(batch.labels_BN, 200))


def on_padding(batch: Batch) -> Batch:
    document_BL = batch.layout.document_BL.clone()
    document_BL[:, -6:] = -1
    return replace(batch, layout=replace(batch.layout, document_BL=document_BL))


def sees_ahead(batch: Batch) -> Batch:
    return replace(
        batch,
        layout=batch.layout.ranked(
            batch.layout.document_BL, batch.layout.position_BL, torch.zeros_like(batch.layout.rank_BL)
        ),
    )


def too_many(batch: Batch) -> Batch:
    return replace(batch, labels_BN=batch.labels_BN + 10_000)


class Frozen(Spoilt):
    """An objective whose network does not learn what it should."""

    def network(self, config: ModelConfig) -> nn.Module:
        network = self.inner.network(config)
        for name, parameter in network.named_parameters():
            if self.is_frozen(name):
                parameter.requires_grad_(False)
        return network

    def is_frozen(self, name: str) -> bool:
        return True


class FrozenBlock(Frozen):
    def is_frozen(self, name: str) -> bool:
        return "blocks.0" in name


@dataclass(frozen=True)
class World:
    """What mistakes are made in."""

    data: PreparedData
    folder: Path

    def look(self, config: RunConfig, data: PreparedData | None = None, **options: Any) -> Preflight:
        return looked(config, data or self.data, self.folder / "out", **options)

    def prepare(self, name: str, train: Sequence[str], validation: Sequence[str], **options: Any) -> PreparedData:
        return prepared(self.folder / name, train, validation, **options)

    def saved(self, config: RunConfig, *, tokenizer: bytes | None = None) -> SavedModel:
        """A model of random weights that a run may begin with."""
        model = config.model.model_copy(update={"vocabulary_size": self.data.tokenizer.vocabulary_size})
        material = make_material(config.model_copy(update={"model": model}), self.data, None)
        network = material.objective.exported(material.objective.network(model))
        return SavedModel(model, network, tokenizer or self.data.tokenizer.to_bytes())
