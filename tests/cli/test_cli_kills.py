"""Twenty-five kills at random moments, of one process and of two that train together: the bits of the unbroken run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_cli_resume import model_bytes, wait_for_step

from stopping import without_times
from trivium.train.log import read_log

STEPS, KILLS = 300, 25
SMALL = ("data.row_length=32", "train.rows=4", "train.validate_rows=8", "train.checkpoint_steps=5", "seed=7")


def command(workshop: Path, out: Path, ranks: int) -> list[str]:
    """Return a run with dropout (bert-tiny has it), begun or gone on with."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"] if ranks > 1 else []
    run = ("pretrain", "bert-tiny", "--data", workshop / "data", "--out", out, "--steps", STEPS, "--quiet", "--resume")
    settings = [part for setting in SMALL for part in ("--set", setting)]
    return [sys.executable, "-m", *launcher, "trivium", *map(str, run), *settings]


def begin(workshop: Path, out: Path, ranks: int) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (out.parent / "errors.txt").open("ab") as errors:
        return subprocess.Popen(command(workshop, out, ranks), env=environment, stderr=errors, start_new_session=True)


def wait_for_a_checkpoint_being_written(out: Path, process: "subprocess.Popen[bytes]") -> bool:
    """Return True as soon as a checkpoint is begun, False when the run has ended."""
    while process.poll() is None:
        if any((out / "checkpoints").glob(".step-*.partial")):
            return True
        time.sleep(0.0002)
    return False


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_twenty_five_times_it_ends_with_the_same_bytes(ranks: int, workshop: Path, tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert begin(workshop, unbroken, ranks).wait() == 0
    rng = np.random.default_rng()
    moments = np.sort(rng.integers(0, STEPS - 10, KILLS))
    kills = while_writing = 0
    for number, moment in enumerate(moments):
        process = begin(workshop, broken, ranks)
        wait_for_step(broken, int(moment), process)
        if number % 2:
            while_writing += wait_for_a_checkpoint_being_written(broken, process)
        else:
            time.sleep(float(rng.random()) * 0.2)
        kills += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if (broken / "model").exists():  # a kill came too late
        kills -= 1
    assert begin(workshop, broken, ranks).wait() == 0
    assert kills == KILLS and while_writing >= KILLS // 3, (moments, kills, while_writing)
    assert model_bytes(broken) == model_bytes(unbroken)
    logs = [read_log(run / "log.jsonl") for run in (broken, unbroken)]
    assert [line["step"] for line in logs[0] if "split" not in line] == list(range(1, STEPS + 1))
    assert [without_times(line) for line in logs[0]] == [without_times(line) for line in logs[1]]
    assert not list((broken / "checkpoints").glob(".*"))
