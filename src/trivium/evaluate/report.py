"""report.html of a run: what it was, how it learned, how good it is; and the page of the main job."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tomli_w

from trivium.core.files import write_text
from trivium.evaluate.axes import HALF, THIRD
from trivium.evaluate.charts import Event, Series, line_chart
from trivium.evaluate.formatting import (
    NumberText,
    compact_text,
    is_number,
    metric_text,
    number_text,
    range_text,
    seconds_text,
    short_text,
)
from trivium.evaluate.markup import Markup
from trivium.evaluate.page import (
    Cell,
    Column,
    card,
    code_block,
    figure,
    folded,
    grid,
    key_values,
    page,
    paragraph,
    section,
    statements,
    table,
)
from trivium.evaluate.quickstart_page import quickstart_report
from trivium.evaluate.reliability import reliability_section
from trivium.evaluate.run_files import (
    RunFiles,
    interval_of,
    lower_is_better,
    main_metric,
    metrics_of,
    read_run,
    scored_split,
)
from trivium.evaluate.run_files import table as subtree
from trivium.evaluate.run_words import architecture_words, article, objective_words, run_words, speed_words
from trivium.evaluate.score_tables import best_baseline, score_table, task_table
from trivium.evaluate.sections import FAMILY_COLOURS, LIKE, loss_chart, smoothed
from trivium.evaluate.tuned_sections import tuned_sections
from trivium.model.folder import TASKS
from trivium.train.run import CONFIG

__all__ = ["REPORT", "quickstart_report", "run_report", "write_report"]

REPORT = "report.html"
_HEIGHT = 420  # px, of the loss: three small charts beside it are about as high
_STEP = ("steps", "tokens", "data", "weights", "name")  # what of a model's making is shown, see `model.history`
_DIGEST = re.compile("[0-9a-f]{32,}")
_NO_METRIC = frozenset({"step", "loss", "tokens", "seconds", "lr", "gradient_norm", "split", "epoch"})


def write_report(run: Path) -> Path:
    """Write report.html into a run's folder, whole or not at all, and return its path; raises as `run_report` does.

    Of a run of several tasks each task's folder gets its own first, which the run's then leads to.
    """
    for task in subtree(read_run(run).results, "tasks"):
        if (run / TASKS / task / CONFIG).is_file():
            write_report(run / TASKS / task)
    path = run / REPORT
    write_text(path, run_report(run))
    return path


def run_report(run: Path) -> str:
    """Return the page that shows a pretrained or fine-tuned run; one that still goes on is shown as far as it is.

    Raises:
        CheckpointError: the folder is no run's, or a file of it is damaged.
        ConfigError: its config cannot be read.
    """
    files = read_run(run)
    what = "several tasks" if subtree(files.results, "tasks") else files.task
    kind = f"a run fine-tuned on {what}" if files.is_tuned else "a pretraining run"
    results = files.results or {}
    pages = {task: f"{TASKS}/{quote(task, errors='replace')}/{REPORT}" for task in subtree(results, "tasks")}
    there = {task: page for task, page in pages.items() if (run / TASKS / task / REPORT).is_file()}
    scores = task_table(files, there) or score_table(files)
    opening = [paragraph(_lead(files), "lead"), statements(_verdict(files)), scores]
    tuned = [reliability_section(results), *tuned_sections(results)]
    content = [_curves(files), *tuned, _history(files), _settings(files)]
    return page(
        title=run.resolve().name,
        overline=f"trivium \u00b7 {kind}",
        opening=[part for part in opening if part is not None],
        content=[part for part in content if part is not None],
        footer=f"Made by trivium report from {run}. This page is one file and needs nothing else.",
    )


def _lead(files: RunFiles) -> str:
    """Return in one sentence what the run is."""
    results, last = files.results or {}, files.log[-1] if files.log else {}
    size = results.get("parameters")
    of = f" of {compact_text(size)} parameters" if is_number(size) else ""
    like = f", like {LIKE[files.family]}," if files.family else ""
    who = f"{article(files.family or 'network')}{of}{like}"
    if files.is_tuned:
        begin = files.config.get("start_from") or results.get("from")
        names = [f"\u201c{task}\u201d" for task in subtree(results, "tasks")] or [f"\u201c{files.task}\u201d"]
        what = f"fine-tuned on the task{'s' * (len(names) > 1)} {', '.join(names)}"
        what += f", starting from {begin}" if begin else ""
    else:
        what = f"pretrained on {objective_words(files.config)}"
    tokens, seconds = results.get("tokens", last.get("tokens")), results.get("seconds", last.get("seconds"))
    details = [f"{compact_text(tokens)} tokens"] if is_number(tokens) else []
    details += [f"in {seconds_text(seconds)}"] if is_number(seconds) else []
    return f"{who} {what}" + (f", {' '.join(details)}" if details else "") + "."


def _verdict(files: RunFiles) -> list[str]:
    """Return what the results say, the most important first."""
    if files.results is None:
        step = max((line["step"] for line in files.log if is_number(line.get("step"))), default=0)
        steps = subtree(files.config, "train").get("steps")
        done = f"step {number_text(step)}" + (f" of {number_text(steps)}" if is_number(steps) else "")
        return [f"Not finished: {done}. The command that began it goes on with --resume."]
    split = scored_split(files.results)
    scores = metrics_of(subtree(files.results, split))
    metric = main_metric(list(scores), files.results.get("chosen_by"))
    if metric is None:
        return []
    text = metric_text(metric)
    said = f"{metric} on {'held-out text' if not files.is_tuned else split}: {text(scores[metric])}"
    interval = interval_of(files.results, metric)
    said += "" if interval is None else f" (95 % interval {range_text(interval, text)})"
    if best := best_baseline(files.results, metric):
        name, score = best
        better = scores[metric] < score if lower_is_better(metric) else scores[metric] > score
        said += f", {'better' if better else 'not better'} than the best baseline ({name}: {text(score)})"
    elif not files.is_tuned and metric == "loss":
        said += " nats a token"
        size = files.model.get("vocabulary_size")
        said += f"; knowing nothing gives {number_text(math.log(size))}" if is_number(size) and size > 1 else ""
    return [f"{said[0].upper()}{said[1:]}."]


def _curves(files: RunFiles) -> Markup | None:
    """Draw the loss, the scores on held-out examples, and how the optimiser fared."""
    training = [line for line in files.log if "split" not in line]
    if not files.log:
        return None
    held_out: dict[str, list[dict[str, Any]]] = {}
    for entry in files.log:
        if "split" in entry:
            held_out.setdefault(str(entry["split"]), []).append(entry)
    colour = FAMILY_COLOURS.get(files.family, 0)
    validation = next((lines for split, lines in held_out.items() if split.startswith("valid")), [])
    reference = metrics_of(subtree(files.results, "normal"))
    size = files.model.get("vocabulary_size")
    if not files.is_tuned and not reference and is_number(size) and size > 1:
        reference = {"uniform": math.log(size)}
    wide = THIRD if files.is_tuned else HALF
    drawn = figure(
        lambda width: loss_chart(
            _curve(training, files.training_loss),
            _curve(validation, "loss"),
            reference,
            title="Loss over steps",
            colour=colour,
            y_label="loss, nats an answer" if files.is_tuned else "loss, nats a token",
            events=skipped_updates(training),
            width=width,
            height=_HEIGHT,
        ),
        _how_to_read(reference, training),
        width=wide,
    )
    cards = [card(drawn, heading="Loss")]
    for split, lines in held_out.items():
        names = [name for name in metrics_of(lines[-1]) if name not in _NO_METRIC]
        metric = main_metric(names, (files.results or {}).get("chosen_by"))
        if files.is_tuned and metric is not None:
            series = [Series(split, _curve(lines, metric), colour)]
            drawn = _small(series, metric, wide, height=_HEIGHT, text=metric_text(metric))
            cards.append(card(drawn, heading=f"{metric} on {split}".capitalize()))
    curves = {
        "learning rate": _curve(training, "lr"),
        "gradient norm": smoothed(_curve(training, "gradient_norm")),
        "tokens a second": smoothed(throughput(training)),
        "share of the machine's peak": smoothed(_curve(training, "peak_share")),
    }
    small = [_small([Series("", points, 3, "faint")], name, wide) for name, points in curves.items() if points]
    if small:
        cards.append(card(*small, heading="Optimiser and speed" if curves["tokens a second"] else "Optimiser"))
    return section("How it learned", grid(*cards, pairs=not files.is_tuned))


def throughput(training: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return the tokens a second between each two lines of training, validations and checkpoints included."""
    lines = [line for line in training if all(is_number(line.get(key)) for key in ("step", "tokens", "seconds"))]
    return [
        (after["step"], (after["tokens"] - before["tokens"]) / (after["seconds"] - before["seconds"]))
        for before, after in pairwise(lines)
        if after["seconds"] > before["seconds"]
    ]


