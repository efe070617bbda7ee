"""Memory of pretraining beside transformers' Trainer, and whether it stays flat over thousands of steps.

    python benchmarks/memory.py --texts FOLDER [--rounds 3] [--steps 5000] [--only WORK]... [--again]

The works of pretrain.py: the most that a process had in memory in some steps, less what it had before the first, when
its libraries, network and text were loaded. `flat` is a run of a tiny encoder in a process of its own, whose own
memory is read every 500 steps: `ours` is what it has at the end, `theirs` what it had after a tenth of the steps, and
`ratio` the one over the other.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from pretrain import SHIPPED, TUNED, WORKS, prepared
from turns import Side, by_turns, read_rows, table, write_rows

PACKAGES = ("transformers", "numpy")
PEAKS = ("mlm-4x256-128", "mlm-4x256-512", "clm-6x384-32x256", "mlm-12x768-128")
FLAT, FLAT_EVERY = "flat", 500


def main() -> None:
    """Measure what is not there yet, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmarks"), help="where the prepared text is kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5000, help="of the run that is to stay flat")
    parser.add_argument("--only", action="append", default=[], choices=(*PEAKS, FLAT))
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--flat", type=int, metavar="STEPS", help="be the run that is to stay flat")
    arguments = parser.parse_args()
    if arguments.flat:
        flat(arguments.flat, arguments.data)
        return
    prepared(arguments.texts, arguments.data)
    there = set() if arguments.again else {each["work"] for each in read_rows("memory")}
    for name in arguments.only or (*PEAKS, FLAT):
        if name in there:
            continue
        rows = [flat_row(arguments)] if name == FLAT else peak_rows(name, arguments)
        write_rows("memory", rows, PACKAGES)
        print(table(rows), flush=True)


def peak_rows(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the peaks of one work, ours and the Trainer's, without dropout and with it."""
    script = str(Path(__file__).with_name("pretrain.py"))
    options = ["--texts", str(arguments.texts), "--data", str(arguments.data)]
    rows = []
    for peer in (SHIPPED, TUNED):
        sides = [
            Side(kind, [sys.executable, script, *options, "--side", kind, name, str(peer.dropout), set_up, "1"], env)
            for kind, set_up, env in (("ours", "tuned", {}), ("trainer", peer.set_up, peer.environment))
        ]
        turns = by_turns(sides, rounds=arguments.rounds)
        ours, theirs = ((each[-1].peak_bytes - each[-1].begun_bytes) / 1e6 for each in turns.values())
        rows.append(
            {
                "work": name,
                "peer": peer.name,
                "unit": "MB",
                "ours": round(ours),
                "theirs": round(theirs),
                "ratio": round(theirs / ours, 3),
                "peak_share": None,
                "settings": {**WORKS[name]._asdict(), "dropout": peer.dropout, "steps": arguments.rounds + 1},
            }
        )
    return rows


def flat_row(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a long run has in memory as it goes on."""
    options = ["--texts", str(arguments.texts), "--data", str(arguments.data), "--flat", str(arguments.steps)]
    found = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
    megabytes = [float(value) for value in found.stdout.split()]
    early, late = megabytes[max(0, len(megabytes) // 10 - 1)], megabytes[-1]
    return {
        "work": FLAT,
        "peer": f"ours after {arguments.steps // 10} steps",
        "unit": "MB",
        "ours": round(late, 1),
        "theirs": round(early, 1),
        "ratio": round(late / early, 4),
        "peak_share": None,
        "settings": {"steps": arguments.steps, "every": FLAT_EVERY, "megabytes": megabytes},
    }


def flat(steps: int, folder: Path) -> None:
    """Pretrain a tiny encoder and print the megabytes in memory every so many steps."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    import shutil

    from trivium.core.progress import Silent
    from trivium.data.shards import PreparedData
    from trivium.train.config import load_recipe
    from trivium.train.run import pretrain

    class Watching(Silent):
        """Reads the memory as the run goes on."""

        def advance(self, done: float, note: str = "") -> None:
            if done % FLAT_EVERY == 0:
                # Not the pages of the mapped text, which the system takes back as it likes.
                lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
                own = next(line for line in lines if line.startswith("RssAnon"))
                print(int(own.split()[1]) * 1024 / 1e6, flush=True)

    # Narrow, so that thousands of steps take minutes; with checkpoints and validation, as a run has them.
    asked = [f"train.steps={steps}", "train.rows=4", "data.row_length=64", f"train.checkpoint_steps={steps // 20}"]
    config = load_recipe("encoder-tiny", [*asked, f"train.validate_steps={steps // 20}", "train.validate_rows=16"])
    out = folder / "flat"
    shutil.rmtree(out, ignore_errors=True)
    pretrain(config, PreparedData.open(folder / "data"), out, progress=Watching())
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
