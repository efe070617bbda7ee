"""What every chart stands on: scales with ticks at nice numbers, and labels that do not lie on each other."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from trivium.evaluate.formatting import NumberText, compact_text, is_number, number_text, percent_text, short_text
from trivium.evaluate.markup import Markup, element

TEXT_SIZE = 12.0  # px; nothing in a chart is smaller
LINE_HEIGHT = 16.0
NUM_COLOURS = 6
NARROW, THIRD, HALF, WIDE = 340, 300, 480, 720  # px: what a phone shows, and parts of a page
_NARROW, _WIDE = set("iljtfrI.,:;'|!()[] /\u00a0"), set("mwMW@%\u2013")


class ReferenceLine(NamedTuple):
    """A value that says what is normal, as a dashed horizontal line with its name."""

    name: str
    value: float


class Tag(NamedTuple):
    """A name at the right border of a chart, beside the value that it belongs to; `written` follows the name."""

    value: float
    name: str
    written: str = ""
    kind: str = "c-muted"
    colour: int | None = None

    @property
    def text(self) -> str:
        """Name and value."""
        return f"{self.name} {self.written}".rstrip()


class Scale(NamedTuple):
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Return the pixel of a value; what lies outside is set on the border."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        share = (value - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def linear_scale(
    values: Iterable[float],
    *,
    start: float,
    end: float,
    num_ticks: int = 5,
    include_zero: bool = False,
    room: float = 0.05,
) -> Scale:
    """Return a scale that holds all finite values with a little room; ticks stand at nice numbers inside it.

    Args:
        values: what is shown; none at all gives 0 to 1.
        start, end: pixels.
        num_ticks: about how many.
        include_zero: begin at exactly zero (no value is less).
        room: left free at both ends, as a share of the values' range.
    """
    shown = finite(values) + [0.0] * include_zero
    low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
    same = high - low <= 1e-9 * max(abs(low), abs(high), 1e-300)
    free = (0.05 * max(abs(low), abs(high)) or 0.5) if same else room * (high - low)
    low, high = (low if include_zero else low - free), high + free
    step = _nice_step((high - low) / num_ticks)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Scale(low, high, start, end, ticks)


def log_scale(values: Iterable[float], *, start: float, end: float, num_ticks: int = 5) -> Scale:
    """Return a logarithmic scale that holds all positive finite values; ticks are 1, 2 and 5 times powers of ten."""
    shown = [value for value in finite(values) if value > 1e-150]
    low, high = (min(shown), max(shown)) if shown else (1.0, 10.0)
    room = max((high / low) ** 0.08, 1.15)
    low, high = low / room, high * room
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= num_ticks + 1:
            break
    if len(ticks) < 2:  # less than a factor of two or three: nice numbers of the ordinary kind
        within = linear_scale((low, high), start=start, end=end, num_ticks=num_ticks).ticks
        ticks = [tick for tick in within if low <= tick <= high]
    ticks = ticks[:: -(-len(ticks) // (num_ticks + 1))]
    return Scale(low, high, start, end, tuple(ticks), log=True)


def finite(values: Iterable[float]) -> list[float]:
    """Return the finite numbers among the values."""
    return [float(value) for value in values if is_number(value)]


def tick_texts(scale: Scale, text: NumberText | None = None) -> list[str]:
    """Return the ticks' labels, with as many decimals as tell them apart; `text` is how single values are written."""
    percent, plain = text is percent_text, text in (None, number_text, short_text, percent_text)
    ticks = [100 * tick for tick in scale.ticks] if percent else list(scale.ticks)
    if not plain and text is not None:
        return [text(tick) for tick in ticks]
    texts = [compact_text(tick) if abs(tick) >= 1 or not tick else f"{tick:.2g}" for tick in ticks]
    largest = max(map(abs, ticks), default=0.0)
    if not scale.log and len(ticks) > 1 and (largest < 10_000 or len(set(texts)) < len(texts)):
        step = math.log10(ticks[1] - ticks[0]) + 1e-9
        decimals, digits = max(0, -math.floor(step)), math.ceil(math.log10(largest) - step) + 1
        texts = [f"{tick:,.{decimals}f}" if decimals <= 5 else f"{tick:.{digits}g}" for tick in ticks]
    return [each.replace("-", "\u2212", 1) + "\u00a0%" * percent for each in texts]


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Return about how wide a text is in pixels, rather too wide than too narrow: no font is measured."""
    width = 0.0
    for character in text:
        if unicodedata.east_asian_width(character) in "WF":
            width += 1.0
        elif character in _NARROW:
            width += 0.36
        elif character in _WIDE:
            width += 0.95
        else:
            width += 0.7 if character.isupper() else 0.6
    return width * size


def fitted(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """Return the text, cut with an ellipsis when it is wider than `width` pixels."""
    if text_width(text, size) <= width:
        return text
    kept = text[: max(int(width / (0.3 * size)), 0)]  # no letter is narrower: long texts are not measured often
    while kept and text_width(kept + "\u2026", size) > width:
        kept = kept[:-1]
    return kept.rstrip() + "\u2026"


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Return places at least `gap` apart and as near as possible (least squares) to those wanted.

    Args:
        wanted: places in any order.
        gap: least distance between neighbours.
        low, high: the room there is; when it cannot hold all of them they run on beyond `high`.
    """
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    blocks: list[tuple[float, int]] = []  # places minus what the gaps take: mean and number of those pushed together
    for rank, number in enumerate(order):
        mean, count = wanted[number] - rank * gap, 1
        while blocks and blocks[-1][0] >= mean:
            before, members = blocks.pop()
            mean, count = (before * members + mean * count) / (members + count), members + count
        blocks.append((mean, count))
    top = max(high - (len(wanted) - 1) * gap, low)
    means = [min(max(mean, low), top) for mean, count in blocks for _ in range(count)]
    places = [0.0] * len(wanted)
    for rank, number in enumerate(order):
        places[number] = means[rank] + rank * gap
    return places


