"""Checkpoints: written aside, checksummed, renamed; the last two and the best are kept."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from trivium.core.errors import CheckpointError
from trivium.core.files import new_folder, verify_checksums, write_checksums, write_json
from trivium.model.folder import load_tensors, read_tensors, save_tensors, unique_tensors
from trivium.train.optimisers import load_optimiser_tensors, optimiser_tensors
from trivium.train.state import TrainState

NUM_KEPT = 2
WEIGHTS = "weights.safetensors"


def checkpoint_path(run: Path, step: int) -> Path:
    """Return the folder of one checkpoint."""
    return run / "checkpoints" / f"step-{step:06d}"


def save_checkpoint(
    run: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    state: TrainState,
    *,
    beside: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({}),
    num_kept: int = NUM_KEPT,
) -> None:
    """Write a checkpoint and remove those that are neither of the last ones nor the best.

    Later ones go too: a run that has come here again went on from before them because they were damaged.

    Args:
        run: the run's folder.
        network, optimiser, state: what a run goes on from.
        beside: more tensors that it needs, by the name of their file; an empty one is not written.
        num_kept: how many of the last are kept.
    """
    path = checkpoint_path(run, state.step)
    with new_folder(path) as folder:
        save_tensors(folder / WEIGHTS, unique_tensors(network))
        save_tensors(folder / "optimiser.safetensors", optimiser_tensors(optimiser, network))
        for name, tensors in beside.items():
            if tensors:
                save_tensors(folder / f"{name}.safetensors", dict(tensors))
        write_json(folder / "state.json", state._asdict())
        write_checksums(folder)
    kept = set([old for old in checkpoints(run) if step_of(old) <= state.step][-num_kept:])
    if state.best_step is not None:
        kept.add(checkpoint_path(run, state.best_step))
    for old in checkpoints(run):
        if old not in kept:
            shutil.rmtree(old)


def checkpoints(run: Path) -> list[Path]:
    """Return the run's checkpoints, the oldest first."""
    found = [path for path in (run / "checkpoints").glob("step-*") if path.name[5:].isdecimal()]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    """Return how many updates a checkpoint is after."""
    return int(path.name[5:])


def latest_good(run: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that is whole (None when there is none yet) and what was wrong with newer ones.

    Raises:
        CheckpointError: there are checkpoints, and all of them are damaged.
    """
    complaints: list[str] = []
    for path in reversed(checkpoints(run)):
        try:
            verify_checksums(path)
        except CheckpointError as error:
            complaints.append(str(error))
        else:
            return path, complaints
    if complaints:
        raise CheckpointError(f"{complaints[0]} No earlier checkpoint is whole; start anew with another --out.")
    return None, []


def load_checkpoint(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> TrainState:
    """Give network and optimiser the checkpoint's values and return where the run was."""
    load_tensors(network, read_tensors(path / WEIGHTS), str(path))
    load_optimiser_tensors(optimiser, network, read_tensors(path / "optimiser.safetensors"), str(path))
    return TrainState(**json.loads((path / "state.json").read_text(encoding="utf-8")))


def tensors_beside(path: Path, name: str) -> dict[str, Tensor]:
    """Return the checkpoint's tensors of this name, empty when it has none; see `save_checkpoint`."""
    file = path / f"{name}.safetensors"
    # Copied: tensors of a mapped file are not aligned as those of an unbroken run are.
    return {key: value.clone() for key, value in read_tensors(file).items()} if file.is_file() else {}
