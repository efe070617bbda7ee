"""What a training step costs against length, width, depth, vocabulary, threads and ranks; what a row of data costs.

    python benchmarks/scaling.py --texts FOLDER [--only AXIS]... [--rounds 5] [--again]

Each axis changes one thing of a masked encoder of 4 layers of 256 hidden units, 8,192 tokens and rows of 128 (2,048
tokens a step); its settings take turns in one process, but for threads and ranks, which need processes of their own.
`ours` is nanoseconds a token (of data: microseconds a row), `theirs` that of the axis's first setting, so that `ratio`
says how many times as fast a token is: 1 means that the cost grows as the tokens do. `ranks` are processes of one
thread each that share a step's rows. `data` finds and fills rows of made-up documents of 10^6 to 10^9 tokens; the plan
of an epoch, made once, is counted apart.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from pretrain import KEPT_LARGE, prepared
from turns import read_rows, table, write_rows

PACKAGES = ("numpy",)
TOKENS_A_STEP = 2048


class Setting(NamedTuple):
    """One point of an axis."""

    length: int = 128
    width: int = 256
    layers: int = 4
    vocabulary: int = 8192
    threads: int = 2
    ranks: int = 1


AXES: dict[str, list[Setting]] = {
    "length": [Setting(length=length) for length in (64, 128, 256, 512, 1024, 2048)],
    "width": [Setting(width=width) for width in (64, 128, 256, 512)],
    "depth": [Setting(layers=layers) for layers in (1, 2, 4, 8)],
    "vocabulary": [Setting(vocabulary=size) for size in (1024, 8192, 32768, 131072)],
    "threads": [Setting(threads=threads) for threads in (1, 2)],
    "ranks": [Setting(threads=1), Setting(threads=1, ranks=2)],
}
SIZES = (10**6, 10**7, 10**8, 10**9)


def main() -> None:
    """Measure what is not there yet, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmarks"), help="where the prepared text is kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[], choices=(*AXES, "data"), help="axis; all without it")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--alone", nargs=2, metavar=("THREADS", "RANKS"), help="time steps in this process and print")
    arguments = parser.parse_args()
    if arguments.alone:
        alone(Setting(threads=int(arguments.alone[0]), ranks=int(arguments.alone[1])), arguments)
        return
    prepared(arguments.texts, arguments.data)
    there = set() if arguments.again else {each["work"].partition("=")[0] for each in read_rows("scaling")}
    for axis in arguments.only or (*AXES, "data"):
        if axis in there:
            continue
        if axis == "data":
            rows = data_rows(arguments.rounds)
        elif axis in ("threads", "ranks"):
            rows = axis_rows(axis, [seconds_in_processes(setting, arguments) for setting in AXES[axis]])
        else:
            rows = axis_rows(axis, seconds_by_turns(AXES[axis], arguments))
        write_rows("scaling", rows, PACKAGES)
        print(table(rows), flush=True)


def axis_rows(axis: str, seconds: list[list[float]]) -> list[dict[str, Any]]:
    """Return the rows of an axis, given the seconds of some steps of each of its settings."""
    name = {"depth": "layers"}.get(axis, axis)
    costs = [median(each) / TOKENS_A_STEP * 1e9 for each in seconds]
    return [
        {
            "work": f"{axis}={getattr(setting, name):,}".replace(",", ""),
            "peer": f"ours, {axis} {getattr(AXES[axis][0], name)}",
            "unit": "ns/token",
            "ours": round(cost),
            "theirs": round(costs[0]),
            "ratio": round(costs[0] / cost, 3),
            "peak_share": None,
            "settings": {**setting._asdict(), "spread_seconds": [min(each), max(each)], "load": os.getloadavg()[0]},
        }
        for setting, cost, each in zip(AXES[axis], costs, seconds, strict=True)
    ]


