"""The report of the main job: three families from one core, pretrained, fine-tuned and compared, on one page."""

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.evaluate.axes import HALF, ReferenceLine, finite
from trivium.evaluate.charts import Bar, Interval, bar_chart, interval_chart
from trivium.evaluate.formatting import (
    ABSENT,
    NumberText,
    bytes_text,
    compact_text,
    is_number,
    metric_text,
    milliseconds_text,
    number_text,
    percent_text,
    plus_minus_text,
    seconds_text,
)
from trivium.evaluate.markup import Markup, element
from trivium.evaluate.page import (
    Cell,
    Column,
    Row,
    card,
    code_block,
    figure,
    grid,
    key_values,
    page,
    paragraph,
    section,
    statements,
    table,
)
from trivium.evaluate.scatter import Bubble, scatter_chart
from trivium.evaluate.sections import FAMILY_COLOURS, LIKE, example_markup, label_legend, label_styles, loss_chart

Family = Mapping[str, Any]

_NEXT = """# let the models of this page speak
trivium fill {out}/encoder "Return the [MASK] of the list."
trivium generate {out}/decoder --prompt "def "

# your own text: files, folders, JSON lines
trivium prepare texts/ --out data
trivium pretrain encoder-mini --data data --out runs/encoder --minutes 30

# your own labels, and the same network from random weights beside it
trivium finetune runs/encoder --task classify --train train.csv --valid valid.csv --out runs/task
trivium finetune encoder-mini --tokenizer data --task classify --train train.csv --valid valid.csv --out runs/scratch
trivium compare runs/task runs/scratch --out comparison
trivium predict runs/task "a text"
"""


def quickstart_report(summary: Mapping[str, Any]) -> str:
    """Return the page that shows the main job.

    Args:
        summary: `title`, `machine`, `data`, `phases`, `families`, `verdict`, `out` (the folder, for the commands
            at the end); what is absent is left out.
    """
    families: Sequence[Family] = summary.get("families") or []
    sections = [
        _comparison(families),
        _curves(families),
        _examples(families),
        _time_and_settings(summary),
        section("What next", code_block(_NEXT.format(out=summary.get("out") or "runs/quickstart"))),
    ]
    opening = [paragraph(_lead(summary), "lead"), statements(summary.get("verdict") or []), families_table(families)]
    return page(
        title=str(summary.get("title") or "trivium quickstart"),
        overline="trivium \u00b7 three roads from one core",
        opening=[part for part in opening if part is not None],
        content=[part for part in sections if part is not None],
        footer="Made by trivium quickstart. This page is one file and needs nothing else.",
    )


def families_table(families: Sequence[Family]) -> Markup | None:
    """Return the table of the families: quality beside the count model's, the task's score, and what they cost."""
    if not families:
        return None
    task = _task(families[0])
    metric = str(task.get("metric") or "score")
    task_group = f"{task['name']}: {metric} on test" if task.get("name") else "the task"
    columns = [
        Column("family", numeric=False),
        Column("model", group="predicts held-out text"),
        Column("count model", group="predicts held-out text"),
        Column("pretrained", group=task_group, best="highest"),
        Column("from scratch", group=task_group, best="highest"),
        Column("baseline", group=task_group),
        Column("parameters", group="cost", best="lowest"),
        Column("training", group="cost", best="highest"),
        Column("latency", group="cost", best="lowest"),
    ]
    shown = table(columns, [_family_row(family, metric) for family in families])
    note = "Bold: the better prediction and the best score of a row. Shaded: the best of a column."
    return Markup.joined(shown, paragraph(note, "note under"))


def _family_row(family: Family, metric: str) -> Row:
    name = _name(family)
    quality, task = family.get("quality") or {}, _task(family)
    model, baseline = quality.get("model"), quality.get("baseline")
    right, baseline_right = quality.get("accuracy"), quality.get("baseline_accuracy")
    ahead = is_number(model) and is_number(baseline) and model < baseline
    unit = str(quality.get("unit") or "")
    speed, latency = family.get("tokens_per_second"), family.get("latency_ms")
    return [
        Cell(name, notes=[f"like {family.get('like') or LIKE.get(name, ABSENT)}"], colour=FAMILY_COLOURS.get(name)),
        Cell(
            element("strong" if ahead else "span", number_text(model)),
            notes=[unit, *([f"{percent_text(right)} right"] if right is not None else [])],
        ),
        Cell(
            element("strong" if not ahead else "span", number_text(baseline)),
            notes=[
                quality.get("baseline_name") or "",
                *([f"{percent_text(baseline_right)} right"] if baseline_right is not None else []),
            ],
        ),
        *_task_cells(task, metric_text(metric)),
        Cell(compact_text(family.get("parameters")), family.get("parameters")),
        Cell(compact_text(speed), speed, ["tokens/s"]),
        Cell(milliseconds_text(latency), latency),
    ]


