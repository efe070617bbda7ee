"""Charts as inline SVG from plain data: no library, no script, light and dark through the page's colours.

Colours are numbers: families take 0 (encoder), 1 (decoder) and 2 (encoder-decoder) everywhere; None is neutral. Each
colour has a shape of its own, so that nothing is told by colour alone.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from trivium.evaluate.axes import (
    NARROW,
    NUM_COLOURS,
    WIDE,
    ReferenceLine,
    Scale,
    Tag,
    colour_class,
    drawing,
    finite,
    frame,
    label,
    line,
    linear_scale,
    log_scale,
    marker,
    reference,
    tag_labels,
    tags_width,
    text_width,
    tick_texts,
)
from trivium.evaluate.formatting import NumberText, is_number, number_text, plus_minus_text, seconds_text, short_text
from trivium.evaluate.markup import Markup, element

_MAX_POINTS = 500  # of one line; more cannot be seen and only make the page heavy
_BOLD = 1.2  # times as wide as other type, in the widest fonts

CHART_STYLE = """
.chart{display:block;width:100%;height:auto;color:var(--ink,currentColor);font-family:inherit}
.chart text{font-size:12px;fill:currentColor}
.chart .c-muted{fill:var(--muted,currentColor)}
.chart .c-strong{font-weight:600}
.chart .c-grid{stroke:var(--line,#ddd);stroke-width:1}
.chart .c-base{stroke:var(--muted,#777);stroke-width:1}
.chart .c-reference{stroke:var(--muted,#777);stroke-width:1;stroke-dasharray:4 4}
.chart .c-event{stroke:var(--bad,#b3261e);stroke-width:1.5}
.chart .c-leader{stroke:var(--muted,#777);stroke-width:.75;opacity:.6}
.chart .c-line{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.chart .c-faint{stroke-width:1.5;opacity:.45;stroke-linejoin:round}
.chart .c-spread{stroke-width:6;opacity:.28;stroke-linecap:round}
.chart .c-seed{opacity:.5}
.chart .c-hollow{fill:var(--card,#fff);stroke:currentColor;stroke-width:2}
.chart .c-bubble{fill-opacity:.28;stroke:currentColor;stroke-width:1.5}
.chart .c-behind{fill-opacity:.12;stroke:currentColor;stroke-width:1.25;stroke-dasharray:2 2}
.chart .c-bar{opacity:.75}
.chart .c-none{color:var(--muted,#777)}
""" + "".join(f".c{number}{{color:var(--c{number},currentColor)}}\n" for number in range(NUM_COLOURS))


class Series(NamedTuple):
    """A line: `strong` with a mark at each point, `faint` for what is only the background of another."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = 0
    style: Literal["strong", "faint"] = "strong"


class Event(NamedTuple):
    """Something that happened at a place of the horizontal axis: a tick on it; what it was shows when pointed at."""

    at: float
    what: str


class Interval(NamedTuple):
    """One row of an interval chart: single scores, their mean, and its deviation (None = there is none)."""

    group: str
    name: str
    mean: float
    sd: float | None = None
    scores: Sequence[float] = ()
    colour: int | None = 0
    mark: Literal["filled", "hollow", "line"] = "filled"


class Bar(NamedTuple):
    """One bar, and the mark that was planned for it."""

    name: str
    value: float
    planned: float | None = None
    colour: int | None = None


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    reference_lines: Sequence[ReferenceLine] = (),
    events: Sequence[Event] = (),
    y_text: NumberText = short_text,
    log_x: bool = False,
    width: float = NARROW,
    height: float = 230,
) -> Markup:
    """Draw lines over a common axis, each named at its right end.

    Args:
        series: points in any order; those that are not finite are left out.
        title: what it shows, for those who hear it and when pointed at.
        x_label, y_label: what the axes are, with the unit.
        reference_lines: drawn over the whole width.
        events: ticks on the horizontal axis.
        y_text: how values are written.
        log_x: equal distances are equal factors; there is nothing below 0.
        width, height: pixels.
    """
    shown = [each._replace(points=points) for each in series if (points := _points(each.points))]
    references = [each for each in reference_lines if is_number(each.value)]
    tags = [_end_tag(each, y_text) for each in sorted(shown, key=lambda each: each.style == "faint")]
    tags += [Tag(each.value, each.name, y_text(each.value)) for each in references]
    ys = [y for each in shown for _, y in each.points] + [each.value for each in references]
    vertical = linear_scale(ys, start=height - 42, end=26)
    left = max(map(text_width, tick_texts(vertical, y_text)), default=0.0) + 10
    room = tags_width(tags, width)
    xs = [x for each in shown for x, _ in each.points]
    horizontal = (log_scale if log_x else linear_scale)(xs, start=left, end=width - room, num_ticks=4)
    if xs and min(xs) >= 0:
        horizontal = horizontal._replace(low=max(horizontal.low, 0.0))
    parts = frame(horizontal, vertical, x_label, y_label, y_text=y_text)
    parts += [reference(each, horizontal, vertical) for each in references]
    parts += [_path(each, horizontal, vertical) for each in sorted(shown, key=lambda each: each.style == "strong")]
    parts += [_tick(each, horizontal, vertical) for each in events if xs and is_number(each.at)]
    parts += tag_labels(tags, vertical, x=horizontal.end, width=room)
    said = "; ".join(tag.text for tag in tags) or "no values yet"
    return drawing(
        width, height, title=title, description=f"{y_label} over {x_label}. At the end: {said}.", parts=parts
    )


def interval_chart(
    intervals: Sequence[Interval],
    *,
    title: str,
    x_label: str,
    text: NumberText = number_text,
    width: float = WIDE,
) -> Markup:
    """Draw single scores as dots, their mean as a mark and its deviation as a band, row by row in groups.

    Args:
        intervals: rows in order; neighbours of one group stand under its name.
        title: what it shows.
        x_label: what is measured.
        text: how values are written.
        width: pixels; the height follows from the number of rows.
    """
    values = [value for each in intervals for value in (each.mean, *each.scores)]
    values += [each.mean + sign * (each.sd or 0.0) for each in intervals for sign in (-1, 1)]
    written = [plus_minus_text(each.mean, each.sd, text) for each in intervals]
    left = min(max((text_width(each.name) for each in intervals), default=0.0) + 22, 0.34 * width)
    right = _BOLD * max(map(text_width, written), default=0.0) + 14
    scale = linear_scale(values, start=left, end=max(width - right, left + 40), num_ticks=4 if width < 500 else 6)
    parts: list[Markup] = []
    y, group = 4.0, None
    for each, value in zip(intervals, written, strict=True):
        if each.group != group:
            y += 8.0 if group is not None else 0.0
            parts.append(
                element(
                    "g",
                    label(0, y + 10, each.group, width=width, kind="c-strong"),
                    class_=colour_class(each.colour),
                )
            )
            y, group = y + 24.0, each.group
        parts.append(_interval(each, value, scale, y=y + 10, left=left))
        y += 23.0
    bottom = y + 4
    grid = [line(place, 4, place, bottom, "c-grid") for place in map(scale.place, scale.ticks)]
    names = [
        label(scale.place(tick), bottom + 14, name, anchor="middle", kind="c-muted")
        for tick, name in zip(scale.ticks, tick_texts(scale, text), strict=True)
    ]
    axis = label((scale.start + scale.end) / 2, bottom + 31, x_label, anchor="middle", kind="c-muted")
    said = "; ".join(f"{each.group}, {each.name}: {value}" for each, value in zip(intervals, written, strict=True))
    return drawing(
        width,
        bottom + 42,
        title=title,
        description=f"{x_label}. {said}.",
        parts=[*grid, *parts, *names, axis],
    )


def bar_chart(bars: Sequence[Bar], *, title: str, text: NumberText = seconds_text, width: float = WIDE) -> Markup:
    """Draw horizontal bars with their values, and what was planned as a mark.

    Args:
        bars: in order.
        title: what it shows.
        text: how values are written.
        width: pixels.
    """
    shown = [each for each in bars if is_number(each.value)]
    written = [
        text(each.value) + (f" (planned {text(each.planned)})" if each.planned is not None else "") for each in shown
    ]
    stacked = width < 500  # a narrow chart has no room for names beside the bars
    left = 0.0 if stacked else min(max((text_width(each.name) for each in shown), default=0.0) + 12, 0.36 * width)
    right = max(map(text_width, written), default=0.0) + 14
    values = [value for each in shown for value in (each.value, each.planned or 0.0)]
    scale = linear_scale(values, start=left, end=max(width - right, left + 20), include_zero=True)
    parts: list[Markup] = []
    y = 6.0
    for each, value in zip(shown, written, strict=True):
        if stacked:
            parts.append(label(0, y + 6, each.name, width=width))
            y += 18
        else:
            parts.append(label(left - 10, y + 8, each.name, width=left - 10, anchor="end"))
        parts += _bar(each, value, scale, y=y)
        y += 26
    said = "; ".join(f"{each.name}: {value}" for each, value in zip(shown, written, strict=True))
    return drawing(width, y + 4, title=title, description=f"{said}.", parts=parts)


def _bar(bar: Bar, written: str, scale: Scale, *, y: float) -> list[Markup]:
    """Draw one bar, the mark of its plan, and its value."""
    end = scale.place(max(bar.value, 0.0))
    size = max(end - scale.start, 1.0)
    shape = element("rect", x=scale.start, y=y, width=size, height=16, rx=2, fill="currentColor", class_="c-bar")
    parts = [element("g", shape, class_=colour_class(bar.colour))]
    if bar.planned is not None and is_number(bar.planned):
        planned = scale.place(bar.planned)
        end = max(end, planned)
        parts.append(line(planned, y - 3, planned, y + 19, "c-base"))
    return [*parts, label(end + 8, y + 8, written, kind="c-muted")]


def _interval(row: Interval, written: str, scale: Scale, *, y: float, left: float) -> Markup:
    """Draw one row of an interval chart."""
    hint = f"{row.group}, {row.name}: {written}"
    parts = [label(10, y, row.name, width=left - 20, kind="c-muted")]
    dots = finite(row.scores)
    if is_number(row.mean):
        x, sd = scale.place(row.mean), row.sd or 0.0
        if is_number(sd) and sd > 0:
            parts.append(line(scale.place(row.mean - sd), y, scale.place(row.mean + sd), y, "c-spread"))
        if len(dots) > 1:
            parts += [
                element("circle", cx=scale.place(dot), cy=y, r=2.5, fill="currentColor", class_="c-seed")
                for dot in dots
            ]
        if row.mark == "line":
            parts.append(
                element(
                    "line",
                    element("title", hint),
                    x1=x,
                    y1=y - 8,
                    x2=x,
                    y2=y + 8,
                    stroke="currentColor",
                    stroke_width=2.5,
                )
            )
        else:
            kind = "c-hollow" if row.mark == "hollow" else "c-full"
            parts.append(marker(x, y, shape=row.colour or 0, size=5.0, kind=kind, hint=hint))
    parts.append(label(scale.end + 12, y, written, kind="c-strong" if row.mark == "filled" else "c-muted"))
    return element("g", *parts, class_=colour_class(row.colour))


def _end_tag(series: Series, text: NumberText) -> Tag:
    """Return the name of a line with its last value."""
    last = series.points[-1][1]
    strong = series.style == "strong"
    kind, colour = ("c-strong", series.colour) if strong else ("c-muted", None)
    return Tag(last, series.name, text(last), kind, colour)


def _tick(event: Event, horizontal: Scale, vertical: Scale) -> Markup:
    """Draw an event as a tick that stands on the axis."""
    x, y = horizontal.place(event.at), vertical.start
    return element("line", element("title", event.what), x1=x, y1=y - 12, x2=x, y2=y, class_="c-event")


def _path(series: Series, horizontal: Scale, vertical: Scale) -> Markup:
    """Draw one line, with its marks when it is a strong one."""
    places = [(horizontal.place(x), vertical.place(y)) for x, y in series.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    strong = series.style == "strong"
    drawn = element("path", d=path, fill="none", stroke="currentColor", class_="c-line" if strong else "c-faint")
    marks = [
        marker(
            x,
            y,
            shape=series.colour or 0,
            size=3.0,
            hint=f"{series.name} at {number_text(at)}: {number_text(value)}",
        )
        for (x, y), (at, value) in zip(places, series.points, strict=True)
        if (strong and len(places) <= 40) or len(places) == 1
    ]
    return element("g", drawn, *marks, class_=colour_class(series.colour))


def _points(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the finite points in order of x, thinned evenly when they are too many; first and last stay."""
    kept = sorted((float(x), float(y)) for x, y in points if is_number(x) and is_number(y))
    if len(kept) <= _MAX_POINTS:
        return kept
    return [kept[number * (len(kept) - 1) // (_MAX_POINTS - 1)] for number in range(_MAX_POINTS)]
