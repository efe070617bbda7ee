"""Tasks on real data: pretrained here, the same network from random weights, and the best simple baseline.

    python benchmarks/tasks.py --texts FOLDER [--work runs/tasks] [--only SET]... [--road ROAD]... [--seeds 3]
    python benchmarks/tasks.py --table [--picture docs/pictures/tasks.svg]

FOLDER holds the packed sets and the two texts for pretraining. One model a road is pretrained first, on one core for
less than 30 minutes. Every cell then fine-tunes one network on at most 4,000 examples of one set (2,000 where it is
asked or written) and is scored once on its test file (at most 8,000 examples, 1,200 questions, 200 texts that are
written), by the model of the best epoch of a validation file that is of neither, for 6 epochs at most, 4 of texts that
are written, 2 of questions. It is written to benchmarks/results/tasks.json as soon as it is there: when it is stopped,
the same command goes on.
"""

import argparse
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from time import process_time
from typing import Any

from cells import add_cell, read_cells, run_cells
from task_sets import ON_ROAD, ROADS, SETS, Road, Set, examples_of
from turns import machine, versions

RESULTS = Path(__file__).parent / "results" / "tasks.json"
STARTS = ("pretrained", "random")
SURPRISE = "bits_a_byte"


def main() -> None:
    """Run the cells that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--texts", type=Path, help="folder of the packed sets")
    parser.add_argument("--work", type=Path, default=Path("runs/tasks"), help="texts, pretrained models and runs")
    parser.add_argument("--only", action="append", default=[], help="sets of this name; all without it")
    parser.add_argument("--road", action="append", default=[], choices=list(ROADS), help="roads; all without it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="cells at once, each on one core")
    parser.add_argument("--cell", nargs=4, metavar=("ROAD", "SET", "START", "SEED"), help="run this one, print its row")
    parser.add_argument("--pretrain", choices=list(ROADS), help="pretrain this one, print what it cost")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--picture", type=Path, help="also draw what is there into this file")
    arguments = parser.parse_args()
    if arguments.pretrain:
        print(json.dumps(pretrain_road(ROADS[arguments.pretrain], arguments.work)))
        return
    if arguments.cell:
        road, name, start, seed = arguments.cell
        print(json.dumps(run(ROADS[road], SETS[name], start, int(seed), arguments.work)))
        return
    if not arguments.table:
        if arguments.texts is None:
            parser.error("--texts: expected the folder of the packed sets")
        run_all(arguments)
    print(table(read_cells(RESULTS)))
    if arguments.picture:
        arguments.picture.write_text(picture(read_cells(RESULTS)), encoding="utf-8")


def run_all(arguments: argparse.Namespace) -> None:
    """Pretrain what is not, then run the cells that are not there, seed by seed."""
    roads = [ROADS[name] for name in arguments.road or ROADS]
    asked = [
        (road, SETS[name], start, seed)
        for seed in range(arguments.seeds)
        for road in roads
        for name in ON_ROAD[road.name]
        for start in STARTS
        if not arguments.only or name in arguments.only
    ]
    there = {(row["road"], row["work"], row["start"], row["seed"]) for row in read_cells(RESULTS)}
    missing = [cell for cell in asked if (cell[0].name, cell[1].name, *cell[2:]) not in there]
    needed = list(dict.fromkeys(road for road, *_ in missing))
    for road in needed:
        unpack_text(arguments.texts, arguments.work, road)
    for archive in {each.archive for _, each, *_ in missing}:
        unpack_set(arguments.texts, arguments.work, archive)
    given = [sys.executable, __file__, "--work", str(arguments.work)]
    unpretrained = [road.name for road in needed if not (arguments.work / slug(road.name) / "results.json").is_file()]
    for _ in run_cells({name: [*given, "--pretrain", name] for name in unpretrained}, jobs=arguments.jobs):
        pass
    commands = {
        f"{road.name}: {each.name}, {start}, seed {seed}": [*given, "--cell", road.name, each.name, start, str(seed)]
        for road, each, start, seed in missing
    }
    for row in run_cells(commands, jobs=arguments.jobs):
        add_cell(RESULTS, row, order=in_order)


def unpack_text(texts: Path, work: Path, road: Road) -> None:
    """Prepare the text that a road is pretrained on."""
    data = work / f"data-{road.text}"
    if data.is_dir():
        return
    work.mkdir(parents=True, exist_ok=True)
    plain = []
    for split in ("train", "dev"):
        plain.append(work / f"{road.text}.{split}.txt")
        with lzma.open(texts / f"{road.text}.{split}.txt.xz") as packed, plain[-1].open("wb") as file:
            shutil.copyfileobj(packed, file)
    command = [sys.executable, "-m", "trivium", "prepare", str(plain[0]), "--out", str(data), "--quiet"]
    subprocess.run(command, check=True)


def unpack_set(texts: Path, work: Path, archive: str) -> None:
    """Unpack a labelled set."""
    if not (work / archive).is_dir():
        with tarfile.open(texts / f"{archive}.tar.xz") as packed:
            packed.extractall(work / archive, filter="data")


def slug(name: str) -> str:
    """Return a name for a folder."""
    return name.replace(", ", "-").replace(" ", "-").lower()


def pretrain_road(road: Road, work: Path) -> dict[str, Any]:
    """Pretrain a road's model, what it begins with first, or go on where that was stopped; return what it cost."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.core.progress import Silent
    from trivium.data.shards import PreparedData
    from trivium.model.folder import load_model
    from trivium.train.config import load_recipe
    from trivium.train.run import pretrain

    first = None if road.start is None else pretrain_road(road.start, work)
    begun, out = process_time(), work / slug(road.name)
    named = [] if road.start is None else [f'start_from="{work / slug(road.start.name)}"']
    config = load_recipe(road.recipe, [f"train.steps={road.steps}", *named, *road.settings])
    data = PreparedData.open(work / f"data-{road.text}")
    start = None if road.start is None else partial(load_model, work / slug(road.start.name) / "model")
    results = pretrain(config, data, out, progress=Silent(), resume=out.is_dir(), start=start)
    return {
        "road": road.name,
        "cpu_minutes": round((process_time() - begun) / 60, 1),
        "tokens": results["tokens"],
        "held_out": results["valid"],
        "first": first,
    }


