"""A model of ours written for transformers, opened again and compared before it is called done."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivium.core.batch import Batch, read_again, reading
from trivium.core.errors import HubError
from trivium.core.files import new_folder, refuse_existing
from trivium.core.layout import TokenLayout
from trivium.data.frame import Framed
from trivium.data.tokenizer import Tokenizer
from trivium.hub.family import HeadKind
from trivium.hub.folder import SpecialIds, read_folder, write_folder
from trivium.hub.open import network_of, open_pretrained
from trivium.hub.tokenizers import read_tokenizer, write_tokenizer
from trivium.model.config import Decoder, EncoderDecoder, ModelConfig, ReadoutConfig
from trivium.model.folder import load_tensors, model_folder, unique_tensors
from trivium.model.heads import Readout
from trivium.tasks.base import TaskModel, TaskNetwork
from trivium.tasks.build import build_task, empty_model, head_kind
from trivium.tasks.embed.task import Embed
from trivium.tasks.export.embedder import reading_network, write_after_reading
from trivium.tasks.folder import TunedModel, does_task, load_tuned
from trivium.tasks.texts.regress import Regress

# What config.json calls a task of texts.
PROBLEMS = {"multi_label": "multi_label_classification", "regress": "regression"}
_TOLERANCE = 1e-6  # equal weights in the same network: only the order of sums could differ
_PROBES = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "\u6211\u559c\u6b22\u9605\u8bfb\u4e2d\u56fd\u53e4\u5178\u5c0f\u8bf4\u3002",
    "na\u00efve  caf\u00e9\n\tdef f(x): return x ** 2",
)


class Exported(NamedTuple):
    """What was written."""

    model_type: str
    parameters: int
    difference: float  # the largest between the model's numbers before and after
    compared: int  # numbers


class _Material(NamedTuple):
    """What is to be written."""

    config: ModelConfig
    network: TaskNetwork
    tokenizer: Tokenizer
    head: HeadKind
    readout: ReadoutConfig | None
    labels: tuple[str, ...]
    task: str = ""
    tuned: TunedModel | None = None  # what embeds texts, of which the network has what reads


def export_huggingface(path: Path, out: Path, *, model_type: str | None = None) -> Exported:
    """Write a run's model as a folder that `AutoModelFor...` and `AutoTokenizer` of transformers open.

    Args:
        path: a run, pretrained or fine-tuned, or its `model` folder.
        out: must not exist; it is there whole at the end, or not at all.
        model_type: the family to write; None = the first of which the network is one.

    Raises:
        CheckpointError, HubError: it cannot be read; transformers has no such network; what was written does not
            answer as the model does.
        ConfigError: `out` exists.
    """
    refuse_existing(out)
    material = _opened(path)
    _require_end(material)
    with new_folder(out) as folder:
        written = write_folder(
            folder,
            material.config,
            _tensors(material),
            head=material.head,
            readout=material.readout,
            labels=material.labels,
            problem=None if material.readout is None else PROBLEMS.get(material.task, "single_label_classification"),
            ids=_special_ids(material),
            model_type=model_type,
        )
        write_tokenizer(
            material.tokenizer,
            folder,
            max_length=material.config.max_length,
            for_prompts=_goes_on(material),
            segments=_has_segments(material),
        )
        if material.tuned is not None:
            write_after_reading(folder, material.tuned)
        difference, compared = _compare(material, folder)
    return Exported(written, sum(tensor.numel() for tensor in material.network.parameters()), difference, compared)


def _opened(path: Path) -> _Material:
    if does_task(path):
        tuned = load_tuned(path)
        task = tuned.task
        if isinstance(task, Embed):
            return _Material(
                tuned.config, reading_network(tuned), tuned.reading.tokenizer, "none", None, (), task.name, tuned
            )
        head = head_kind(task.name)
        if head == "none":
            raise HubError(f"{path}: transformers has no model with a head for `{task.name}`; it is used with trivium.")
        if task.is_chained:
            raise HubError(f"{path}: transformers knows no chain over labels; fine-tune with settings.chain=free.")
        if isinstance(task, Regress) and isinstance(tuned.model, TaskModel):
            _in_own_unit(tuned.model, task)
        labels = task.labels or ("number",) * task.num_outputs
        return _Material(tuned.config, tuned.model, tuned.reading.tokenizer, head, task.readout, labels, task.name)
    saved = open_pretrained(model_folder(path), speaks=True)
    return _Material(saved.config, saved.network, Tokenizer.from_bytes(saved.tokenizer), "language", None, ())


@torch.no_grad()
def _in_own_unit(model: TaskModel, task: Regress) -> None:
    """Let the head give numbers in the unit of the examples, since transformers knows of no other."""
    projection = model.head.projection if isinstance(model.head, Readout) else None
    if projection is None or projection.bias is None:
        raise HubError("a number is given in standard deviations, and a head without a bias cannot undo that.")
    projection.weight.mul_(task.spread)
    projection.bias.mul_(task.spread).add_(task.centre)


def _tensors(material: _Material) -> dict[str, Tensor]:
    """Return what is written: of a network without a task all, or all but its head over the vocabulary."""
    tensors = unique_tensors(material.network)
    return {name: tensor for name, tensor in tensors.items() if material.head != "none" or not name.startswith("head.")}


def _require_end(material: _Material) -> None:
    """Raise HubError where transformers would take another token for the last of a text than the model does."""
    tokenizer, readout = material.tokenizer, material.readout
    if readout is not None and readout.pooling == "last" and tokenizer.special.pad in tokenizer.frame.after:
        name = tokenizer.token_name(tokenizer.special.pad)
        raise HubError(
            f"the head reads the last token, which is {name}; transformers passes over it, for it is the padding too. "
            "Fine-tune with readout.pooling mean or first, or with a tokenizer that has a padding token of its own."
        )
    if readout is not None and readout.stack == "writer" and material.head == "classify":
        # There the last place of a text is found by its end token, and config.json may name one such token only.
        ends = {side.ids[-1][-1:] for side in tokenizer.frame}
        if ends != {(tokenizer.special.eos,)} or tokenizer.special.stops:
            name = tokenizer.token_name(tokenizer.special.eos)
            raise HubError(
                f"the head reads the last token, which transformers takes to be {name}; the tokenizer does not end "
                "every text with it. Fine-tune with readout.stack reader, or with a tokenizer that does."
            )


def _special_ids(material: _Material) -> SpecialIds:
    special = material.tokenizer.special
    starts = isinstance(material.config.family, EncoderDecoder)
    return SpecialIds(
        pad=special.pad,
        bos=special.bos,
        eos=(special.eos, *sorted(special.stops)),
        cls=special.cls,
        sep=special.sep,
        mask=special.mask,
        decoder_start=special.bos if starts else None,
    )


def _compare(material: _Material, folder: Path) -> tuple[float, int]:
    """Return the largest difference between what the model and its written copy answer, and how much was compared."""
    copy, tokenizer = read_folder(folder), read_tokenizer(folder)
    again: TaskNetwork
    if copy.readout is None:
        again = network_of(copy).eval()
    else:
        again = empty_model(build_task(material.task, copy.labels, copy.readout), copy.config).eval()
        load_tensors(again, copy.tensors, str(folder))
    speaks = material.head == "language"
    worst, compared = torch.zeros(()), 0
    for texts in (*((text,) for text in _PROBES), _PROBES[:2]):
        framed = [_framed(each, texts, ends=not _goes_on(material)) for each in (material.tokenizer, tokenizer)]
        told = slice(None) if _has_segments(material) else slice(1)
        if not all(np.array_equal(one, other) for one, other in zip(framed[0][told], framed[1][told], strict=True)):
            raise HubError(f"{folder}: the tokenizer that was written reads {texts!r} otherwise; nothing was kept.")
        if not len(framed[0].tokens_L):
            continue
        batch = _batch(material, framed[0])
        before, after = (_answers(each, batch, speaks=speaks) for each in (material.network, again))
        # `maximum` keeps what is not a number.
        worst, compared = torch.maximum(worst, (before - after).abs().max()), compared + before.numel()
    if not float(worst) <= _TOLERANCE:
        raise HubError(f"{folder}: the model that was written answers otherwise, by {float(worst):.2g}; nothing kept.")
    return float(worst), compared


def _framed(tokenizer: Tokenizer, texts: Sequence[str], *, ends: bool) -> Framed:
    """Return texts as they are read; `ends` False: with what comes before them only."""
    ids = [np.array(tokenizer.encode(text), dtype=np.int64) for text in texts]
    if ends:
        return tokenizer.frame.around(ids)
    tokens_L = np.concatenate([np.array(tokenizer.frame.before, dtype=np.int64), *ids])
    return Framed(tokens_L, np.zeros_like(tokens_L))


def _has_segments(material: _Material) -> bool:
    return material.config.stacks()[0].embedding.num_segments > 1


def _goes_on(material: _Material) -> bool:
    """Return whether the model goes on after a prompt: it must not read that the text has ended."""
    return material.head == "language" and isinstance(material.config.family, Decoder)


def _batch(material: _Material, framed: Framed) -> Batch:
    """Return a text as the model reads it, every place of it asked for."""
    tokens_BL, segments_BL = (torch.from_numpy(part[: material.config.max_length])[None] for part in framed)
    position_BL = torch.arange(tokens_BL.shape[1], dtype=torch.int32)[None]
    document_BL = torch.zeros_like(position_BL)
    family, readout = material.config.family, material.readout
    layout = TokenLayout.causal if isinstance(family, Decoder) else TokenLayout.bidirectional
    batch = reading(tokens_BL, layout(document_BL, position_BL))
    batch = replace(batch, places_BN=position_BL.long(), weights_BN=torch.ones_like(tokens_BL).float())
    if _has_segments(material):
        batch = replace(batch, segments_BL=segments_BL)
    if isinstance(family, EncoderDecoder) and (readout is None or readout.stack == "writer"):
        return read_again(batch, material.tokenizer.special.bos)
    return batch


@torch.inference_mode()
def _answers(network: TaskNetwork, batch: Batch, *, speaks: bool) -> Tensor:
    """Return the scores of every place, or what is read there where the network has no head."""
    scores: Tensor = network(batch)
    return network.head(scores) if speaks else scores
