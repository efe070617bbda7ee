"""How a fine-tuned model does class by class: scores, what it takes for what, its worst mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.evaluate.formatting import NumberText, is_number, metric_text, number_text, percent_text, short_text
from trivium.evaluate.markup import Markup
from trivium.evaluate.page import Cell, Column, heat_cell, section, table
from trivium.evaluate.run_files import metrics_of, scored_split
from trivium.evaluate.run_files import table as subtree

_MAX_SCORED = 200  # classes in rows of their own
_MAX_CLASSES, _MAX_MISTAKES, _MAX_TEXT = 24, 30, 400
_BY_CLASS = ("per_class", "by_label", "by_class")


def tuned_sections(results: Mapping[str, Any]) -> list[Markup | None]:
    """Return the sections for what the results hold: each is None when they do not hold it."""
    return [_balance(results), _by_class(results), _confusion(results), _mistakes(results)]


def _balance(results: Mapping[str, Any]) -> Markup | None:
    """Show how many answers there are of each class, the most frequent of training first."""
    splits = {
        name: metrics_of(found) for name, found in subtree(results, "balance").items() if isinstance(found, Mapping)
    }
    totals = {name: sum(counts.values()) for name, counts in splits.items() if counts}
    classes = list(dict.fromkeys(label for name in totals for label in splits[name]))
    if not classes:
        return None
    rows = []
    for label in classes[:_MAX_CLASSES]:
        shares = {name: splits[name].get(label, 0.0) / max(total, 1) for name, total in totals.items()}
        cells = [
            Cell(heat_cell(number_text(splits[name].get(label, 0)), share), notes=[percent_text(share)])
            for name, share in shares.items()
        ]
        rows.append([Cell(label), *cells])
    note = "How many answers there are of each class; the darker, the larger the share."
    if len(classes) > _MAX_CLASSES:
        note += f" The {_MAX_CLASSES} most frequent of {number_text(len(classes))}."
    columns = [Column("class", numeric=False), *map(Column, totals)]
    return section("What there is of each class", table(columns, rows), note=note)


def _by_class(results: Mapping[str, Any]) -> Markup | None:
    classes = next((found for key in _BY_CLASS if (found := _found(results, key))), None)
    if not isinstance(classes, Mapping) or not all(isinstance(scores, Mapping) for scores in classes.values()):
        return None
    metrics = list(dict.fromkeys(name for scores in classes.values() for name in scores))
    columns = [Column("class", numeric=False), *(Column(name.replace("_", " ")) for name in metrics)]
    order = sorted(classes, key=lambda name: -(classes[name].get("count") or classes[name].get("support") or 0))
    order, note = order[:_MAX_SCORED], None
    if len(classes) > len(order):
        note = f"The {len(order)} most frequent of {number_text(len(classes))} classes."
    rows = [[Cell(name), *(_score(classes[name].get(metric), metric) for metric in metrics)] for name in order]
    return section(f"Class by class, on {scored_split(results)}", table(columns, rows), note=note)


def _confusion(results: Mapping[str, Any]) -> Markup | None:
    """Show how often each class was given for each right one, the most frequent classes first."""
    found = _found(results, "confusion")
    labels = subtree({"found": found}, "found").get("labels") or results.get("labels")
    counts = found.get("counts") if isinstance(found, Mapping) else found
    if not isinstance(labels, Sequence) or not isinstance(counts, Sequence) or len(labels) != len(counts) or not labels:
        return None
    if any(not isinstance(row, Sequence) or len(row) != len(labels) or not all(map(is_number, row)) for row in counts):
        return None
    totals = [sum(row) for row in counts]
    order = sorted(range(len(labels)), key=lambda number: -totals[number])[:_MAX_CLASSES]
    rows = [
        [
            Cell(labels[right]),
            *(
                Cell(heat_cell(number_text(counts[right][given]) if counts[right][given] else "\u00b7", share))
                for given in order
                for share in [counts[right][given] / max(totals[right], 1)]
            ),
        ]
        for right in order
    ]
    columns = [Column("right \\ given", numeric=False), *(Column(str(labels[number])) for number in order)]
    note = "Rows are the right classes, columns what was given; the darker, the larger the share of the row."
    if len(labels) > len(order):
        note += f" The {len(order)} most frequent of {len(labels)} classes."
    return section(f"What it takes for what, on {scored_split(results)}", table(columns, rows), note=note)


def _mistakes(results: Mapping[str, Any]) -> Markup | None:
    mistakes = _found(results, "mistakes") or _found(results, "worst_mistakes")
    if not isinstance(mistakes, Sequence) or not all(isinstance(each, Mapping) for each in mistakes) or not mistakes:
        return None
    mistakes = mistakes[:_MAX_MISTAKES]
    known = [name for name in _HOW_BAD if any(is_number(each.get(name)) for each in mistakes)]
    columns = [Column("right", numeric=False), Column("given", numeric=False)]
    columns += [*(Column(_HOW_BAD[name][0]) for name in known), Column("text", numeric=False)]
    rows = []
    for each in mistakes:
        text = each.get("text") or " ".join(map(str, each.get("tokens") or []))
        right, given = (next((each[key] for key in keys if key in each), "") for keys in (_RIGHT, _GIVEN))
        shown = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "\u2026"
        how_bad = [Cell(_HOW_BAD[name][1](each.get(name)), each.get(name)) for name in known]
        rows.append([Cell(right), Cell(given), *how_bad, Cell(shown)])
    return section(f"Its worst mistakes, on {scored_split(results)}", table(columns, rows))


_HOW_BAD: dict[str, tuple[str, NumberText]] = {
    "probability": ("sure of it", percent_text),
    "error": ("off by", short_text),
    "rouge_l": ("ROUGE-L", metric_text("rouge_l")),
}
_RIGHT, _GIVEN = ("gold", "right", "label"), ("predicted", "given", "answer")


def _found(results: Mapping[str, Any], key: str) -> Any:
    """Return what is under a key of the results, or of those on test or valid."""
    return results.get(key) or subtree(results, "test").get(key) or subtree(results, "valid").get(key)


def _score(value: object, metric: str) -> Cell:
    return Cell(metric_text(metric)(value), value) if is_number(value) else Cell("")