def run(road: Road, each: Set, start: str, seed: int, work: Path) -> dict[str, Any]:
    """Fine-tune one network on one set, score it, and return its row."""
    from trivium.cli.environment import set_up_process

    set_up_process()
    from trivium.tasks.config import finetune_config
    from trivium.tasks.finetune import finetune
    from trivium.tasks.start import open_run, random_start

    pretrained = open_run(work / slug(road.name))
    # The very same architecture and tokenizer, its weights drawn for this seed.
    begin = pretrained if start == "pretrained" else random_start(pretrained.config, pretrained.tokenizer)
    settings = [f"seed={seed}", "epochs=6", "patience=2", *each.settings]
    out = work / "tuned" / slug(f"{road.name}-{each.name}-{start}-{seed}")
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    train, valid, test = examples_of(each, work)
    config = finetune_config(each.task, settings)
    results = finetune(begin, config, train=train, valid=valid, test=test, out=out)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "road": road.name,
        "work": each.name,
        "start": start,
        "seed": seed,
        "metric": each.metric,
        "score": results["test"][each.metric],
        "test": results["test"],
        "valid": results["valid"],
        "baselines": {name: row.get(each.metric) for name, row in results["baselines"].items()},
        "examples": [len(train), len(valid), len(test)],
        "coverage": results["coverage"],
        "seconds": results["seconds"],
        "tokens_a_second": round(log[-1]["tokens"] / max(log[-1]["seconds"], 1e-9)),
        "parameters": results["parameters"],
        "settings": settings,
        "machine": machine(),
        "versions": versions([]),
    }


def in_order(row: Mapping[str, Any]) -> tuple[int, int, str, int]:
    """Return what rows are sorted by: roads and sets as they are listed."""
    return list(ROADS).index(row["road"]), list(SETS).index(row["work"]), row["start"], row["seed"]


def cells_of(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, list[dict[str, Any]]]]:
    """Return the rows of each set on each road, by what they began with."""
    found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        found.setdefault((row["road"], row["work"]), {start: [] for start in STARTS})[row["start"]].append(row)
    return found


