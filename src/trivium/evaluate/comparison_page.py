"""comparison.html: runs side by side, as a table and as pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trivium.evaluate.axes import HALF, ReferenceLine
from trivium.evaluate.charts import Interval, interval_chart
from trivium.evaluate.formatting import (
    bytes_text,
    compact_text,
    metric_text,
    milliseconds_text,
    plus_minus_text,
    range_text,
)
from trivium.evaluate.markup import Markup
from trivium.evaluate.page import Cell, Column, Row, card, figure, grid, page, paragraph, section, statements, table
from trivium.evaluate.scatter import Bubble, scatter_chart
from trivium.evaluate.sections import FAMILY_COLOURS

Entry = Mapping[str, Any]


def comparison_page(result: Mapping[str, Any]) -> str:
    """Return the page that shows what `compare` found."""
    number = len(result["models"])
    measured = (
        f"Speed was measured on this machine in turns, with {result['threads']} "
        f"thread{'s' if result['threads'] != 1 else ''}: latency on one text of {result['length']} tokens, "
        "throughput on packed rows."
    )
    lead = f"{number} model{'s' if number != 1 else ''}, by quality, size and speed. {measured}"
    opening = [paragraph(lead, "lead"), statements(result["said"]), _table(result)]
    return page(
        title=f"Which model for {result['task']}?" if result["ranked"] else "Models side by side",
        overline="trivium \u00b7 a comparison",
        opening=[part for part in opening if part is not None],
        content=[_pictures(result), _runs(result["models"])] if result["ranked"] else [_runs(result["models"])],
        footer="Made by trivium compare; comparison.json holds the same numbers.",
    )


def _table(result: Mapping[str, Any]) -> Markup:
    ranked = result["ranked"]
    other = "valid" if result["split"] == "test" else "test"
    both = ranked and all(result["metric"] in entry[other] for entry in result["models"])
    best = "lowest" if result["lower_is_better"] else "highest"
    heading = result["metric"] if ranked else "quality"
    columns = [
        Column("model", numeric=False),
        Column(heading, note=f"on {result['split']}", best=best if ranked else None),  # type: ignore[arg-type]
        *([Column(heading, note=f"on {other}")] if both else []),
        Column("parameters", best="lowest"),
        Column("size"),
        Column("latency", note="median", best="lowest"),
        Column("latency", note="19 of 20 within"),
        Column("tokens/s", best="highest"),
        *([Column("front")] if ranked else []),
    ]
    rows: list[Row] = [_row(entry, result["metric"], other if both else None, ranked) for entry in result["models"]]
    blank = [""] * (len(columns) - 2)
    text = metric_text(result["metric"])
    rows += [[each["name"], Cell(text(each["quality"])), *blank] for each in result["baselines"]]
    shown = table(columns, rows, quiet=range(len(result["models"]), len(rows)))
    if not ranked:
        return shown
    note = "On the front (\u25cf): no other is at least as good, as small and as fast. Shaded: the best of a column."
    return Markup.joined(shown, paragraph(note, "note under"))


def _row(entry: Entry, metric: str, other: str | None, ranked: bool) -> Row:
    text, quality = metric_text(entry["metric"]), entry["quality"]
    seeds = [f"{len(entry['runs'])} seeds"] if len(entry["runs"]) > 1 else []
    interval = quality.get("interval")
    likely = [] if interval is None else [f"95 %: {range_text(interval, text)}"]
    return [
        Cell(entry["name"], notes=seeds, colour=FAMILY_COLOURS.get(entry["family"])),
        Cell(
            plus_minus_text(quality["mean"], quality["sd"], text),
            quality["mean"],
            likely if ranked else [*likely, f"{entry['metric']} of {entry['task']}"],
        ),
        *([Cell(text(entry[other][metric]), entry[other][metric])] if other else []),
        Cell(compact_text(entry["parameters"]), entry["parameters"]),
        Cell(bytes_text(entry["bytes"]), entry["bytes"]),
        Cell(milliseconds_text(entry["latency_ms"]), entry["latency_ms"]),
        Cell(milliseconds_text(entry["latency_p95_ms"]), entry["latency_p95_ms"]),
        Cell(compact_text(entry["tokens_per_second"]), entry["tokens_per_second"]),
        *([Cell("\u25cf" if entry["front"] else "")] if ranked else []),
    ]


def _pictures(result: Mapping[str, Any]) -> Markup:
    metric, entries = result["metric"], result["models"]
    text = metric_text(metric)
    label = f"{metric} on {result['split']}"
    rows = [_interval(entry) for entry in sorted(entries, key=lambda entry: str(entry["family"]))]
    rows += [
        Interval("without a network", each["name"], each["quality"], colour=None, mark="line")
        for each in result["baselines"]
    ]
    quality = card(
        figure(
            lambda width: interval_chart(rows, title=label, x_label=label, text=text, width=width),
            "Where there are several seeds, bands are one standard deviation and dots the single runs.",
        ),
        heading="How good",
    )
    better = "Lower" if result["lower_is_better"] else "Higher"
    caption = f"{better} and further left is better. Dashed outlines: another is at least as good, small and fast."
    costs = [
        card(
            figure(_scatter(result, cost, words, write), caption, width=HALF),
            heading=heading,
        )
        for cost, heading, words, write in (
            ("latency_ms", "How good for its time", "latency of one text, ms", None),
            ("parameters", "How good for its size", "parameters", compact_text),
        )
    ]
    return section("The comparison", grid(*costs, pairs=True), grid(quality))


def _interval(entry: Entry) -> Interval:
    quality, colour = entry["quality"], FAMILY_COLOURS.get(entry["family"], 3)
    return Interval(
        entry["family"] or "models", entry["name"], quality["mean"], quality["sd"], quality["scores"], colour
    )


def _scatter(
    result: Mapping[str, Any], cost: str, words: str, write: Callable[[float], str] | None
) -> Callable[[float], Markup]:
    label = f"{result['metric']} on {result['split']}"
    bubbles = [
        Bubble(
            entry["name"],
            entry[cost],
            entry["quality"]["mean"],
            entry["parameters"] if cost != "parameters" else None,
            FAMILY_COLOURS.get(entry["family"], 3),
            entry["front"],
        )
        for entry in result["models"]
    ]
    choose = min if result["lower_is_better"] else max
    rivals = [choose(result["baselines"], key=lambda each: each["quality"])] if result["baselines"] else []
    references = [ReferenceLine(each["name"], each["quality"]) for each in rivals]
    return lambda width: scatter_chart(
        bubbles,
        title=f"{label} against {words}",
        x_label=words,
        y_label=label,
        reference_lines=references,
        log_x=True,
        x_text=write,
        y_text=metric_text(result["metric"]),
        width=width,
        height=320,
    )


def _runs(entries: Sequence[Entry]) -> Markup:
    columns = [Column("model", numeric=False), Column("seed"), Column("score")]
    columns += [Column("folder", numeric=False), Column("begins with", numeric=False)]
    rows: list[Row] = []
    for entry in entries:
        text, scores = metric_text(entry["metric"]), entry["quality"]["scores"]
        for number, run in enumerate(entry["runs"]):
            score = text(scores[number]) if number < len(scores) else ""
            rows.append(
                [entry["name"], Cell(entry["seeds"][number]), Cell(score), Cell(run), Cell(entry["from"] or "")]
            )
    return section("The runs", table(columns, rows))
