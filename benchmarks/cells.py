"""Cells of a table, each a process of its own on one core, two at once: what is there is not made again."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any


def run_cells(commands: Mapping[str, Sequence[str]], *, jobs: int) -> Iterator[dict[str, Any]]:
    """Run commands side by side and yield, as each ends, what the last line that it prints says.

    Args:
        commands: by the name of what each makes; its last line is JSON. One that fails is said and passed over.
        jobs: processes at once, each on one core.
    """
    asked = list(commands.items())
    running: dict[str, subprocess.Popen[str]] = {}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    while asked or running:
        while asked and len(running) < jobs:
            name, command = asked.pop(0)
            running[name] = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            print(f"{name}: begun", flush=True)
        ended = next((name for name, process in running.items() if process.poll() is not None), None)
        if ended is None:
            sleep(0.5)
            continue
        process = running.pop(ended)
        out, _ = process.communicate()
        if process.returncode:
            print(f"{ended}: failed with {process.returncode}", flush=True)
            continue
        last = out.splitlines()[-1]
        print(f"{ended}: {last}", flush=True)
        yield json.loads(last)


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Return the rows that are there."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return rows


def add_cell(path: Path, row: Mapping[str, Any], *, order: Callable[[Mapping[str, Any]], Any]) -> None:
    """Add a row to those that are there, all in one order; who is stopped meanwhile loses none of them."""
    path.parent.mkdir(exist_ok=True)
    begun = path.with_suffix(".part")
    rows = sorted([*read_cells(path), row], key=order)
    begun.write_text(json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    begun.replace(path)
