"""Runs made by several processes on this machine, each telling the others over gloo."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch

from trivium.train.distributed import Ranks, joined


def on_ranks(count: int, work: Callable[..., None], *arguments: object) -> None:
    """Call `work(ranks, *arguments)` in so many new processes; raise what one of them raises."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    torch.multiprocessing.spawn(_one, (count, port, work, arguments), nprocs=count)


def _one(rank: int, count: int, port: int, work: Callable[[Ranks], None], arguments: tuple[object, ...]) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    torch.set_num_threads(1)
    with joined() as ranks:
        work(ranks, *arguments)


def parts_of(folder: Path) -> list[str]:
    """Return the names of a checkpoint's files."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
