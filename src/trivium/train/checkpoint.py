"""Checkpoints: written aside, checksummed, renamed; the last two and the best are kept."""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Self

from torch import Tensor, nn

from trivium.core.errors import CheckpointError
from trivium.core.files import new_folder, partial_path, verify_checksums, write_checksums, write_json
from trivium.model.folder import load_tensors, read_tensors, save_tensors, unique_tensors
from trivium.train.distributed import ALONE, Ranks
from trivium.train.optimisers import Optimiser, load_optimiser_tensors, optimiser_tensors
from trivium.train.sharded import is_sharded, optimiser_parts, put, read_parts, save_parts, state_of
from trivium.train.state import TrainState

NUM_KEPT = 2
WEIGHTS, OPTIMISER, STATE = "weights.safetensors", "optimiser.safetensors", "state.json"


def checkpoint_path(run: Path, step: int) -> Path:
    """Return the folder of one checkpoint."""
    return run / "checkpoints" / f"step-{step:06d}"


def save_checkpoint(
    run: Path,
    network: nn.Module,
    optimiser: Optimiser,
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
    _write(run, _tensors(network, optimiser, beside), state, num_kept)


class CheckpointWriter:
    """Writes checkpoints while the run goes on: tensors are copied at once, files are written in a thread.

    One is written at a time. What goes wrong (a full disk) is raised by the next `save`, or at the end; earlier
    checkpoints stay. What ranks hold in parts they write together, and wait for it. Use it in a `with` statement.

    Args:
        run: the run's folder.
        ranks: of the run; all of them call `save`.
        num_kept: how many of the last are kept.
    """

    def __init__(self, run: Path, *, ranks: Ranks = ALONE, num_kept: int = NUM_KEPT) -> None:
        self._run, self._ranks, self._num_kept = run, ranks, num_kept
        self._pool = ThreadPoolExecutor(1, "trivium-checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self.wait()

    def save(
        self,
        network: nn.Module,
        optimiser: Optimiser,
        state: TrainState,
        *,
        beside: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({}),
    ) -> None:
        """Begin to write a checkpoint, see `save_checkpoint`; wait for the one before it."""
        self.wait()
        tensors = _tensors(network, optimiser, beside)
        if is_sharded(tensors[WEIGHTS]):
            _write_parts(self._run, tensors, state, self._num_kept, self._ranks)
        elif self._ranks.first:
            copied = {
                name: {key: tensor.to("cpu", copy=True) for key, tensor in own.items()} for name, own in tensors.items()
            }
            self._pending = self._pool.submit(_write, self._run, copied, state, self._num_kept)

    def wait(self) -> None:
        """Return when all that was begun is written; raise what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def _tensors(
    network: nn.Module, optimiser: Optimiser, beside: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each file."""
    others = {f"{name}.safetensors": dict(tensors) for name, tensors in beside.items() if tensors}
    return {WEIGHTS: unique_tensors(network), OPTIMISER: optimiser_tensors(optimiser, network), **others}


def _write(run: Path, tensors: Mapping[str, dict[str, Tensor]], state: TrainState, num_kept: int) -> None:
    with new_folder(checkpoint_path(run, state.step)) as folder:
        for name, own in tensors.items():
            save_tensors(folder / name, own)
        write_json(folder / STATE, state._asdict())
        write_checksums(folder)
    _remove_others(run, state, num_kept)


def _write_parts(
    run: Path, tensors: Mapping[str, dict[str, Tensor]], state: TrainState, num_kept: int, ranks: Ranks
) -> None:
    """Write what each rank has a part of; the first rank makes the folder and ends it."""
    path = checkpoint_path(run, state.step)
    with new_folder(path) if ranks.first else nullcontext(partial_path(path)) as folder:
        ranks.wait()
        for name, own in tensors.items():
            save_parts(folder / Path(name).stem, own)
        ranks.wait()
        if ranks.first:
            write_json(folder / STATE, state._asdict())
            write_checksums(folder)
    if ranks.first:
        _remove_others(run, state, num_kept)
    ranks.wait()


def _remove_others(run: Path, state: TrainState, num_kept: int) -> None:
    """Remove the checkpoints that are neither of the last ones nor the best."""
    kept = set([old for old in checkpoints(run) if step_of(old) <= state.step][-num_kept:])
    if state.best_step is not None:
        kept.add(checkpoint_path(run, state.best_step))
    for old in checkpoints(run):
        if old not in kept:
            shutil.rmtree(old)


def remove_unfinished(run: Path) -> None:
    """Remove what a killed process was writing."""
    for path in (run / "checkpoints").glob(".step-*"):
        shutil.rmtree(path)


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


def load_checkpoint(path: Path, network: nn.Module, optimiser: Optimiser) -> TrainState:
    """Give network and optimiser the checkpoint's values and return where the run was.

    Both the checkpoint and the network may be whole or in parts, on any number of ranks.

    Raises:
        CheckpointError: it is of another model, or it cannot be read.
    """
    weights = unique_tensors(network)
    if (path / WEIGHTS).is_file():
        tensors, state = read_tensors(path / WEIGHTS), read_tensors(path / OPTIMISER)
        if is_sharded(weights):
            load_tensors(network, tensors, str(path), put=put)
            load_optimiser_tensors(optimiser, network, state, str(path), of=state_of)
        else:
            load_tensors(network, tensors, str(path))
            load_optimiser_tensors(optimiser, network, state, str(path))
    else:
        read_parts(path / Path(WEIGHTS).stem, weights)
        state = optimiser_parts(path / Path(OPTIMISER).stem, network)
        load_optimiser_tensors(optimiser, network, state, str(path))
    return TrainState(**json.loads((path / STATE).read_text(encoding="utf-8")))


def tensors_beside(path: Path, name: str) -> dict[str, Tensor]:
    """Return the checkpoint's tensors of this name, empty when it has none; see `save_checkpoint`."""
    file = path / f"{name}.safetensors"
    # Copied: tensors of a mapped file are not aligned as those of an unbroken run are.
    return {key: value.clone() for key, value in read_tensors(file).items()} if file.is_file() else {}
