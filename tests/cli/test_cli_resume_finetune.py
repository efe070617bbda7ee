"""A fine-tuning run that is killed and goes on is the run that was never killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import Command

EPOCHS = 2
# Beside other work a second thread costs networks as small as these many times what it saves.
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}


def command(workshop: Path, out: Path, *more: str) -> list[str]:
    """Return a run with dropout, an average and many steps, from a preset whose tokenizer is made of the texts."""
    files = [part for split in ("train", "valid", "test") for part in (f"--{split}", workshop / f"{split}.jsonl")]
    ask = ["finetune", "encoder-tiny", "--task", "label", *files, "--out", out, "--epochs", EPOCHS, "--resume"]
    small = ("--set", "rows=1", "--set", "row_length=32", "--set", "averaging.kind=ema", "--set", "checkpoint_steps=5")
    return [sys.executable, "-m", "trivium", *map(str, ask), *small, "--quiet", "--json", *more]


def logged(run: Path) -> list[dict[str, object]]:
    """Return the whole lines of the log, but for how long they took."""
    if not (run / "log.jsonl").exists():
        return []
    whole = [line for line in (run / "log.jsonl").read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in whole]


def step_of(run: Path) -> int:
    """Return the step that the log is at."""
    return max((int(str(line["step"])) for line in logged(run)), default=0)


def stopped(arguments: list[str], run: Path, step: int, number: int) -> tuple[int, bytes]:
    """Send a signal to a run when its log is at a step; return its exit code and what it said."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ALONE)
    while process.poll() is None and step_of(run) < step:
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate()
    return process.returncode, said


def ended(run: Path) -> dict[str, object]:
    """Return what a run leaves, but for how long it took."""
    results = json.loads((run / "results.json").read_text())
    return {
        "model": {file.name: file.read_bytes() for file in (run / "model").iterdir()},
        "results": {key: value for key, value in results.items() if key != "seconds"},
        "log": logged(run),
    }


@pytest.fixture(scope="module")
def unbroken(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "unbroken"
    subprocess.run(command(workshop, out), check=True, stdout=subprocess.PIPE, env=ALONE)
    return out


def test_killed_and_stopped_it_ends_with_the_same_bytes(workshop: Path, unbroken: Path, tmp_path: Path) -> None:
    out, steps = tmp_path / "broken", step_of(unbroken)
    rng = np.random.default_rng()
    first, second, third = np.sort(rng.choice(np.arange(1, steps - 15), 3, replace=False)).tolist()
    assert stopped(command(workshop, out), out, first, signal.SIGKILL)[0] == -signal.SIGKILL, first
    number = int(rng.choice([signal.SIGTERM, signal.SIGINT]))
    code, said = stopped(command(workshop, out), out, second, number)
    assert code == 128 + number, (second, said)
    assert said.startswith(b"trivium: stopped by a signal and saved at step ") and said.count(b"\n") == 1
    saved = int(said.split(b"saved at step ")[1].split(b";")[0])
    assert (out / "checkpoints" / f"step-{saved:06d}").is_dir() and step_of(out) == saved
    assert not (out / "model").exists()
    assert stopped(command(workshop, out), out, max(third, saved + 1), signal.SIGKILL)[0] == -signal.SIGKILL, third
    subprocess.run(command(workshop, out), check=True, stdout=subprocess.PIPE, env=ALONE)
    assert ended(out) == ended(unbroken)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(workshop: Path, unbroken: Path, tmp_path: Path) -> None:
    out, rng, kills = tmp_path / "broken", np.random.default_rng(), 0
    for step in np.sort(rng.integers(0, step_of(unbroken), 12)).tolist():
        process = subprocess.Popen(command(workshop, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ALONE)
        while process.poll() is None and step_of(out) < step:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0.0, 0.1)))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    subprocess.run(command(workshop, out), check=True, stdout=subprocess.PIPE, env=ALONE)
    assert kills >= 6
    assert ended(out) == ended(unbroken)


def test_resume_refuses_another_setting_file_or_model_by_name(
    trivium: Command, workshop: Path, unbroken: Path, tmp_path: Path
) -> None:
    ask = command(workshop, unbroken)[3:]
    before = ended(unbroken)

    def refused(changed: list[str], *words: str) -> None:
        code, out, said = trivium(*changed)
        assert code == 2 and not out and said.count("\n") == 1, said
        assert said.startswith("trivium: --resume") and all(word in said for word in words), said

    refused([*ask, "--seed", "4"], "`seed` was 0 when the run began, now 4")
    moved, train = tmp_path / "train.jsonl", workshop / "train.jsonl"
    moved.write_text(train.read_text() + '{"tokens": ["a", "saw"], "labels": ["_", "tool"]}\n')
    refused([str(moved) if part == str(train) else part for part in ask], "training file", str(moved))
    refused([*ask, "--tokenizer", str(workshop / "data")], "tokenizer has changed")
    other = ["decoder-tiny" if part == "encoder-tiny" else part for part in ask]
    refused(other, "model to begin with", "decoder-tiny")
    code, _, said = trivium(*[part for part in ask if part != "--resume"])
    assert code == 2 and "already exists" in said
    assert ended(unbroken) == before
