"""What a run needs of the machine that is not time: memory and disk."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from trivium.model.folder import unique_tensors
from trivium.train.config import RunConfig
from trivium.train.device import CPU
from trivium.train.findings import Finding, config_error
from trivium.train.material import Material
from trivium.train.optimiser_config import AdafactorConfig, LionConfig, OptimiserConfig

_STATUS, _CLEAR, _MEMORY = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")


class Machine(NamedTuple):
    """What there is.

    Args:
        memory: bytes that a process can still have where the run computes, what it holds already not counted in;
            None = not known.
        disk: bytes free where the run's folder will be.
    """

    memory: int | None
    disk: int


def this_machine(out: Path, device: torch.device = CPU) -> Machine:
    """Return what this machine has now, for a run in the folder `out` on a device."""
    there = next((path for path in (out, *out.absolute().parents) if path.exists()), Path())
    memory = _available_on(device) if device.type == "cuda" else _available()
    return Machine(memory, shutil.disk_usage(there).free)


def _available_on(gpu: torch.device) -> int:
    """Return the memory of a GPU that the process may still fill: what PyTorch keeps for itself is free too."""
    return torch.cuda.mem_get_info(gpu)[0] + torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)


def _available() -> int | None:
    limits = [_line(_MEMORY, "MemAvailable")]
    with suppress(OSError, ValueError):
        # A container's own limit.
        group = Path("/sys/fs/cgroup")
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def sketch(config: RunConfig, material: Material) -> nn.Module:
    """Return the run's network on the meta device: its shapes, and no memory."""
    with torch.device("meta"):
        return material.objective.network(config.model)


class Sizes(NamedTuple):
    """Bytes that follow from the shapes alone."""

    weights: int
    state: int  # of the optimiser
    averages: int
    copies: int  # of the weights, in the type that computes

    @property
    def checkpoint(self) -> int:
        """Of one checkpoint."""
        return self.weights + self.state + self.averages

    @property
    def training(self) -> int:
        """Of everything that a run holds besides activations, gradients counted in."""
        return 2 * self.weights + self.state + self.averages + 2 * self.copies


def sizes_of(config: RunConfig, network: nn.Module) -> Sizes:
    """Return the bytes of a run's parts, from the shapes of its network."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in unique_tensors(network).values())
    averages = weights if config.averaging is not None else 0
    copies = weights // 2 if config.train.precision == "bfloat16" else (weights if config.mixout else 0)
    return Sizes(weights, _state_bytes(config.optimiser, network), averages, copies)


def _state_bytes(optimiser: OptimiserConfig, network: nn.Module) -> int:
    """Return an upper bound of what the optimiser remembers of the network's parameters."""
    shapes = [tensor.shape for tensor in unique_tensors(network).values()]
    size = sum(shape.numel() for shape in shapes)
    match optimiser:
        case LionConfig():
            return 4 * size
        case AdafactorConfig(beta1=beta1):
            # One number a row and a column of a matrix, one a number of a vector.
            edges = sum(shape[0] + shape[1:].numel() if len(shape) > 1 else shape.numel() for shape in shapes)
            return (4 * size if beta1 else 0) + 4 * edges
        case _:
            return 8 * size


def disk_bytes(config: RunConfig, sizes: Sizes) -> int:
    """Return what a run writes at most: its checkpoints, one more while it is written, the best, and the model."""
    checkpoints = min(config.train.checkpoints_kept + 2, (config.train.steps or 1) + 1)
    return checkpoints * sizes.checkpoint + 2 * sizes.weights


def footprint_findings(machine: Machine, *, memory: int, disk: int) -> Iterator[Finding]:
    """Yield an error for what the machine has not.

    Args:
        machine: what it has.
        memory: bytes that the run needs beyond what the process holds already.
        disk: bytes that the run writes.
    """
    if disk > machine.disk:
        yield config_error(
            "disk",
            f"the run's checkpoints and model need {in_bytes(disk)}, and {in_bytes(machine.disk)} are free there; "
            "choose another --out, or lower train.checkpoints_kept.",
        )
    if machine.memory is not None and memory > machine.memory:
        yield config_error(
            "memory",
            f"training needs about {in_bytes(memory)} of memory and {in_bytes(machine.memory)} are free; raise "
            "train.accumulation, lower train.rows or data.row_length, or choose a smaller model.",
        )


def held_bytes(device: torch.device) -> int | None:
    """Return the memory of a device that the process holds now; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _line(_STATUS, "VmRSS")


def forget_peak(device: torch.device) -> None:
    """Let the process's peak begin anew, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        _CLEAR.write_text("5")


def peak_bytes(device: torch.device) -> int | None:
    """Return the most memory of a device that the process has held; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = _line(_STATUS, "VmHWM")
    if found is not None or os.name != "posix":
        return found
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_bytes(size: float) -> str:
    """Return a number of bytes for people."""
    for unit, least in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= least:
            return f"{size / least:.3g} {unit}" if size < 999.5 * least else f"{size / least:,.0f} {unit}"
    return f"{size / 1e3:.3g} kB"


def _line(file: Path, name: str) -> int | None:
    """Return a line of a file of the system, in bytes."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None
