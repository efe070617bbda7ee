"""How long a run takes to make its first step after it is resumed, deep in a large text.

    python benchmarks/resume.py [--work runs/resume] [--tokens 2000000000] [--step 1000000] [--repeat 3]

Makes a data set of so many made-up tokens on disk (3 bytes a token, kept in the work folder), begins a run of a tiny
decoder, marks its checkpoint as that of a late step, and goes on with it in new processes: from the start of the
process to the first line of the log, for the late step and, in turn, for step 1 of the same run. Reading rows, orders
and schedules are those of the late step; weights are not, which costs no time.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "resume.json"
TEXT = "the quick brown fox jumps over the lazy dog and runs away from it again and again . "
MEAN_LENGTH = 700


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path("runs/resume"))
    parser.add_argument("--tokens", type=int, default=2_000_000_000)
    parser.add_argument("--step", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.work / f"data-{arguments.tokens}"
    if not data.is_dir():
        make_data(data, arguments.tokens)
    seconds: dict[int, list[float]] = {1: [], arguments.step: []}
    for step in seconds:
        begin(data, arguments.work / f"run-{step}", step, arguments.step + 1000)
    for _ in range(arguments.repeat):
        for step in seconds:
            seconds[step].append(first_step(data, arguments.work / f"run-{step}", step, arguments.step + 1000))
    rows = [
        {
            "work": f"resume at step {step:,} of {arguments.tokens:,} tokens",
            "unit": "seconds from the start of the process to the first step",
            "ours": round(median(found), 2),
            "spread": [round(min(found), 2), round(max(found), 2)],
            "settings": {"preset": "decoder-tiny", "rows": 16, "row_length": 128},
        }
        for step, found in seconds.items()
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    result = {"machine": platform.processor() or platform.machine(), "versions": versions(), "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['work']}: {row['ours']} s ({row['spread'][0]} to {row['spread'][1]})")


def make_data(folder: Path, num_tokens: int) -> None:
    """Write made-up documents until there are so many tokens, and a small validation split."""
    from trivium.core.files import new_folder
    from trivium.data.manifest import Ledger
    from trivium.data.shards import DataWriter
    from trivium.data.tokenizer import Tokenizer

    tokenizer = Tokenizer.train([TEXT], kind="bpe", vocabulary_size=400)
    rng = np.random.default_rng(0)
    pool = rng.integers(200, tokenizer.vocabulary_size, 1 << 20).astype(np.uint16)
    bits = np.ones(1 << 20, dtype=np.uint8)
    with new_folder(folder) as partial, DataWriter(partial, tokenizer) as writer:
        written = documents = 0
        while written < num_tokens:
            length = int(rng.integers(2, 2 * MEAN_LENGTH))
            start = int(rng.integers(0, len(pool) - length))
            writer.add("train", pool[start : start + length], bits[:length], np.array([length]), 4 * length)
            written, documents = written + length + 2, documents + 1
        for _ in range(200):
            writer.add("validation", pool[:300], bits[:300], np.array([300]), 1200)
        ledger = Ledger(
            documents_in=documents, bytes_in=written, kept_documents=documents, kept_bytes=written, dropped={}
        )
        writer.finish(ledger=ledger, lossless=True, boundary="blank")


def command(data: Path, run: Path, steps: int) -> list[str]:
    """Return a run that logs and saves every step."""
    every = [f"train.{what}={value}" for what, value in (("log_steps", 1), ("checkpoint_steps", 1_000_000_000))]
    settings = [part for setting in (*every, "train.validate_steps=1000000000") for part in ("--set", setting)]
    verb = ["pretrain", "decoder-tiny", "--data", str(data), "--out", str(run), "--steps", str(steps), "--quiet"]
    return [sys.executable, "-m", "trivium", *verb, *settings]


def begin(data: Path, run: Path, step: int, steps: int) -> None:
    """Make a run that was stopped after its first step, and call that step `step`."""
    from trivium.core.files import write_checksums

    shutil.rmtree(run, ignore_errors=True)
    process = subprocess.Popen(command(data, run, steps))
    wait_for_line(run / "log.jsonl", process)
    process.terminate()
    process.wait()
    (saved,) = (run / "checkpoints").iterdir()
    state = json.loads((saved / "state.json").read_text(encoding="utf-8"))
    (saved / "state.json").write_text(json.dumps({**state, "step": step}), encoding="utf-8")
    write_checksums(saved)
    saved.rename(saved.with_name(f"step-{step:06d}"))


def first_step(data: Path, run: Path, step: int, steps: int) -> float:
    """Return the seconds to the first step of the run, resumed; the run stays as it was."""
    (run / "log.jsonl").unlink(missing_ok=True)
    begun = perf_counter()
    process = subprocess.Popen([*command(data, run, steps), "--resume"])
    line = wait_for_line(run / "log.jsonl", process)
    seconds = perf_counter() - begun
    process.kill()
    process.wait()
    if line["step"] != step + 1:
        raise SystemExit(f"expected step {step + 1}, found {line['step']}")
    return seconds


def wait_for_line(log: Path, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Return the first line of a log when it is there."""
    while process.poll() is None:
        if log.is_file() and b"\n" in (content := log.read_bytes()):
            line: dict[str, Any] = json.loads(content.splitlines()[0])
            return line
        sleep(0.005)
    raise SystemExit(f"the run ended with {process.returncode}")


def versions() -> dict[str, str]:
    """Return the versions that matter."""
    import torch

    import trivium

    return {"python": platform.python_version(), "torch": torch.__version__, "trivium": trivium.__version__}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
