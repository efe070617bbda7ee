"""Runs side by side: quality from their results, parameters, size, and speed measured now in turns."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from rich.table import Table

from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.files import new_folder, refuse_existing, write_json, write_text
from trivium.core.progress import Progress
from trivium.evaluate.comparison_page import comparison_page
from trivium.evaluate.formatting import (
    NumberText,
    bytes_text,
    compact_text,
    metric_text,
    milliseconds_text,
    plus_minus_text,
    range_text,
)
from trivium.evaluate.front import best_by_budget, pareto_front
from trivium.evaluate.run_files import (
    RunFiles,
    foreign_run,
    interval_of,
    lower_is_better,
    main_metric,
    metrics_of,
    read_run,
    scored_split,
    table,
)
from trivium.evaluate.speed import LENGTH, Reader, Speed, network_reader, reading_speed
from trivium.hub.open import is_foreign, open_pretrained
from trivium.model.count import num_parameters
from trivium.objectives.base import as_network
from trivium.tasks.folder import load_tuned

JSON, PAGE = "comparison.json", "comparison.html"
# Latencies of the same network differ this much from one measurement to the next.
_LATENCY_TOLERANCE = 0.03
# On an idle machine one text in twenty takes perhaps a quarter longer than the median.
_BUSY = 3.0


class Group(NamedTuple):
    """Runs that differ in their seed only."""

    name: str
    runs: list[RunFiles]


class Yardstick(NamedTuple):
    """What runs are compared by; `note` says why they cannot be ranked by it (empty = they can)."""

    metric: str
    split: str
    note: str


class Opened(NamedTuple):
    """A loaded model; `key` is what its speed depends on."""

    key: str
    reader: Reader
    parameters: int


class Measured(NamedTuple):
    """What a model costs."""

    parameters: int
    speed: Speed


def compare(runs: Sequence[Path], out: Path, *, progress: Progress) -> dict[str, Any]:
    """Compare runs and write comparison.json and comparison.html into the folder `out`.

    Runs that differ in nothing but the seed are one line with mean and standard deviation. Runs are ranked when they
    learned the same task and were scored on the same examples; otherwise they stand side by side.

    Args:
        runs: folders of finished runs, pretrained or fine-tuned, or of Hugging Face models, whose quality is not known.
        out: must not exist.
        progress: shown the measuring.

    Returns:
        what comparison.json holds.

    Raises:
        CheckpointError: a folder is no run's, not finished, or damaged.
        ConfigError: `out` exists, or a run is given twice.
    """
    refuse_existing(out)
    groups = group_runs([_finished(run) for run in runs])
    yardstick = choose_yardstick(groups)
    measured = _measured(groups, progress)
    entries = [_entry(group, each, yardstick) for group, each in zip(groups, measured, strict=True)]
    result = _result(entries, groups, yardstick, measured[0].speed)
    with new_folder(out) as folder:
        write_json(folder / JSON, result)
        write_text(folder / PAGE, comparison_page(result))
    return result


def comparison_table(result: dict[str, Any]) -> Table:
    """Return the comparison as a table for the terminal."""
    text = metric_text(result["metric"])
    quality = f"{result['metric']} ({result['split']})"
    shown = Table(title=f"{result['task']}: {quality}" if result["ranked"] else None, caption="\n".join(result["said"]))
    shown.add_column("model", overflow="fold")
    if not result["ranked"]:
        shown.add_column("task")
    for heading in (quality, "parameters", "size", "latency", "p95", "tokens/s"):
        shown.add_column(heading, justify="right")
    shown.add_column("front", justify="center")
    for entry in result["models"]:
        own = entry["quality"]
        cells = [entry["name"], *([] if result["ranked"] else [entry["task"]])]
        cells += [
            quality_text(own, metric_text(entry["metric"])),
            compact_text(entry["parameters"]),
            bytes_text(entry["bytes"]),
            milliseconds_text(entry["latency_ms"]),
            milliseconds_text(entry["latency_p95_ms"]),
            compact_text(entry["tokens_per_second"]),
            "\u25cf" if entry["front"] else "",
        ]
        shown.add_row(*cells, style="bold" if entry["best"] else None)
    for baseline in result["baselines"]:
        shown.add_row(baseline["name"], *([] if result["ranked"] else [""]), text(baseline["quality"]), style="dim")
    return shown


def quality_text(quality: Mapping[str, Any], text: NumberText) -> str:
    """Return a score with the deviation of its seeds, or of one run with its 95 % interval."""
    interval = quality.get("interval")
    shown = plus_minus_text(quality["mean"], quality["sd"], text)
    return shown if interval is None else f"{shown} ({range_text(interval, text)})"


def group_runs(runs: Sequence[RunFiles]) -> list[Group]:
    """Return the runs in groups that differ in the seed only, in the order in which they were given.

    Raises:
        ConfigError: there is no run, or one is given twice.
    """
    if not runs:
        raise ConfigError("nothing to compare: expected at least one run.")
    groups: dict[tuple[str, int], list[RunFiles]] = {}
    seen: set[Path] = set()
    times: dict[tuple[str, str], int] = {}
    for run in runs:
        if run.path.resolve() in seen:
            raise ConfigError(f"{run.path}: given twice; give each run once.")
        seen.add(run.path.resolve())
        rest = {key: value for key, value in run.config.items() if key != "seed"}
        key = json.dumps([run.task, rest], sort_keys=True, default=str)
        # The same settings with the same seed are the same run made again, not another sample.
        seed = (key, str(run.config.get("seed")))
        groups.setdefault((key, times.setdefault(seed, 0)), []).append(run)
        times[seed] += 1
    names = [_name(members) for members in groups.values()]
    unique: list[str] = []
    for name, members in zip(names, groups.values(), strict=True):
        if names.count(name) > 1:
            name = f"{members[0].path.resolve().parent.name}/{name}"
        while name in unique:
            name += "\u2032"
        unique.append(name)
    return [Group(name, members) for name, members in zip(unique, groups.values(), strict=True)]


def choose_yardstick(groups: Sequence[Group]) -> Yardstick:
    """Return the metric and split that all runs have, on test where all were tested, and whether it ranks them."""
    runs = [run for group in groups for run in group.runs]
    split = "test" if all(metrics_of(table(run.results, "test")) for run in runs) else "valid"
    scores = [metrics_of(table(run.results, split)) for run in runs]
    common = [name for name in scores[0] if all(name in each for each in scores)]
    metric = main_metric(common, (runs[0].results or {}).get("chosen_by"))
    tasks = sorted({run.task for run in runs})
    note = ""
    if len(tasks) > 1:
        note = f"These runs learned different things ({', '.join(tasks)}): fine-tune them on one task to rank them."
    elif metric is None:
        note = f"These runs have no metric of the split {split} in common."
    elif any(run.is_tuned for run in runs):
        if len({str(run.config.get(split)) for run in runs}) > 1:
            note = f"These runs were scored on different {split} files, so they are not ranked."
    elif len({json.dumps([table(run.config, "data"), run.model.get("vocabulary_size")]) for run in runs}) > 1:
        note = "These runs read different data, so their losses are not comparable."
    return Yardstick(metric or "loss", split, note)


def _finished(path: Path) -> RunFiles:
    if is_foreign(path):
        return foreign_run(path)
    run = read_run(path)
    if run.results is None:
        raise CheckpointError(f"{path}: not finished: it has no results yet; --resume it first, or leave it out.")
    return run


def _name(members: Sequence[RunFiles]) -> str:
    paths = [run.path.resolve() for run in members]
    if len(paths) == 1:
        return paths[0].name
    letters = zip(*(path.name for path in paths), strict=False)
    shared = "".join(each[0] for each in takewhile(lambda each: len(set(each)) == 1, letters))
    return re.sub(r"([-_. ]+(seed|s)|seed)?[-_. ]*\d*$", "", shared) or paths[0].parent.name


def _measured(groups: Sequence[Group], progress: Progress) -> list[Measured]:
    """Measure each architecture once: how fast a network is does not depend on its weights."""
    opened = [_open(group.runs[0]) for group in groups]
    readers = {each.key: each.reader for each in opened}
    length = min([LENGTH, *(reader.config.max_length for reader in readers.values())])
    speeds = reading_speed(list(readers.values()), length=length, progress=progress)
    by_key = dict(zip(readers, speeds, strict=True))
    return [Measured(each.parameters, by_key[each.key]) for each in opened]


def _open(run: RunFiles) -> Opened:
    if run.is_tuned:
        tuned = load_tuned(run.path)
        task, readout = tuned.task, tuned.task.readout
        if readout is None:
            network = as_network(tuned.model)
            return Opened(
                tuned.config.model_dump_json(), network_reader(network, tuned.config), num_parameters(network)
            )
        key = f"{tuned.config.model_dump_json()} {task.name} {len(task.labels)} {readout.model_dump_json()}"
        return Opened(key, Reader(tuned.model, tuned.config, readout, task.num_places), num_parameters(tuned.model))
    saved = open_pretrained(run.folder, speaks=False)
    reader = network_reader(saved.network, saved.config)
    return Opened(saved.config.model_dump_json(), reader, num_parameters(saved.network))


def _entry(group: Group, measured: Measured, yardstick: Yardstick) -> dict[str, Any]:
    first = group.runs[0]
    own = metrics_of(table(first.results, yardstick.split))
    metric = yardstick.metric if yardstick.metric in own else main_metric(list(own)) or yardstick.metric
    scores = [metrics_of(table(run.results, yardstick.split)).get(metric) for run in group.runs]
    known = [score for score in scores if score is not None]
    alone = len(group.runs) == 1 and _is_of(first, yardstick)
    return {
        "name": group.name,
        "runs": [str(run.path) for run in group.runs],
        "family": first.family,
        "task": first.task,
        "from": first.config.get("start_from") or (first.results or {}).get("from"),
        "seeds": [run.config.get("seed") for run in group.runs],
        "metric": metric,
        "quality": {
            "mean": fmean(known) if known else None,
            "sd": stdev(known) if len(known) > 1 else None,
            "scores": known,
            "interval": interval_of(first.results, metric) if alone else None,
        },
        **{split: _means(group, split) for split in ("valid", "test")},
        "parameters": measured.parameters,
        "bytes": sum(file.stat().st_size for file in first.folder.iterdir() if file.is_file()),
        **measured.speed._asdict(),
        "front": False,
        "best": False,
    }


def _is_of(run: RunFiles, yardstick: Yardstick) -> bool:
    """Return whether what the results say of one split alone (intervals, baselines) is of the yardstick's."""
    return yardstick.split == scored_split(run.results)