def label(
    x: float,
    y: float,
    text: str,
    *,
    width: float | None = None,
    anchor: str = "start",
    kind: str = "c-text",
    whole: str | None = None,
) -> Markup:
    """Return a text whose middle line is at `y`; one that is cut to `width` shows the `whole` when pointed at."""
    shown, whole = text if width is None else fitted(text, width), whole or text
    hint = element("title", whole) if shown != whole else None
    return element("text", hint, shown, x=x, y=y + 0.35 * TEXT_SIZE, text_anchor=anchor, class_=kind)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", class_=kind)


def marker(x: float, y: float, *, shape: int, size: float = 4.0, kind: str = "", hint: str = "") -> Markup:
    """Return a mark: shape 0 circle, 1 square, 2 triangle, 3 diamond, then again; `hint` shows when pointed at."""
    title = element("title", hint) if hint else None
    if shape % 4 == 0:
        return element("circle", title, cx=x, cy=y, r=size, fill="currentColor", class_=kind)
    corners = {
        1: ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
        2: ((0.0, -1.15), (1.1, 0.8), (-1.1, 0.8)),
        3: ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    }[shape % 4]
    points = " ".join(f"{x + dx * size:.2f},{y + dy * size:.2f}" for dx, dy in corners)
    return element("polygon", title, points=points, fill="currentColor", class_=kind)


def drawing(width: float, height: float, *, title: str, description: str, parts: Sequence[Markup]) -> Markup:
    """Return the SVG of a chart, which grows a little with its place; the description is for those who hear it."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *parts,
        class_="chart",
        viewBox=f"0 0 {width:g} {height:g}",
        style=f"max-width:{1.2 * width:.0f}px",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )


def colour_class(colour: int | None) -> str:
    """Return the class that gives a drawing its colour; None is neutral."""
    return "c-none" if colour is None else f"c{colour % NUM_COLOURS}"


def frame(
    horizontal: Scale,
    vertical: Scale,
    x_label: str,
    y_label: str,
    *,
    x_text: NumberText | None = None,
    y_text: NumberText | None = None,
) -> list[Markup]:
    """Draw the axes of a chart: grid and ticks, the horizontal axis' name below, the vertical one's above."""
    left, right, bottom = horizontal.start, horizontal.end, vertical.start
    parts: list[Markup] = []
    for tick, name in zip(vertical.ticks, tick_texts(vertical, y_text), strict=True):
        y = vertical.place(tick)
        parts.append(line(left, y, right, y, "c-grid"))
        parts.append(label(left - 6, y, name, anchor="end", kind="c-muted"))
    parts.append(line(left, bottom, right, bottom, "c-base"))
    for tick, name in zip(horizontal.ticks, tick_texts(horizontal, x_text), strict=True):
        x = horizontal.place(tick)
        parts.append(line(x, bottom, x, bottom + 4, "c-base"))
        parts.append(label(x, bottom + 13, name, anchor="middle", kind="c-muted"))
    parts.append(label((left + right) / 2, bottom + 31, x_label, anchor="middle", kind="c-muted"))
    parts.append(label(0, 8, y_label, width=right, kind="c-muted"))
    return parts


def reference(each: ReferenceLine, horizontal: Scale, vertical: Scale) -> Markup:
    """Draw a dashed line over the whole width."""
    y = vertical.place(each.value)
    return line(horizontal.start, y, horizontal.end, y, "c-reference")


def tags_width(tags: Sequence[Tag], width: float) -> float:
    """Return the room at the right border that the tags of a chart `width` pixels wide take."""
    # A tenth more for what is written in bold.
    widths = (text_width(tag.text) * (1.1 if tag.kind == "c-strong" else 1.0) for tag in tags)
    return min(max(widths, default=0.0) + 18, 0.45 * width)


def tag_labels(tags: Sequence[Tag], vertical: Scale, *, x: float, width: float) -> list[Markup]:
    """Write the tags at the right of `x`, moved apart where they would lie on each other; what does not fit is counted.

    Args:
        tags: names with their values, the most important first.
        vertical: the axis of the values.
        x: where the drawn area ends.
        width: of the room there is.
    """
    low, high = vertical.end - 8, vertical.start + 4
    capacity = max(int((high - low) / LINE_HEIGHT) + 1, 1)
    shown = list(tags)
    if len(tags) > capacity:
        more = f"and {len(tags) - capacity + 1} more"
        shown = [*tags[: capacity - 1], Tag(vertical.low, more)]
    wanted = [vertical.place(tag.value) for tag in shown]
    places = spread(wanted, gap=LINE_HEIGHT, low=low, high=high)
    parts: list[Markup] = []
    for tag, want, y in zip(shown, wanted, places, strict=True):
        cut = fitted(tag.name, width - 14 - text_width(f" {tag.written}".rstrip()))
        name = label(x + 12, y, tag._replace(name=cut).text, kind=tag.kind, whole=tag.text)
        colour = colour_class(tag.colour) if tag.colour is not None else None
        parts.append(element("g", line(x + 2, want, x + 9, y, "c-leader"), name, class_=colour))
    return parts


def _nice_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    for factor in (1.0, 2.0, 5.0):
        if step <= factor * power * (1 + 1e-9):
            return factor * power
    return 10.0 * power
