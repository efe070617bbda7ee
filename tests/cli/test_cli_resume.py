"""A run that is killed and goes on is the run that was never killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STEPS = 40


def command(workshop: Path, out: Path, *more: str) -> list[str]:
    """Return a run with dropout (bert-tiny has it) and frequent checkpoints."""
    small = ("--set", "data.row_length=32", "--set", "train.rows=4", "--set", "train.validate_rows=8")
    run = ("pretrain", "bert-tiny", "--data", workshop / "data", "--out", out, "--steps", STEPS, "--quiet")
    every = ("--resume", "--no-preflight", "--set", "train.checkpoint_steps=7", *more)
    return [sys.executable, "-m", "trivium", *map(str, run), *small, *every]


def model_bytes(run: Path) -> dict[str, bytes]:
    """Return the content of each file of the model."""
    return {file.name: file.read_bytes() for file in (run / "model").iterdir()}


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[bytes]") -> None:
    """Return when the log says that the run is at this step, or when it has ended."""
    while process.poll() is None:
        log = run / "log.jsonl"
        if log.exists() and sum(b'"lr"' in line for line in log.read_bytes().splitlines()) >= step:
            return
        time.sleep(0.005)


def test_killed_three_times_ends_with_the_same_bytes(workshop: Path, tmp_path: Path) -> None:
    unbroken = tmp_path / "unbroken"
    subprocess.run(command(workshop, unbroken), check=True)
    broken = tmp_path / "broken"
    moments = np.sort(np.random.default_rng().integers(1, STEPS - 2, 3))
    kills = 0
    for moment in moments:
        process = subprocess.Popen(command(workshop, broken))
        wait_for_step(broken, int(moment), process)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command(workshop, broken), check=True)
    assert kills == 3, moments
    assert model_bytes(broken) == model_bytes(unbroken)
    steps = [json.loads(line) for line in (broken / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "split" not in line] == list(range(1, STEPS + 1))


def test_without_the_background_loader_the_bytes_are_the_same_and_sigterm_saves(workshop: Path, tmp_path: Path) -> None:
    plain, stopped = tmp_path / "plain", tmp_path / "stopped"
    subprocess.run(command(workshop, plain), check=True)
    process = subprocess.Popen(command(workshop, stopped, "--set", "train.prefetch=0"), stderr=subprocess.PIPE)
    wait_for_step(stopped, 10, process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert b"--resume" in error
    assert list((stopped / "checkpoints").iterdir())
    subprocess.run(command(workshop, stopped, "--set", "train.prefetch=0"), check=True)
    assert model_bytes(stopped) == model_bytes(plain)
