"""The files that make a Hugging Face folder one of sentence-transformers: what stands for a text, and what is after."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from trivium.core.errors import HubError
from trivium.core.files import write_json
from trivium.hub.files import one_line, read_json
from trivium.hub.options import Tree
from trivium.hub.weights import read_weights
from trivium.model.config import Pooling
from trivium.model.folder import save_tensors

MODULES, POOLING, LIMIT = "modules.json", "1_Pooling", "sentence_bert_config.json"
_KEYS: dict[Pooling, str] = {
    "mean": "pooling_mode_mean_tokens",
    "first": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
    "weighted": "pooling_mode_weightedmean_tokens",
}
_READ = ("Transformer", "Pooling", "Dense", "Normalize")
_IDENTITY = "Identity"


class AfterReading(NamedTuple):
    """What is made of the hidden states of a text."""

    pooling: Pooling
    projection: dict[str, Tensor]  # `weight` [C, D] and perhaps `bias` [C], float32; empty = there is none
    max_length: int | None = None  # tokens that are read of a text at once


def read_after_reading(folder: Path) -> AfterReading | None:
    """Return what is after the model in a folder of sentence-transformers; None = the folder says nothing of it.

    Raises:
        HubError: a module, a pooling or an activation that is not read, or files that are missing or damaged.
    """
    if not (folder / MODULES).is_file():
        return None
    paths = _module_paths(folder / MODULES)
    for kind in paths:
        if kind not in _READ:
            raise HubError(f"{folder / MODULES}: the module `{kind}` is not read; expected {', '.join(_READ)}.")
    projection = _read_dense(folder / paths["Dense"]) if "Dense" in paths else {}
    limit = read_json(folder / LIMIT).get("max_seq_length") if (folder / LIMIT).is_file() else None
    max_length = limit if isinstance(limit, int) and limit > 0 else None
    return AfterReading(_read_pooling(folder / paths.get("Pooling", POOLING)), projection, max_length)


def _read_pooling(folder: Path) -> Pooling:
    options = read_json(folder / "config.json")
    named = options.get("pooling_mode")
    found = [pooling for pooling, key in _KEYS.items() if options.get(key) or key.split("_")[2] == named]
    others = [key for key, value in options.items() if key.startswith("pooling_mode_") and value is True]
    if len(found) != 1 or not set(others) <= {_KEYS[found[0]]}:
        told = ", ".join(others) or named
        raise HubError(f"{folder}: expected one pooling of {', '.join(_KEYS)}; found {told}.")
    return found[0]


def _read_dense(folder: Path) -> dict[str, Tensor]:
    activation = str(read_json(folder / "config.json").get("activation_function", ""))
    if activation.rpartition(".")[2] != _IDENTITY:
        raise HubError(f"{folder}: the activation {activation or 'none'} is not read; expected {_IDENTITY}.")
    tensors = {name.removeprefix("linear."): tensor.float() for name, tensor in read_weights(folder).items()}
    if not {"weight"} <= tensors.keys() <= {"weight", "bias"} or tensors["weight"].dim() != 2:
        raise HubError(f"{folder}: expected `linear.weight` and perhaps `linear.bias`, found {', '.join(tensors)}.")
    return tensors


def write_sentence_files(
    folder: Path, *, pooling: Pooling, size: int, max_length: int, projection: Mapping[str, Tensor] | None = None
) -> None:
    """Write what sentence-transformers reads beside a model of transformers: pooling, then vectors of length 1.

    Args:
        folder: of the model.
        pooling: what stands for a text.
        size: numbers a text, before the projection.
        max_length: tokens that are read of a text.
        projection: `weight` [C, size], and perhaps `bias` [C]; None = there is none.
    """
    kinds = ["Transformer", "Pooling", *(["Dense"] if projection is not None else []), "Normalize"]
    paths = ["" if not number else f"{number}_{kind}" for number, kind in enumerate(kinds)]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    write_json(folder / MODULES, modules)
    write_json(folder / LIMIT, {"max_seq_length": max_length, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    for path in paths[1:]:
        (folder / path).mkdir()
    write_json(folder / POOLING / "config.json", _pooling_options(pooling, size))
    if projection is not None:
        options = {
            "in_features": size,
            "out_features": len(projection["weight"]),
            "bias": "bias" in projection,
            "activation_function": f"torch.nn.modules.linear.{_IDENTITY}",
        }
        write_json(folder / paths[2] / "config.json", options)
        save_tensors(
            folder / paths[2] / "model.safetensors", {f"linear.{name}": part for name, part in projection.items()}
        )


def _module_paths(file: Path) -> dict[str, str]:
    """Return where each module is, by its kind."""
    try:
        modules = json.loads(file.read_text(encoding="utf-8"))
        return {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HubError(f"{file}: expected a JSON list of modules with `type` and `path`: {one_line(error)}.") from None


def _pooling_options(pooling: Pooling, size: int) -> Tree:
    return {
        "word_embedding_dimension": size,
        **{key: one == pooling for one, key in _KEYS.items()},
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "include_prompt": True,
    }