def _means(group: Group, split: str) -> dict[str, float]:
    scores = [metrics_of(table(run.results, split)) for run in group.runs]
    return {name: fmean([each[name] for each in scores]) for name in scores[0] if all(name in each for each in scores)}


def _result(
    entries: list[dict[str, Any]], groups: Sequence[Group], yardstick: Yardstick, speed: Speed
) -> dict[str, Any]:
    ranked = not yardstick.note
    sign = -1.0 if lower_is_better(yardstick.metric) else 1.0
    budgets: dict[str, list[dict[str, Any]]] = {}
    if ranked:
        goodness = [sign * entry["quality"]["mean"] for entry in entries]
        costs = [
            [-good, entry["parameters"], entry["latency_ms"]] for good, entry in zip(goodness, entries, strict=True)
        ]
        for entry, good, front in zip(
            entries, goodness, pareto_front(costs, tolerances=(0.0, 0.0, _LATENCY_TOLERANCE)), strict=True
        ):
            entry["front"], entry["best"] = front, good == max(goodness)
        for cost, tolerance in (("latency_ms", _LATENCY_TOLERANCE), ("bytes", 0.0)):
            chosen = best_by_budget([entry[cost] for entry in entries], goodness, tolerance=tolerance)
            budgets[cost] = [
                {"up_to": entries[n][cost], "name": entries[n]["name"], "quality": entries[n]["quality"]["mean"]}
                for n in chosen
            ]
    result = {
        "task": entries[0]["task"] if ranked else None,
        "metric": yardstick.metric,
        "split": yardstick.split,
        "lower_is_better": sign < 0,
        "ranked": ranked,
        "length": speed.length,
        "threads": speed.threads,
        "models": entries,
        "baselines": _baselines(groups, yardstick) if ranked else [],
        "best_by_budget": budgets,
    }
    return result | {"said": _said(result, yardstick)}


