"""A fine-tuning run that is killed and goes on is the run that was never killed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

SLOW_STEPS = ("--set", "rows=1", "--epochs", "3", "--set", "optimiser.lr=0.01")


def command(workshop: Path, out: Path, *more: str) -> list[str]:
    """Return a run with dropout and an average, whose epochs have many steps."""
    files = [part for split in ("train", "valid", "test") for part in (f"--{split}", workshop / f"{split}.csv")]
    ask = ["finetune", workshop / "encoder", "--task", "classify", *files, "--out", out, "--quiet", "--json", "--resume"]
    return [sys.executable, "-m", "trivium", *map(str, ask), *SLOW_STEPS, "--set", "averaging.kind=ema", *more]


def lines(run: Path) -> list[dict[str, object]]:
    """Return the whole lines of the log."""
    log = run / "log.jsonl"
    return [json.loads(line) for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")] if log.exists() else []


def started(arguments: list[str], run: Path, ready: Callable[[], bool]) -> "subprocess.Popen[bytes]":
    """Return the process of a run when it is as far as is asked, or has ended."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not ready():
        time.sleep(0.005)
    return process


def ended(run: Path) -> dict[str, object]:
    """Return what a run leaves, but for how long it took."""
    results = json.loads((run / "results.json").read_text())
    return {
        "model": {file.name: file.read_bytes() for file in (run / "model").iterdir()},
        "results": {key: value for key, value in results.items() if key != "seconds"},
        "log": [{key: value for key, value in line.items() if key != "seconds"} for line in lines(run)],
    }


@pytest.fixture(scope="module")
def unbroken(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "unbroken"
    subprocess.run(command(workshop, out), check=True, stdout=subprocess.PIPE)
    return out
