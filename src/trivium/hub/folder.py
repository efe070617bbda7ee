"""A Hugging Face model's folder: its architecture and weights in our terms, and ours written as one."""

import json
from pathlib import Path
from typing import NamedTuple

import torch

from trivium.core.errors import HubError
from trivium.core.files import write_text
from trivium.hub.families import family_of, read_config, write_config
from trivium.hub.family import HeadKind, HubFamily, body_shapes, network_shapes, task_shapes
from trivium.hub.files import read_json
from trivium.hub.keymap import Shapes, Tensors, equal, to_ours, to_theirs
from trivium.hub.options import Tree, text_labels
from trivium.hub.weights import read_weights, write_weights
from trivium.model.config import ModelConfig, ReadoutConfig

CONFIG = "config.json"


class SpecialIds(NamedTuple):
    """Ids of the tokens that config.json names; None = not named. A text ends at each of `eos`."""

    pad: int | None = None
    bos: int | None = None
    eos: tuple[int, ...] = ()
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    decoder_start: int | None = None


NO_IDS = SpecialIds()


class HubModel(NamedTuple):
    """A model that transformers saved, in our terms.

    Args:
        config: the architecture.
        tensors: float32, by our names: those of `build_network`, without the head's where `head` is "none"; for a task
            those of what reads under `reader.` and of its head under `head.`.
        head: what the checkpoint's head does; "none" = it has none, or one that we leave out.
        readout: the head of a task.
        labels: the names of its classes.
        problem: what its classes are: None, "regression", "single_label_classification", "multi_label_classification".
        ids: the special tokens.
        family: its `model_type`.
    """

    config: ModelConfig
    tensors: Tensors
    head: HeadKind
    readout: ReadoutConfig | None
    labels: tuple[str, ...]
    problem: str | None
    ids: SpecialIds
    family: str


def read_folder(folder: Path) -> HubModel:
    """Open the folder of a model that transformers saved.

    Raises:
        HubError: a family, an option, a head or weights that we do not have, or files that are missing or damaged.
    """
    try:
        return read_model(read_json(folder / CONFIG), read_weights(folder))
    except HubError as error:
        told = str(error)
        raise HubError(told if told.startswith(str(folder)) else f"{folder}: {told}") from None


def read_head(folder: Path) -> HeadKind:
    """Return what the head of a Hugging Face folder does; raise HubError as `read_folder` does."""
    if not (folder / CONFIG).is_file():
        return "language"  # one of google-research/bert's, which are pretrained
    tree = read_json(folder / CONFIG)
    return _head(family_of(tree), tree, read_weights(folder) if not tree.get("architectures") else {})


def read_model(tree: Tree, tensors: Tensors) -> HubModel:
    """Return a model from the options of its config.json and its weights; raise HubError as `read_folder` does."""
    family = family_of(tree)
    head = _head(family, tree, tensors)
    config = read_config(family, tree)
    if family.tied_by_weights and head == "language":
        config = _tied_as_saved(family, config, tensors)
    kind = family.readout(head)
    readout: ReadoutConfig | None = None
    labels: tuple[str, ...] = ()
    if kind is not None:
        readout, labels = kind.read(tree), ("start", "end") if head == "answer" else text_labels(tree)
    keymap = family.keymap(config, head, readout)
    shapes = _shapes(config, head, readout, len(labels))
    if head == "none" and not any(_is_of_decoder(key) for key in tensors):
        shapes = {name: shape for name, shape in shapes.items() if not _is_of_decoder(name)}
    ours = to_ours(keymap, tensors, shapes)
    return HubModel(
        config=config,
        # Clones: the file stays mapped as long as any tensor is a view of it.
        tensors={name: tensor.to(torch.float32, copy=True) for name, tensor in ours.items()},
        head=head,
        readout=readout,
        labels=labels,
        problem=tree.get("problem_type"),
        ids=_read_ids(tree),
        family=family.model_type,
    )


