"""What checkpoints cost a run: written in the background, and written while the run waits.

    python benchmarks/checkpoints.py [--preset encoder-mini]... [--every 100] [--checkpoints 6]

One run a preset on made-up text, with a checkpoint every so many steps, in turn in the background and while the run
waits. A checkpoint costs the time that the run stands still for it, and what the steps after it take longer than the
median step of the same stretch: measured inside one run, since between runs a machine drifts by more than this.
"""

import argparse
import json
import platform
import shutil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

RESULTS = Path(__file__).parent / "results" / "checkpoints.json"
AFTER = 10  # steps that may be slower because a checkpoint is being written


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--preset", action="append", default=[])
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--checkpoints", type=int, default=6, help="of each way")
    parser.add_argument("--work", type=Path, default=Path("runs/checkpoints"))
    arguments = parser.parse_args()
    from trivium.cli.environment import set_up_process

    set_up_process()
    rows = [
        row
        for preset in arguments.preset or ["encoder-tiny", "encoder-mini"]
        for row in measure(preset, arguments.every, arguments.checkpoints, arguments.work / preset)
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    result = {"machine": platform.processor() or platform.machine(), "versions": versions(), "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(
            f"{row['work']}: {row['share']:.2%} of the time ({row['milliseconds']:.0f} ms a checkpoint of "
            f"{row['megabytes']:.0f} MB, {row['settings']['every']} steps of {row['step_milliseconds']:.0f} ms)"
        )


def measure(preset: str, every: int, checkpoints: int, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each way of writing."""
    from trivium.train.checkpoint import CheckpointWriter, checkpoint_path, save_checkpoint
    from trivium.train.state import TrainState

    shutil.rmtree(folder, ignore_errors=True)
    weights, optimiser, steps = run(preset)
    costs: dict[str, list[float]] = {"in the background": [], "while the run waits": []}
    usual: list[float] = []
    with CheckpointWriter(folder) as writer:
        for number in range(2 * checkpoints):
            way = list(costs)[number % 2]
            times = []
            for _ in range(every):
                begun = perf_counter()
                report = next(steps)
                times.append(perf_counter() - begun)
            usual.append(median(times))
            begun = perf_counter()
            state = TrainState(step=report.step)
            if way == "in the background":
                writer.save(weights.master, optimiser, state)
            else:
                save_checkpoint(folder, weights.master, optimiser, state)
            cost = perf_counter() - begun
            for _ in range(AFTER):
                begun = perf_counter()
                next(steps)
                cost += perf_counter() - begun - usual[-1]
            costs[way].append(cost)
            writer.wait()
    newest = max(folder.glob("checkpoints/step-*"), key=lambda path: path.name)
    size = sum(file.stat().st_size for file in checkpoint_path(folder, int(newest.name[5:])).iterdir())
    return [
        {
            "work": f"{preset}, {way}",
            "unit": "share of a run's time",
            "share": median(found) / (every * median(usual)),
            "milliseconds": 1000 * median(found),
            "spread": [1000 * min(found), 1000 * max(found)],
            "step_milliseconds": 1000 * median(usual),
            "megabytes": size / 1e6,
            "settings": {"every": every, "checkpoints": checkpoints},
        }
        for way, found in costs.items()
    ]


def run(preset: str) -> tuple[Any, Any, Any]:
    """Return weights, optimiser and the steps of a run on made-up text."""
    from mup import SPECIAL, made_up

    from trivium.core.random import Key
    from trivium.data.loader import ahead, step_batches
    from trivium.data.packing import RowReader
    from trivium.model.config import with_vocabulary
    from trivium.model.initialise import initialise
    from trivium.objectives.build import Vocabulary, build_objective
    from trivium.train.config import load_recipe
    from trivium.train.loop import train_steps
    from trivium.train.measure import settled_precision
    from trivium.train.optimisers import build_optimiser
    from trivium.train.precision import TrainedWeights

    config = load_recipe(preset)
    model = with_vocabulary(config.model, 8192)
    objective = build_objective(config.objective, Vocabulary(SPECIAL, model.vocabulary_size))
    network = objective.network(model)
    initialise(network, model, Key(0))
    optimiser = build_optimiser(config.optimiser, network)
    weights = TrainedWeights(network, settled_precision("auto"))
    reader = RowReader(made_up(2000), row_length=128, key=Key(0), pad=SPECIAL.pad)  # type: ignore[arg-type]
    many = 1_000_000
    steps = train_steps(
        weights,
        objective,
        optimiser,
        ahead(step_batches(reader, objective.make, rows_per_step=config.train.rows, key=Key(0)), 0, many),
        start=0,
        lr=lambda step: 1e-3,
        accumulation=1,
        max_gradient_norm=1.0,
        key=Key(0),
    )
    for _ in range(5):
        next(steps)
    return weights, optimiser, steps


def versions() -> dict[str, str]:
    """Return the versions that matter."""
    import torch

    import trivium

    return {"python": platform.python_version(), "torch": torch.__version__, "trivium": trivium.__version__}


if __name__ == "__main__":
    main()