def seconds_by_turns(settings: list[Setting], arguments: argparse.Namespace) -> list[list[float]]:
    """Return the seconds of a step of each setting, all of them in turns."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    steps = [steps_of(setting, arguments.data) for setting in settings]
    for each in steps:
        next(each), next(each)
    found: list[list[float]] = [[] for _ in settings]
    for _ in range(arguments.rounds):
        for number, each in enumerate(steps):
            for _ in range(2):
                begun = perf_counter()
                next(each)
                found[number].append(perf_counter() - begun)
    return found


def with_positions(tree: Any, length: int) -> Any:
    """Return a configuration with room for documents of so many tokens wherever it names one."""
    if isinstance(tree, dict):
        return {key: length if key == "max_length" else with_positions(value, length) for key, value in tree.items()}
    return [with_positions(value, length) for value in tree] if isinstance(tree, list) else tree


def steps_of(setting: Setting, folder: Path) -> Iterator[Any]:
    """Return the loop over the steps of a setting; its ids are those of the prepared text, whatever the vocabulary."""
    from trivium.core.config import parse
    from trivium.core.progress import Silent
    from trivium.core.random import Key
    from trivium.data.loader import ahead
    from trivium.data.shards import PreparedData
    from trivium.model.config import ModelConfig, with_vocabulary
    from trivium.model.preset_families import bert
    from trivium.objectives.masked import MaskedConfig
    from trivium.train.begin import begin
    from trivium.train.config import DataConfig, RunConfig, TrainConfig
    from trivium.train.distributed import Ranks, joined
    from trivium.train.loop import train_steps
    from trivium.train.material import make_material
    from trivium.train.settle import settle

    data = PreparedData.open(folder / "data")
    size = setting.vocabulary
    model = bert(setting.layers, setting.width, num_heads=max(1, setting.width // 64), dropout=0.0)
    tree = with_positions(model.model_dump(mode="json", exclude_none=True), max(512, setting.length))
    model = with_vocabulary(parse(ModelConfig, tree, "model"), size)
    config = RunConfig(
        model=model,
        objective=MaskedConfig(),
        data=DataConfig(row_length=setting.length),
        train=TrainConfig(rows=TOKENS_A_STEP // setting.length, steps=1_000_000),
    )
    material = make_material(config, data, None)
    config = settle(config, material, None, 0.0, Silent())

    def steps(ranks: Ranks) -> Iterator[Any]:
        begun = begin(config, material, Path("no such run"), Silent(), ranks)
        many, batch = config.train.steps or 0, material.batches(config.train.steps or 0)

        def fitting(step: int) -> Any:
            made = batch(step)
            if size >= data.tokenizer.vocabulary_size:
                return made
            # Of a smaller vocabulary than the text's, ids are folded into it.
            return replace(made, tokens_BL=made.tokens_BL % size, labels_BN=made.labels_BN % size)

        yield from train_steps(
            begun.weights,
            material.learned,
            begun.optimiser,
            ahead(fitting, 0, many),
            start=0,
            lr=lambda step: 1e-4,
            accumulation=1,
            max_gradient_norm=1.0,
            key=Key(0),
            ranks=ranks,
        )

    def in_ranks() -> Iterator[Any]:
        with joined() as ranks:
            yield from steps(ranks)

    return in_ranks()


def seconds_in_processes(setting: Setting, arguments: argparse.Namespace) -> list[float]:
    """Return the seconds of some steps, made by as many processes as the setting has ranks."""
    command = [sys.executable]
    if setting.ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={setting.ranks}"]
    options = ["--texts", str(arguments.texts), "--data", str(arguments.data), "--rounds", str(arguments.rounds)]
    command += [__file__, *options, "--alone", str(setting.threads), str(setting.ranks)]
    environment = os.environ | {"OMP_NUM_THREADS": str(setting.threads)} | KEPT_LARGE
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(value) for value in found.stdout.split()]


def alone(setting: Setting, arguments: argparse.Namespace) -> None:
    """Time steps in this process; the first rank prints them."""
    import torch

    torch.set_num_threads(setting.threads)
    steps = steps_of(setting, arguments.data)
    next(steps), next(steps)
    times = []
    for _ in range(2 * arguments.rounds):
        begun = perf_counter()
        next(steps)
        times.append(perf_counter() - begun)
    if os.environ.get("RANK", "0") == "0":
        print(*times)
    sys.stdout.flush()
    os._exit(0)


def data_rows(rounds: int) -> list[dict[str, Any]]:
    """Return what a row of data costs, by how much text there is."""
    found = [data_costs(size, rounds) for size in SIZES]
    return [
        {
            "work": f"data={size:.0e}".replace("e+0", "e"),
            "peer": f"ours, {SIZES[0]:.0e} tokens".replace("e+0", "e"),
            "unit": "us/row",
            "ours": round(1e6 * cost, 1),
            "theirs": round(1e6 * found[0][0], 1),
            "ratio": round(found[0][0] / cost, 3),
            "peak_share": None,
            "settings": {"tokens": size, "plan_seconds": plan, "plan_ns_a_token": 1e9 * plan / size, "row_length": 128},
        }
        for size, (cost, plan) in zip(SIZES, found, strict=True)
    ]


def data_costs(size: int, rounds: int) -> tuple[float, float]:
    """Return the seconds of a row, the median of some hundred anywhere in the epoch, and those of the epoch's plan."""
    import numpy as np

    from trivium.core.random import Key
    from trivium.data.packing import RowReader

    reader = RowReader(MadeUp(size), row_length=128, key=Key(0), pad=0)  # type: ignore[arg-type]
    begun = perf_counter()
    reader.rows(0, 1)
    plan = perf_counter() - begun
    rng, times = np.random.default_rng(0), []
    for _ in range(100 * rounds):
        first = int(rng.integers(0, reader.rows_per_epoch - 16))
        begun = perf_counter()
        reader.rows(first, first + 16)
        times.append((perf_counter() - begun) / 16)
    return median(times), plan


class MadeUp:
    """Documents of 100 to 900 tokens, whose ids are made as they are asked for: what `RowReader` asks of a split.

    Args:
        size: tokens of all documents together, nearly.
    """

    def __init__(self, size: int) -> None:
        import numpy as np

        self.name = "train"
        self.num_documents = size // 500
        self.lengths_S = np.random.default_rng(0).integers(100, 901, self.num_documents).astype(np.int64)
        self.num_tokens = int(self.lengths_S.sum())
        self._ids = (np.arange(1000) % 8000).astype(np.uint16)
        self._bits = np.ones(1000, dtype=np.uint8)

    def read(self, document: int, start: int, stop: int) -> tuple[Any, Any]:
        """Return tokens `start` to `stop` of a document and their bits."""
        return self._ids[start:stop], self._bits[start:stop]


if __name__ == "__main__":
    main()
