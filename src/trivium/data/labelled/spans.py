"""Spans of a text that have a label, whatever tool marked them; those that do not fit the text are listed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trivium.core.errors import DataError
from trivium.data.labelled.checks import check_classes, check_columns, entry, items, kind, offset, shown, string
from trivium.data.labelled.files import json_rows, read_text
from trivium.data.labelled.problems import Labelled, Problem, checked


class Span(NamedTuple):
    """From `start` up to but not including `end`: characters of a text, or words of a sentence; and their label."""

    start: int
    end: int
    label: str


class SpanExample(NamedTuple):
    """A text and its labelled spans, in characters (code points), in the file's order."""

    text: str
    spans: tuple[Span, ...]
    where: str = ""  # it stands: file and line, or item


class NestedExample(NamedTuple):
    """The words of a text and its labelled spans of words, which may lie inside each other and overlap."""

    tokens: tuple[str, ...]
    spans: tuple[Span, ...]  # in words
    spaces: tuple[str, ...] | None = None  # the white space after each word; None = not known, see `text_of`
    where: str = ""  # it stands: file and line
    before: str = ""  # the white space before the first word, which is not read
    lost: tuple[str, ...] = ()  # the labels of the text's right spans that no words say


class Marked(NamedTuple):
    """A span as a file has it: not checked yet, with the text it is said to hold, and its name in the file."""

    span: Span
    surface: str | None
    name: Any = None


def read_spans(path: Path, *, text: str = "text", min_classes: int = 1) -> Labelled[SpanExample]:
    """Read texts with labelled spans, from JSON lines or one JSON list, in whichever of these forms a row is.

    - trivium's: `{"text", "spans": [{"start", "end", "label"}]}`, where a span may also state its `text`;
    - doccano's: `{"text", "label" | "labels": [[start, end, label]]}`, and its newer
      `{"text", "entities": [{"start_offset", "end_offset", "label"}]}`;
    - Label Studio's JSON export: `{"data": {"text"}, "annotations": [{"result": [{"value": {"start", "end", "text",
      "labels"}}]}]}`. Of a task's annotations the first that was not cancelled is read, and a task without one is
      listed as a problem and left out;
    - CLUENER's: `{"text", "label": {label: {surface: [[start, last]]}}}`, the last character inclusive.

    Offsets are code points. A span whose stated text is not there but is by offsets in UTF-16 code units, which some
    tools count in, is read so. Spans outside the text, empty ones and those that hold another text than stated are
    left out and listed.

    Args:
        path: the file, compressed with gzip or not.
        text: the key of the text.
        min_classes: fewer distinct labels than this are an error.

    Raises:
        DataError: what is wrong, with file and line.
    """
    examples: list[SpanExample] = []
    problems: list[Problem] = []
    for where, row in json_rows(path, read_text(path)):
        if is_task(row):
            row = _of_task(row, text, where)
            if "spans" not in row:
                problems.append(Problem(where, "left out: no annotation of this task that was not cancelled."))
                continue
        body = string(entry(row, text, where), f"{where}: `{text}`")
        spans = []
        for marked in marks(row, where):
            found = placed(body, marked, where)
            if isinstance(found, Problem):
                problems.append(found)
            else:
                spans.append(found)
        examples.append(SpanExample(body, tuple(spans), where))
    result = checked(path, examples, problems)
    classes = {span.label for each in examples for span in each.spans}
    if problems and len(classes) < min_classes:
        raise DataError(f"{path}: no usable spans of {min_classes} classes. First: {problems[0]}")
    check_classes(path, classes, len(examples), min_classes)
    return result


def marks(row: dict[str, Any], where: str) -> Iterator[Marked]:
    """Yield the spans of a row as it has them."""
    key = next((each for each in ("spans", "entities", "label", "labels") if each in row), None)
    if key is None:
        check_columns(where, ("spans",), row)
        return
    if key == "label" and isinstance(row[key], dict):
        yield from _of_surfaces(row[key], where)
        return
    for value in items(row, key, where):
        yield mark(value, f"{where}: an entry of `{key}`")


