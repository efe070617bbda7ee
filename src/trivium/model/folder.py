"""A model on disk: weights, architecture and tokenizer, checksummed, never pickled."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from trivium.core.config import parse, read_toml, write_toml
from trivium.core.errors import CheckpointError
from trivium.core.files import verify_checksums, write_checksums, write_text
from trivium.model.build import build_network
from trivium.model.config import ModelConfig
from trivium.model.heads import Network
from trivium.model.history import Made, read_history
from trivium.model.kernels import KernelName

WEIGHTS, CONFIG, TOKENIZER = "weights.safetensors", "model.toml", "tokenizer.json"
TASKS = "tasks"  # of a run of several: a folder for each, which is used as a run is


class SavedModel(NamedTuple):
    """What a model folder holds."""

    config: ModelConfig
    network: Network
    tokenizer: bytes
    history: tuple[Made, ...] = ()  # how its weights came to be, where that is known


def save_model(folder: Path, network: nn.Module, config: ModelConfig, tokenizer: bytes) -> None:
    """Write a model into an existing, empty folder (see `core.files.new_folder`)."""
    save_tensors(folder / WEIGHTS, unique_tensors(network))
    write_text(folder / CONFIG, write_toml(config))
    (folder / TOKENIZER).write_bytes(tokenizer)
    write_checksums(folder)


def load_model(folder: Path, *, kernel: KernelName | None = None, device: torch.device | str = "cpu") -> SavedModel:
    """Open a model folder; raise CheckpointError when it is missing, damaged, or its weights are of another model."""
    if not (folder / CONFIG).is_file():
        if (folder / "config.toml").is_file():
            raise CheckpointError(
                f"{folder}: no model/ in it; an unfinished run is gone on with by `pretrain --resume`."
            )
        raise CheckpointError(f"{folder}: not a model folder: it has no {CONFIG}.")
    verify_checksums(folder)
    config = parse(ModelConfig, read_toml(folder / CONFIG), str(folder / CONFIG))
    network = build_network(config, kernel=kernel, device=device)
    load_tensors(network, read_tensors(folder / WEIGHTS), str(folder / WEIGHTS))
    return SavedModel(config, network.eval(), (folder / TOKENIZER).read_bytes(), read_history(folder))


def model_folder(path: Path) -> Path:
    """Return the model folder of a run; every other folder is its own.

    Raises:
        CheckpointError: it is a run of several tasks, each of which has a model.
    """
    several = sorted(folder.parent.parent for folder in path.glob(f"{TASKS}/*/model/{CONFIG}"))
    if several:
        raise CheckpointError(f"{path}: a run of several tasks; name one of them: {', '.join(map(str, several))}.")
    return path / "model" if (path / "model" / CONFIG).is_file() else path


def unique_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's parameters by name, a shared one under its first name only."""
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors; equal tensors give equal bytes."""
    # Not safetensors' own save_file: its error for a full disk is not an OSError, and its files are for the owner only.
    path.write_bytes(save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors; raise CheckpointError when the file is missing or damaged."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}.") from None


def load_matching(module: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Copy the tensors that the module has parameters for, by name and shape; return the parameters left as they are.

    Args:
        module: may differ in some parts from what the tensors are of.
        tensors: by name.
    """
    anew = []
    for name, target in unique_tensors(module).items():
        if name in tensors and tensors[name].shape == target.shape:
            target.copy_(tensors[name])
        else:
            anew.append(name)
    return anew


def load_tensors(
    module: nn.Module,
    tensors: dict[str, Tensor],
    source: str,
    *,
    put: Callable[[Tensor, Tensor], object] = Tensor.copy_,
) -> None:
    """Copy tensors into the module's parameters; every name must be there on both sides, with equal shapes.

    Args:
        module: gets them.
        tensors: by name.
        source: of the tensors, for errors.
        put: writes the second tensor into the first, a parameter.

    Raises:
        CheckpointError: they are of another model; the module is as it was.
    """
    wanted = unique_tensors(module)
    missing, unexpected = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unexpected:
        parts = [f"missing: {', '.join(missing[:3])}"] * bool(missing)
        parts += [f"unexpected: {', '.join(unexpected[:3])}"] * bool(unexpected)
        raise CheckpointError(f"{source}: weights of another model ({'; '.join(parts)}).")
    for name, target in wanted.items():
        if target.shape != tensors[name].shape:
            raise CheckpointError(
                f"{source}: `{name}` should be of shape {tuple(target.shape)}, found {tuple(tensors[name].shape)}."
            )
    for name, target in wanted.items():
        # Copied, not adopted: mapped tensors are not aligned, and alignment may change the last bits of a product.
        put(target, tensors[name])