def write_folder(
    folder: Path,
    config: ModelConfig,
    tensors: Tensors,
    *,
    head: HeadKind = "language",
    readout: ReadoutConfig | None = None,
    labels: tuple[str, ...] = (),
    problem: str | None = None,
    ids: SpecialIds = NO_IDS,
    model_type: str | None = None,
) -> str:
    """Write a model into an existing, empty folder as transformers would have saved it.

    Args:
        folder: gets config.json and model.safetensors.
        config: the architecture.
        tensors: by our names, as in `HubModel`.
        head: what the head does.
        readout: the head of a task.
        labels: the names of its classes.
        problem: as in `HubModel`.
        ids: the special tokens.
        model_type: the family to write; None = the first that the network is one of.

    Returns:
        the `model_type` that was written.

    Raises:
        HubError: no family has such a network, with the options that stand in the way.
    """
    family, options = write_config(config, head=head, readout=readout, model_type=model_type)
    if family.pad_option and ids.pad not in (None, options["pad_token_id"]):
        raise HubError(
            f"positions of `{family.model_type}` begin after the padding token's id: `position.offset` needs "
            f"{options['pad_token_id']}, the tokenizer has {ids.pad}."
        )
    kind = family.readout(head)
    models = family.language_models if head == "language" else family.base_models if kind is None else kind.models
    keymap = family.keymap(config, head, readout)
    _require(tensors, _shapes(config, head, readout, len(labels)))
    theirs = to_theirs(keymap, tensors)
    if head == "none":
        theirs = {name.removeprefix(keymap.prefix): tensor for name, tensor in theirs.items()}
    tree = {
        "architectures": [models[0]],
        "model_type": family.model_type,
        "dtype": str(next(iter(tensors.values())).dtype).removeprefix("torch."),
        **_write_ids(ids),
        **options,
        **(_label_options(labels, problem) if head in ("classify", "label") else {}),
    }
    write_text(folder / CONFIG, json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    write_weights(folder, theirs)
    return family.model_type


def _head(family: HubFamily, tree: Tree, tensors: Tensors) -> HeadKind:
    """Return which head the checkpoint has: by its architecture, or by its keys when it names none."""
    named = tree.get("architectures") or [None]
    name = named[0]
    if name is None:
        return _head_of_keys(family, tree, tensors)
    if name in family.language_models:
        return "language"
    if name in family.base_models:
        return "none"
    for readout in family.readouts:
        if name in readout.models:
            return readout.kind
    known = [*family.language_models, *family.base_models, *(one for head in family.readouts for one in head.models)]
    raise HubError(f"config.json: `architectures` {name} is not read: expected {', '.join(known)}.")


def _head_of_keys(family: HubFamily, tree: Tree, tensors: Tensors) -> HeadKind:
    modules = {key.rpartition(".")[0] for key in tensors}
    for readout in family.readouts:
        if all(module in modules for entry in readout.entries for module in entry.theirs):
            return readout.kind
    language = family.language(read_config(family, tree))
    wanted = {module for entry in language.entries for module in entry.theirs}
    return "language" if wanted <= modules else "none"


def _tied_as_saved(family: HubFamily, config: ModelConfig, tensors: Tensors) -> ModelConfig:
    """Return the configuration with the head tied where the weights have no projection of its own."""
    untied = config.model_copy(update={"head": config.head.model_copy(update={"tied": False})})
    (projection,) = family.language(untied).entries[0].theirs
    tied = config.model_copy(update={"head": config.head.model_copy(update={"tied": True})})
    (copy,) = (copy for copy in family.language(tied).copies if copy.name == f"{projection}.weight")
    own, tokens = tensors.get(copy.name), tensors.get(copy.of)
    return tied if own is None or (tokens is not None and equal(own, tokens)) else untied


def _is_of_decoder(name: str) -> bool:
    return name.startswith("decoder.")


def _shapes(config: ModelConfig, head: HeadKind, readout: ReadoutConfig | None, num_classes: int) -> Shapes:
    if readout is not None:
        return task_shapes(config, readout, num_classes)
    return network_shapes(config) if head == "language" else body_shapes(config)


def _require(tensors: Tensors, shapes: Shapes) -> None:
    wrong = sorted(
        name
        for name in tensors.keys() | shapes.keys()
        if name not in tensors or name not in shapes or tensors[name].shape != shapes[name]
    )
    if wrong:
        raise HubError(f"the tensors to write are not those of the architecture: {', '.join(wrong[:3])}.")


def _read_ids(tree: Tree) -> SpecialIds:
    eos = tree.get("eos_token_id")
    ends = () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,)
    names = (field for field in SpecialIds._fields if field != "eos")
    return SpecialIds(eos=ends, **{name: tree.get(f"{name}_token_id") for name in names})


def _write_ids(ids: SpecialIds) -> Tree:
    # Null where there is none: the families' defaults are ids of their own vocabularies.
    eos = None if not ids.eos else ids.eos[0] if len(ids.eos) == 1 else list(ids.eos)
    own = {"mask_token_id": ids.mask, "decoder_start_token_id": ids.decoder_start}
    return {
        "pad_token_id": ids.pad,
        "bos_token_id": ids.bos,
        "eos_token_id": eos,
        "cls_token_id": ids.cls,
        "sep_token_id": ids.sep,
        **{name: value for name, value in own.items() if value is not None},
    }


def _label_options(labels: tuple[str, ...], problem: str | None) -> Tree:
    known = {} if problem is None else {"problem_type": problem}
    return known | {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