def best_baseline(row: dict[str, Any]) -> tuple[str, float]:
    """Return the best of the simple baselines of a cell, which are the same for all seeds."""
    known = {name: value for name, value in row["baselines"].items() if value is not None}
    return max(known.items(), key=lambda item: item[1]) if known else ("none", 0.0)


def standard_errors(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return by how many standard errors one mean is above another; None where there are not two of each."""
    if min(len(first), len(second)) < 2:
        return None
    error = (stdev(first) ** 2 / len(first) + stdev(second) ** 2 / len(second)) ** 0.5
    return (mean(first) - mean(second)) / max(error, 1e-9)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return all cells as Markdown: means of the seeds and their deviations, times a hundred."""
    lines = [
        "| road | set | score | pretrained | random weights | standard errors between | best baseline | seconds |",
        "|---|---|---|---:|---:|---:|---|---:|",
    ]
    for (road, work), starts in cells_of(rows).items():
        scores = {start: [100 * row["score"] for row in own] for start, own in starts.items()}
        above = standard_errors(scores["pretrained"], scores["random"])
        one = next(row for own in starts.values() for row in own)
        name, value = best_baseline(one)
        means = [mean(values) for values in scores.values() if values]
        best = f"**{100 * value:.1f}**" if means and 100 * value > max(means) else f"{100 * value:.1f}"
        seconds = mean(row["seconds"] for own in starts.values() for row in own)
        lines.append(
            f"| {road} | {work} | {one['metric'].replace('_', ' ')} | {spread(scores['pretrained'])} | "
            f"{spread(scores['random'])} | {'' if above is None else f'{above:.1f}'} | {best} {name} | {seconds:.0f} |"
        )
        if SURPRISE in one["test"]:  # of texts that are written, how likely the right ones were: baselines give none
            bits = {start: [row["test"][SURPRISE] for row in own] for start, own in starts.items()}
            below = standard_errors(bits["random"], bits["pretrained"])
            shown = "" if below is None else f"{below:.1f}"
            lines.append(
                f"| {road} | {work} | bits a byte of the right text (less is better) | "
                f"{spread(bits['pretrained'], 2)} | {spread(bits['random'], 2)} | {shown} | | |"
            )
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return a mean, with its deviation where there are several."""
    if not values:
        return ""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def one_decimal(value: float | None) -> str:
    """Return how a score is written beside its mark."""
    return "" if value is None else f"{value:.1f}"


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """Return all cells as an SVG that stands alone."""
    from trivium.evaluate.axes import TEXT_SIZE
    from trivium.evaluate.charts import CHART_STYLE, Interval, interval_chart
    from trivium.evaluate.page import DARK, LIGHT

    intervals = []
    by_set: dict[str, list[tuple[str, str]]] = {}
    cells = cells_of(rows)
    for road, work in cells:
        by_set.setdefault(work, []).append((road, work))
    for work, found in by_set.items():
        for cell in found:
            road, colour = cell[0].partition(",")[0], list(ROADS).index(cell[0]) % 3
            for start, own in cells[cell].items():
                scores = [100 * row["score"] for row in own]
                if scores:
                    sd = stdev(scores) if len(scores) > 1 else None
                    name = f"{road}, {'pretrained' if start == 'pretrained' else 'random weights'}"
                    mark = "filled" if start == "pretrained" else "hollow"
                    intervals.append(Interval(work, name, mean(scores), sd, scores, colour, mark))
        name, value = best_baseline(next(row for own in cells[found[0]].values() for row in own))
        intervals.append(Interval(work, name.partition(" of ")[0], 100 * value, None, (), None, "line"))
    what = "score on the test file, times 100"
    chart = interval_chart(intervals, title="Tasks on real data", x_label=what, text=one_decimal)
    style = f"svg{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}".replace("\n", "") + CHART_STYLE
    font = f'.chart{{background:var(--card);font:{TEXT_SIZE}px system-ui,"Noto Sans",sans-serif}}'
    head, _, rest = str(chart).partition(">")
    return f"{head}><style>{style}{font}</style>{rest}\n"


if __name__ == "__main__":
    main()