def _baselines(groups: Sequence[Group], yardstick: Yardstick) -> list[dict[str, Any]]:
    """Return what the runs' results say of baselines; those that saw other examples have the run's name beside."""
    found: dict[str, float] = {}
    for group in groups:
        results = group.runs[0].results or {}
        if not _is_of(group.runs[0], yardstick):
            continue  # its baselines were scored on other examples than the heading says
        for name, values in table(results, "baselines").items():
            value = metrics_of(values).get(yardstick.metric) if isinstance(values, dict) else None
            if value is not None and abs(found.setdefault(name, value) - value) > 1e-9:
                found[f"{name} ({group.name})"] = value
    return [{"name": name, "quality": value} for name, value in found.items()]


def _said(result: dict[str, Any], yardstick: Yardstick) -> list[str]:
    """Return in sentences what the comparison shows."""
    if yardstick.note:
        return [yardstick.note]
    text = metric_text(result["metric"])
    best = next(entry for entry in result["models"] if entry["best"])
    mean = best["quality"]["mean"]
    score = plus_minus_text(mean, best["quality"]["sd"], text)
    said = [f"Best {result['metric']} on {result['split']}: {best['name']}, {score}."]
    said += _lead(result["models"], best)
    if result["baselines"]:
        choose = min if result["lower_is_better"] else max
        rival = choose(result["baselines"], key=lambda each: each["quality"])
        beaten = mean < rival["quality"] if result["lower_is_better"] else mean > rival["quality"]
        said.append(
            f"{'It beats' if beaten else 'It does not beat'} the best baseline, "
            f"{rival['name']} ({text(rival['quality'])})."
        )
    for cost, words, write in (("latency_ms", "a latency", milliseconds_text), ("bytes", "a size", bytes_text)):
        steps = [
            f"{write(step['up_to'])}: {step['name']} ({text(step['quality'])})"
            for step in result["best_by_budget"][cost]
        ]
        said.append(f"Best within {words} of {'; of '.join(steps)}.")
    if any(entry["latency_p95_ms"] > _BUSY * entry["latency_ms"] for entry in result["models"]):
        said.append("The machine was busy while speed was measured: measure again when it is not.")
    return said


def _lead(entries: Sequence[dict[str, Any]], best: dict[str, Any]) -> list[str]:
    """Say whether the best is clearly ahead of the next: by two standard errors of the difference of their means."""
    others = [entry for entry in entries if entry is not best]
    if not others:
        return []
    following = min(others, key=lambda entry: abs(entry["quality"]["mean"] - best["quality"]["mean"]))
    first, second = best["quality"], following["quality"]
    if first["sd"] is None or second["sd"] is None:
        return ["With one seed a model, small differences may be chance."]
    error = sqrt(first["sd"] ** 2 / len(first["scores"]) + second["sd"] ** 2 / len(second["scores"]))
    clearly = abs(first["mean"] - second["mean"]) > 2 * error
    return [
        f"It is {'clearly' if clearly else 'not clearly'} ahead of {following['name']}, given the spread over seeds."
    ]