def skipped_updates(training: Sequence[Mapping[str, Any]]) -> list[Event]:
    """Return where updates were skipped: lines carry how many there were so far, none when it is not said."""
    events, before = [], 0.0
    for line in training:
        now = line.get("skipped", 0)
        if is_number(now) and now > before and is_number(line.get("step")):
            many = f"{number_text(now - before)} updates" if now - before > 1 else "1 update"
            events.append(Event(line["step"], f"{many} skipped by step {number_text(line['step'])}"))
            before = now
    return events


def _how_to_read(reference: Mapping[str, float], training: Sequence[Mapping[str, Any]]) -> str:
    said = "Training is smoothed for display."
    said += " Dashed: what is normal without a network." if reference else ""
    skipped = max((line["skipped"] for line in training if is_number(line.get("skipped"))), default=0.0)
    return said + (f" Ticks on the axis: updates that were skipped, {number_text(skipped)} in all." if skipped else "")


def _small(
    series: Sequence[Series], name: str, wide: float, *, height: float = 150, text: NumberText = short_text
) -> Markup:
    title = f"{name} over steps"
    return figure(
        lambda width: line_chart(
            series, title=title, x_label="step", y_label=name, y_text=text, width=width, height=height
        ),
        width=wide,
    )


def _curve(lines: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if is_number(line.get("step")) and is_number(line.get(key))]


