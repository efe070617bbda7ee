"""Hugging Face weight files: safetensors and PyTorch pickles in, safetensors out; no code in them is ever run."""

import hashlib
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trivium.core.errors import HubError
from trivium.core.files import sha256, write_text
from trivium.hub.files import one_line, read_json, require_file, require_folder

SAFETENSORS, SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
# What other programs' weights are called, what they are, and the way out.
FOREIGN = {
    "tf_model*.h5": ("Keras weights", "load them with transformers 4 (`from_tf=True`) and save them with it"),
    "flax_model*.msgpack": ("Flax weights", "load them with transformers 4 (`from_flax=True`) and save them with it"),
    "*.gguf": ("weights of llama.cpp", "take the model they were made from"),
    "*.ot": ("weights of rust-bert", "take the model they were made from"),
    "*.index": ("a TensorFlow checkpoint", "read it as one: name the checkpoint, not its folder"),
}
_ZIP_MAGIC = b"PK\x03\x04"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a Hugging Face model's folder, by their names in the files.

    Read are, the first that is there: `model.safetensors`, its sharded index, `pytorch_model.bin`, its sharded index.
    Types are those of the file. The tensors may be views of a mapped file: do not change them in place.

    Raises:
        HubError: no weights, or weights that are damaged, incomplete, or hold anything but tensors.
    """
    require_folder(folder)
    for name, read in ((SAFETENSORS, _read_safetensors), (PICKLE, _read_pickle)):
        for path, is_index in ((folder / name, False), (folder / f"{name}.index.json", True)):
            if path.exists() or path.is_symlink():
                return _read_shards(path, read) if is_index else read(path)
    raise HubError(_what_is_there_instead(folder))


def hash_weights(folder: Path) -> str | None:
    """Return the SHA-256 of the file of weights that `read_weights` reads; of several files, of their names and hashes.

    None where there is none, as in a folder of the original BERT's whose checkpoint goes by another name.
    """
    for name in (SAFETENSORS, PICKLE):
        if (folder / name).is_file():
            return sha256(folder / name)
        if (folder / f"{name}.index.json").is_file():
            shards = read_json(folder / f"{name}.index.json").get("weight_map", {})
            return _hash_files([folder / shard for shard in sorted(set(shards.values()))])
    return _hash_files(sorted(folder.glob("*.ckpt*.data-*")))


def _hash_files(files: list[Path]) -> str | None:
    named = "".join(f"{file.name} {sha256(file)}\n" for file in files if file.is_file())
    return hashlib.sha256(named.encode()).hexdigest() if named else None


def write_weights(folder: Path, tensors: dict[str, Tensor], *, shard_bytes: int = 5_000_000_000) -> None:
    """Write weights into an existing, empty folder, byte for byte as transformers' `save_pretrained` does.

    Args:
        folder: Where `model.safetensors` goes, or its shards and their index where there are more than one.
        tensors: By the names they get; no two may overlap in memory.
        shard_bytes: The most bytes of tensors a shard holds; a tensor that is larger is a shard of its own.
    """
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        _write_safetensors(folder / SAFETENSORS, shards[0])
        return
    stem = Path(SAFETENSORS).stem
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_safetensors(folder / name, shard)
        weight_map |= dict.fromkeys(shard, name)
    # Buffers of whole numbers (position_ids) are no parameters.
    num_parameters = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    total_size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_parameters": num_parameters, "total_size": total_size}, "weight_map": weight_map}
    write_text(folder / SAFETENSORS_INDEX, json.dumps(index, indent=2, sort_keys=True) + "\n")


def _write_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    # Not safetensors' save_file: its error for a full disk is not an OSError, and its files are for the owner only.
    path.write_bytes(
        save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, {"format": "pt"})
    )


def _shards(tensors: dict[str, Tensor], shard_bytes: int) -> list[dict[str, Tensor]]:
    """Return the tensors in their order, cut where the next would be too much (as huggingface_hub does)."""
    shards: list[dict[str, Tensor]] = []
    current: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if tensor.nbytes > shard_bytes:
            # Ahead of the shard that is being filled, which goes on: so are they numbered there.
            shards.append({name: tensor})
            continue
        if size + tensor.nbytes > shard_bytes:
            shards.append(current)
            current, size = {}, 0
        current[name] = tensor
        size += tensor.nbytes
    return [*shards, current] if current or not shards else shards


def _read_shards(path: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    shard_of = read_json(path).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise HubError(f"{path}: expected `weight_map`, an object of weights and the files they are in, found none.")
    for name, shard in shard_of.items():
        if not isinstance(shard, str) or not shard:
            raise HubError(f"{path}: expected the name of a file for `{name}`, found {shard!r}.")
        # By its words, not by where it leads: Hugging Face's cache is made of links out of the folder.
        if shard.startswith("/") or "\\" in shard or ":" in shard or "\0" in shard or ".." in shard.split("/"):
            raise HubError(f"{path}: expected a file inside the folder for `{name}`, found {shard!r}.")
    tensors: dict[str, Tensor] = {}
    found_in: dict[str, str] = {}
    for shard in dict.fromkeys(shard_of.values()):
        if not (path.parent / shard).exists():
            raise HubError(f"{path.parent / shard}: missing file: {path.name} says that it holds weights.")
        for name, tensor in read(path.parent / shard).items():
            if name in found_in:
                raise HubError(f"{path}: `{name}` is in two shards: {found_in[name]} and {shard}.")
            tensors[name], found_in[name] = tensor, shard
    for name, shard in shard_of.items():
        if found_in.get(name) != shard:
            found = f"it is in {found_in[name]}" if name in found_in else "it is in none"
            raise HubError(f"{path}: expected `{name}` in {shard}, but {found}.")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    require_file(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            made_by = (file.metadata() or {}).get("format", "pt")
            tensors = {} if made_by in {"tf", "flax"} else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise HubError(
            f"{path}: expected safetensors, found a file that is damaged or cut short: {one_line(error)}."
        ) from None
    if made_by in {"tf", "flax"}:
        raise HubError(f"{path}: expected PyTorch's names and shapes of weights, found those of {made_by}.")
    return tensors


def _read_pickle(path: Path) -> dict[str, Tensor]:
    require_file(path)
    try:
        with path.open("rb") as file:
            mapped = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        with warnings.catch_warnings():
            # What torch fears of newer protocols is an error, which is told below.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # noqa: BLE001 - what a damaged file makes the unpickler raise has no bounds
        raise HubError(f"{path}: {_why_not_unpickled(error)}") from None
    if not isinstance(value, dict):
        raise HubError(f"{path}: expected tensors by name, found {type(value).__name__}.")
    return {_checked_name(path, name): _checked_tensor(path, name, item) for name, item in value.items()}


def _checked_name(path: Path, name: Any) -> str:
    if not isinstance(name, str):
        raise HubError(f"{path}: expected tensors by name, found the key {name!r}.")
    return name


def _checked_tensor(path: Path, name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise HubError(f"{path}: expected a tensor for `{name}`, found {type(value).__name__}.")
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise HubError(
            f"{path}: expected a plain tensor for `{name}`, found one that is sparse, quantised or without data."
        )
    return value.detach()


def _why_not_unpickled(error: Exception) -> str:
    """Return the reason in our words: torch's own tell, on many lines, how to run the code in the file after all."""
    if isinstance(error, OSError):
        return f"cannot be read: {one_line(error)}."
    code = re.search(
        r"GLOBAL ([\w.]+)|unrecognized function <?(?:class|built-in function|function)? ?'?([\w.]+)", str(error)
    )
    if code:
        return (
            f"expected nothing but tensors, found a call of `{code[1] or code[2]}`; refused, and nothing in the file "
            "was run. Save the weights as safetensors where you trust them."
        )
    return "expected a PyTorch file of tensors (pickle protocol 2), found one that is damaged, cut or of another kind."


def _what_is_there_instead(folder: Path) -> str:
    looked_for = f"expected one of {', '.join((SAFETENSORS, SAFETENSORS_INDEX, PICKLE, PICKLE_INDEX))}"
    for pattern, (kind, way_out) in FOREIGN.items():
        for file in sorted(folder.glob(pattern)):
            return f"{folder}: {looked_for}, found only {file.name}: {kind}, which are not read; {way_out}."
    names = sorted(file.name for file in folder.iterdir())
    found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "an empty folder"
    return f"{folder}: no weights: {looked_for}, found {found}."
