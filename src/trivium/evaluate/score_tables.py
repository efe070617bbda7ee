"""The scores of a run beside its baselines: a row a metric, or, of several tasks, a row a task."""

from collections.abc import Mapping
from typing import Any

from trivium.evaluate.formatting import is_number, metric_text, range_text
from trivium.evaluate.markup import Markup, element
from trivium.evaluate.page import Cell, Column, Row, table
from trivium.evaluate.reliability import CALIBRATION
from trivium.evaluate.run_files import RunFiles, interval_of, lower_is_better, main_metric, metrics_of, scored_split
from trivium.evaluate.run_files import table as subtree

_SPLITS = ("valid", "test")


def score_table(files: RunFiles) -> Markup | None:
    """Return the scores as a table, the metric the run is judged by first; None where there is nothing to show."""
    results = files.results or {}
    splits = {split: metrics_of(subtree(results, split)) for split in _SPLITS if subtree(results, split)}
    if not files.is_tuned:  # a single term is the loss itself
        splits = {split: {"loss": scores["loss"]} if len(scores) == 2 else scores for split, scores in splits.items()}
    names = dict.fromkeys(name for scores in splits.values() for name in scores)
    metrics = [name for name in names if name not in CALIBRATION]  # which have a section of their own
    if not metrics or (not files.is_tuned and len(metrics) == len(splits) == 1):
        return None  # nothing, or what was said above
    main, scored = main_metric(metrics, results.get("chosen_by")), scored_split(results)
    baselines = {name: values for name, values in subtree(results, "baselines").items() if isinstance(values, Mapping)}
    columns = [Column("", numeric=False), *(Column(split, group="this model") for split in splits)]
    columns += [Column(name, _missing(values), group=f"baselines, {scored}") for name, values in baselines.items()]
    rows: list[Row] = []
    for metric in sorted(metrics, key=lambda name: name != main):
        own = [
            _score(scores.get(metric), metric, interval_of(results, metric) if split == scored else None)
            for split, scores in splits.items()
        ]
        rows.append([_words(metric), *own, *(_score(values.get(metric), metric) for values in baselines.values())])
    return table(columns, rows, quiet=[number for number, row in enumerate(rows) if row[0] != _words(str(main))])


def task_table(files: RunFiles, pages: Mapping[str, str]) -> Markup | None:
    """Return the scores of each of several tasks, by what its best epoch is chosen by; None where it is one task.

    Args:
        files: the run's.
        pages: addresses of the tasks' own pages, by their names.
    """
    tasks = {name: found for name, found in subtree(files.results, "tasks").items() if isinstance(found, Mapping)}
    if not tasks:
        return None
    columns = [Column("task", numeric=False), Column("score", numeric=False), *map(Column, _SPLITS)]
    columns.append(Column("best baseline"))
    return table(columns, [_task_row(name, found, pages.get(name)) for name, found in tasks.items()])


def best_baseline(results: Mapping[str, Any], metric: str) -> tuple[str, float] | None:
    """Return the best of the simple baselines by a metric, and its score; None where none has one."""
    rivals = {
        name: float(values[metric])
        for name, values in subtree(results, "baselines").items()
        if isinstance(values, Mapping) and is_number(values.get(metric))
    }
    if not rivals:
        return None
    best = (min if lower_is_better(metric) else max)(rivals, key=lambda name: rivals[name])
    return best, rivals[best]


def _task_row(name: str, results: Mapping[str, Any], page: str | None) -> Row:
    splits = {split: metrics_of(subtree(results, split)) for split in _SPLITS}
    scored = scored_split(results)
    metric = main_metric(list(splits[scored]), results.get("chosen_by")) or ""
    scores = [
        _score(splits[split].get(metric), metric, interval_of(results, metric) if split == scored else None)
        for split in _SPLITS
    ]
    best = best_baseline(results, metric)
    rival = Cell("") if best is None else Cell(metric_text(metric)(best[1]), best[1], [best[0]])
    task = str(results.get("task", ""))
    shown = name if page is None else element("a", name, href=page)
    return [Cell(shown, notes=[task] if task != name else []), _words(metric), *scores, rival]


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _missing(values: Mapping[str, Any]) -> str:
    return str(values.get("missing") or "")


def _score(value: object, metric: str, interval: tuple[float, float] | None = None) -> Cell:
    if not is_number(value):
        return Cell("")
    notes = [] if interval is None else [f"95 %: {range_text(interval, metric_text(metric))}"]
    return Cell(metric_text(metric)(value), value, notes)