def _task_cells(task: Mapping[str, Any], text: NumberText) -> list[Cell]:
    """Return the scores pretrained, from scratch and of the baseline, the best of them in bold."""
    means, cells = [], []
    for key in ("pretrained", "scratch", "baseline"):
        scores = task.get(key) or {}
        means.append(scores.get("mean", scores.get("score")))
        cells.append(Cell(plus_minus_text(means[-1], scores.get("sd"), text), means[-1]))
    best = max(finite(mean for mean in means if mean is not None), default=None)
    return [
        cell._replace(text=element("strong", cell.text)) if mean == best and is_number(mean) else cell
        for cell, mean in zip(cells, means, strict=True)
    ]


def _task(family: Family) -> Mapping[str, Any]:
    return family.get("task") or {}


def _lead(summary: Mapping[str, Any]) -> str:
    """Return in one sentence what happened."""
    data, machine = summary.get("data") or {}, summary.get("machine") or {}
    families: Sequence[Family] = summary.get("families") or []
    words = {1: "One network", 2: "Two networks", 3: "Three networks"}
    who = words.get(len(families), f"{len(families)} networks")
    size = f" ({bytes_text(data['bytes'])})" if is_number(data.get("bytes")) else ""
    learned = f" on {data['what']}{size}" if data.get("what") else ""
    task = _task(families[0]).get("name") if families else None
    tuned = f", fine-tuned on the task \u201c{task}\u201d, each also from random weights," if task else ""
    seconds = sum(phase.get("seconds") or 0.0 for phase in summary.get("phases") or [])
    cores = machine.get("cores")
    where = f" on {cores} core{'s' if cores != 1 else ''}" if cores else ""
    took = f", in {seconds_text(seconds)}{where}" if seconds else ""
    return f"{who} made of the same block were pretrained for equal time{learned}{tuned} and compared{took}."


def _comparison(families: Sequence[Family]) -> Markup | None:
    """Draw the scores, pretrained and not, and the scores against what they cost."""
    tuned = [family for family in families if _task(family)]
    if not tuned:
        return None
    metric = str(_task(tuned[0]).get("metric") or "score")
    label, text = f"{metric} on test", metric_text(metric)
    rows = [row for family in tuned for row in _task_rows(family)]
    beaten = {str(each.get("name") or "baseline"): each for family in tuned if (each := _task(family).get("baseline"))}
    scores = figure(
        lambda width: interval_chart(rows, title=f"{label} by family", x_label=label, text=text, width=width),
        "Marks: means over seeds. Bands: one standard deviation. Dots: single runs."
        + (f" Baseline: {', '.join(beaten)}." if beaten else ""),
        width=HALF,
    )
    bubbles = [
        Bubble(
            _name(family),
            _float(family.get("latency_ms")),
            _float((_task(family).get("pretrained") or {}).get("mean")),
            family.get("parameters"),
            _colour(family),
        )
        for family in tuned
    ]
    costs = figure(
        lambda width: scatter_chart(
            bubbles,
            title=f"{label} against latency",
            x_label="latency of one row, ms",
            y_label=label,
            y_text=text,
            reference_lines=[ReferenceLine(name, _float(each.get("score"))) for name, each in beaten.items()],
            x_from_zero=True,
            width=width,
            height=320,
        ),
        "Higher is better, further left is faster; areas go by the number of parameters.",
        width=HALF,
    )
    cards = grid(card(scores, heading="What pretraining is worth"), card(costs, heading="What it costs"), pairs=True)
    return section(
        "The comparison", cards, note="Families are ranked on the task only: their losses count different things."
    )


def _task_rows(family: Family) -> list[Interval]:
    """Return the rows of one family: pretrained, from scratch, baseline."""
    task, rows = _task(family), list[Interval]()
    kept, scratch, beaten = (task.get(key) for key in ("pretrained", "scratch", "baseline"))
    for name, scores in (("pretrained", kept), ("from scratch", scratch)):
        if scores:
            mean, single = _float(scores.get("mean")), scores.get("scores") or ()
            rows.append(Interval(_name(family), name, mean, scores.get("sd"), single, _colour(family)))
    if scratch:
        rows[-1] = rows[-1]._replace(mark="hollow")
    if beaten:
        rows.append(Interval(_name(family), "baseline", _float(beaten.get("score")), colour=None, mark="line"))
    return rows