def _history(files: RunFiles) -> Markup | None:
    """Return how the run's weights came to be, the oldest step first; of an unfinished run, what it began with."""
    steps = (files.results or files.config).get("history")
    if not isinstance(steps, Sequence) or not steps or not all(isinstance(step, Mapping) for step in steps):
        return None
    columns = [Column(name, numeric=name in ("steps", "tokens")) for name in ("", "learned", *_STEP)]
    rows = [
        [
            Cell(f"{number}. {step.get('verb', '')}"),
            Cell(step.get("objective") or step.get("task") or ""),
            *(_of_step(step.get(name)) for name in _STEP),
        ]
        for number, step in enumerate(steps, start=1)
    ]
    note = "The oldest step first; data and weights by the beginning of their SHA-256."
    return section("How its weights came to be", table(columns, rows), note=note)


def _of_step(value: object) -> Cell:
    if is_number(value):
        return Cell(number_text(value), value)
    text = str(value or "")
    return Cell(text[:12] if _DIGEST.fullmatch(text) else text)


def _settings(files: RunFiles) -> Markup:
    words = architecture_words(files.model)
    cards = [card(key_values({**run_words(files), **speed_words(files.log)}), heading="The run")]
    if words:
        cards.insert(0, card(key_values(words), heading="The network"))
    whole = folded("config.toml, whole", code_block(tomli_w.dumps(files.config)))
    return section("Settings", grid(*cards, pairs=True), whole)