def mark(value: Any, where: str) -> Marked:
    """Return a span from `[start, end, label]` or from an object with these, or with `start_offset`, `end_offset`."""
    if isinstance(value, list):
        if len(value) != 3:
            raise DataError(f"{where} has {len(value)} items; expected start, end and label.")
        start, end, label = value
        return Marked(_span(start, end, label, where), None)
    if not isinstance(value, dict):
        raise DataError(f"{where} is {kind(value)}; expected a span.")
    suffix = "_offset" if "start_offset" in value else ""
    required = (f"start{suffix}", f"end{suffix}", "label")
    check_columns(where, required, value)
    start, end, label = (value[name] for name in required)
    surface = value.get("text")
    stated = None if surface is None else string(surface, f"{where}: `text`")
    return Marked(_span(start, end, label, where), stated, value.get("id"))


def placed(text: str, marked: Marked, where: str) -> Span | Problem:
    """Return where a span is in its text, or what is wrong with it."""
    span, surface = marked.span, marked.surface
    inside = 0 <= span.start < span.end <= len(text)
    if inside and surface in (None, text[span.start : span.end]):
        return span
    if surface is not None:
        units = _code_points(text, span)
        if units is not None and text[units.start : units.end] == surface:
            return units
    name = f"the span {span.start} to {span.end} (`{shown(span.label)}`)"
    if not inside:
        what = "is empty" if span.start == span.end else f"is not inside the text, which has {len(text)} characters"
        return Problem(where, f"left out: {name} {what}.")
    held = shown(text[span.start : span.end])
    return Problem(where, f"left out: {name} holds {held!r}, not {shown(surface or '')!r} as stated.")


def is_task(row: dict[str, Any]) -> bool:
    """Say whether a row is a task of Label Studio's export."""
    return isinstance(row.get("data"), dict) and ("annotations" in row or "completions" in row)


def _of_task(row: dict[str, Any], text: str, where: str) -> dict[str, Any]:
    """Return a Label Studio task in trivium's form, without `spans` when nobody has annotated it."""
    found = {text: entry(row["data"], text, f"{where}: `data`")}
    key = "annotations" if "annotations" in row else "completions"
    for annotation in items(row, key, where):
        results = items(annotation, "result", f"{where}: `{key}`")
        if annotation.get("was_cancelled"):
            continue
        spans = []
        for result in results:
            value = entry(result, "value", f"{where}: `result`")
            # Choices, relations and ratings stand beside the spans.
            if isinstance(value, dict) and "labels" in value and "start" in value:
                place = f"{where}: `value`"
                spans += [{**value, "label": label} for label in items(value, "labels", place)]
        return {**found, "spans": spans}
    return found


def _of_surfaces(labels: dict[str, Any], where: str) -> Iterator[Marked]:
    for label, surfaces in labels.items():
        place = f"{where}: `{shown(label)}`"
        if not isinstance(surfaces, dict):
            raise DataError(f"{place} is {kind(surfaces)}; expected an object of surfaces.")
        for surface in surfaces:
            for pair in items(surfaces, surface, place):
                if not isinstance(pair, list) or len(pair) != 2:
                    raise DataError(f"{place}: expected the first and the last character, found {kind(pair)}.")
                first, last = (offset(each, place) for each in pair)
                yield Marked(Span(first, last + 1, string(label, f"{where}: a label").strip()), surface)


def _span(start: Any, end: Any, label: Any, where: str) -> Span:
    return Span(offset(start, f"{where}: the start"), offset(end, f"{where}: the end"), string(label, where).strip())


def _code_points(text: str, span: Span) -> Span | None:
    """Return a span whose offsets are UTF-16 code units in code points; None when it cuts a character in two."""
    units = text.encode("utf-16-le", "surrogatepass")
    if not 0 <= span.start < span.end <= len(units) // 2:
        return None
    try:
        before, inside = units[: 2 * span.start].decode("utf-16-le"), units[2 * span.start : 2 * span.end]
        return Span(len(before), len(before) + len(inside.decode("utf-16-le")), span.label)
    except UnicodeDecodeError:
        return None