def _curves(families: Sequence[Family]) -> Markup | None:
    cards = []
    for family in families:
        curve = family.get("curve") or {}
        name, colour = _name(family), _colour(family)
        drawn = loss_chart(
            [(x, y) for x, y in curve.get("train") or []],
            [(x, y) for x, y in curve.get("validation") or []],
            curve.get("reference") or {},
            title=f"Loss of the {name}",
            colour=colour,
        )
        cards.append(card(element("figure", drawn), heading=name, note=family.get("preset"), colour=colour))
    if not cards:
        return None
    note = (
        "Loss while pretraining, in nats a predicted token: training faint and smoothed, validation with marks. "
        "Dashed: what needs no network. The three predict different tokens, so compare each with its own lines."
    )
    return section("How they learned", grid(*cards), note=note)


def _examples(families: Sequence[Family]) -> Markup | None:
    spoken = [(family, family.get("examples") or []) for family in families]
    labels = [label for _, said in spoken for each in said for label in each.get("labels") or []]
    styles = label_styles(map(str, labels))
    graded = any(each.get("gold") for _, said in spoken for each in said)
    cards = [
        card(
            *(example_markup(each, styles, _colour(family)) for each in said),
            heading=_name(family),
            note=f"like {family.get('like') or LIKE.get(str(family.get('name')), ABSENT)}",
            colour=_colour(family),
        )
        for family, said in spoken
        if said
    ]
    if not cards:
        return None
    return section(
        "What they say",
        grid(*cards),
        label_legend(styles, wrong=graded),
        note="After minutes of training, networks of this size have learned form before sense.",
    )


def _time_and_settings(summary: Mapping[str, Any]) -> Markup | None:
    phases = [phase for phase in summary.get("phases") or [] if is_number(phase.get("seconds"))]
    bars = [
        Bar(
            _name(phase),
            phase["seconds"],
            phase.get("planned_seconds"),
            _phase_colour(_name(phase)),
        )
        for phase in phases
    ]
    spent = sum(phase["seconds"] for phase in phases)
    planned = sum(phase.get("planned_seconds") or 0.0 for phase in phases)
    cards = []
    if bars:
        caption = (
            f"{seconds_text(spent)} in all, {seconds_text(planned)} planned; thin marks are the plan of each phase."
        )
        drawn = figure(lambda width: bar_chart(bars, title="Time by phase", width=width), caption, width=HALF)
        cards.append(card(drawn, heading="Where the time went"))
    settings = _settings(summary)
    if settings:
        cards.append(card(key_values(settings), heading="Settings"))
    return section("Time and settings", grid(*cards, pairs=True)) if cards else None


def _settings(summary: Mapping[str, Any]) -> dict[str, object]:
    data, machine = summary.get("data") or {}, summary.get("machine") or {}
    settings: dict[str, object] = {}
    if data:
        settings["text"] = data.get("what")
        counts = [("documents", compact_text), ("bytes", bytes_text), ("tokens", compact_text)]
        shown = [(key, text(data[key])) for key, text in counts if is_number(data.get(key))]
        settings["size"] = ", ".join(text if key == "bytes" else f"{text} {key}" for key, text in shown) or None
        if is_number(data.get("vocabulary_size")):
            settings["vocabulary"] = f"{number_text(data['vocabulary_size'])} tokens"
    for family in summary.get("families") or []:
        steps = f", {number_text(family['steps'])} steps" if is_number(family.get("steps")) else ""
        settings[_name(family)] = f"{family.get('preset') or ABSENT}{steps}"
    settings["processor"] = machine.get("processor")
    settings["cores"] = machine.get("cores")
    versions = [
        f"{name} {machine[key]}" for key, name in (("python", "Python"), ("torch", "PyTorch")) if machine.get(key)
    ]
    settings["versions"] = ", ".join(versions) or None
    return settings


def _phase_colour(name: str) -> int | None:
    return next((colour for family, colour in FAMILY_COLOURS.items() if family in name.lower()), None)


def _name(part: Mapping[str, Any]) -> str:
    return str(part.get("name") or ABSENT)


def _colour(family: Family) -> int:
    return FAMILY_COLOURS.get(_name(family), 3)


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
