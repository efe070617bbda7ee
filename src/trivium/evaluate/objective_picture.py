"""A picture of what an objective makes of a row: what is read, what is hidden and asked, and who sees whom.

An SVG that stands alone (no script, no font of its own), light and dark as the reader's system is.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from trivium.core.special import SpecialTokens
from trivium.evaluate.axes import fitted, label, text_width
from trivium.evaluate.markup import Markup, element
from trivium.evaluate.objective_places import Place, Reading, Role, described, places_of, seen_by, source_of
from trivium.evaluate.page import DARK, LIGHT

_ROLES: dict[Role, str] = {
    "text": "a token of the text",
    "special": "begins, ends or parts texts",
    "mask": "stands for what is hidden",
    "random": "hidden: a random token stands there",
    "kept": "chosen, and left as it is",
    "sentinel": "stands for a hidden span",
    "mark": "announces what follows",
}
_HOW_TO_READ = "Rows look, columns are seen; strong: the row is asked."

WIDTH = 900.0
_EDGE, _BETWEEN, _CELL, _SMALL_CELL = 16.0, 28.0, 13.0, 8.0
_BOX, _GAP, _LINE, _NAME = 24.0, 4.0, 17.0, 96.0

_STYLE = (
    f"svg{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}".replace("\n", "")
    + """
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC","PingFang SC","Microsoft YaHei",
sans-serif;fill:var(--ink)}
.h{font-size:14px;font-weight:600}
.s{font-weight:600}
.m{fill:var(--muted)}
.paper{fill:var(--card);stroke:var(--line)}
rect.b{fill:var(--card);stroke:var(--muted);stroke-width:1}
rect.special{fill:var(--tint);stroke:var(--line)}
rect.mask{fill:var(--c0);stroke:var(--c0)}
rect.random{fill:var(--card);stroke:var(--c1);stroke-width:2;stroke-dasharray:4 2}
rect.kept{fill:var(--card);stroke:var(--c4);stroke-width:2}
rect.sentinel{fill:var(--c2);stroke:var(--c2)}
rect.mark{fill:var(--c3);stroke:var(--c3)}
text.mask,text.sentinel,text.mark{fill:var(--card);font-weight:600}
text.special{fill:var(--muted)}
.second{fill:var(--c4);opacity:.3}
.arrow{stroke:var(--c5);stroke-width:1.5;fill:none}
.asked{fill:var(--c5);font-weight:600}
.field{fill:var(--tint)}
.sees{fill:var(--c0);opacity:.38}
.asks{fill:var(--c0)}
.grid{stroke:var(--card);stroke-width:1}
"""
)


def objective_picture(
    readings: Sequence[Reading], names: Callable[[int], str], special: SpecialTokens, *, title: str
) -> Markup:
    """Return the SVG of one or several readings, one below the other.

    Args:
        readings: what is drawn, each with its source where it has one.
        names: of tokens, by id.
        special: the special tokens.
        title: of the picture.
    """
    parts: list[Markup] = []
    told: list[str] = []
    y = _EDGE
    for number, reading in enumerate(readings):
        if number:
            parts.append(element("rect", x=_EDGE, y=y - 14, width=WIDTH - 2 * _EDGE, height=1, class_="field"))
        drawn, y = _panel(reading, names, special, y)
        parts += [*drawn]
        told.append(described(reading, names, special))
        y += _BETWEEN
    height = y - _BETWEEN + _EDGE
    paper = element("rect", x=0.5, y=0.5, width=WIDTH - 1, height=height - 1, rx=10, class_="paper")
    return element(
        "svg",
        element("title", title),
        element("desc", " ".join(told)),
        element("style", Markup(_STYLE)),
        paper,
        "\n",
        Markup("\n".join(parts)),
        "\n",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        width=WIDTH,
        height=height,
        role="img",
    )


def _panel(
    reading: Reading, names: Callable[[int], str], special: SpecialTokens, y: float
) -> tuple[list[Markup], float]:
    """Draw one reading; return it and where it ends."""
    own, source = places_of(reading, names, special), source_of(reading)
    read = [] if source is None else places_of(source, names, special)
    gutter = min(max(text_width(place.name) for place in own) + 8, _NAME)
    needed = max(gutter + _CELL * len(own), gutter + _SMALL_CELL * len(read), text_width(_HOW_TO_READ) - 20)
    right = WIDTH - _EDGE - needed
    room = right - _BETWEEN - _EDGE
    parts = [label(_EDGE, y + 6, reading.heading, kind="h")]
    low = top = y + 30
    if source is not None:
        drawn, low = _strip(source.heading, read, low, room)
        parts += drawn
        low += 10
    drawn, low = _strip(None if source is None else "The decoder reads, and is asked", own, low, room)
    drawn_legend, low = _legend([*read, *own], low + 4, room)
    parts += [*drawn, *drawn_legend]
    about = "Within the decoder's row" if source is not None else "Who sees whom"
    seen = seen_by(reading.batch.layout, reading.batch.layout, reading.row)
    drawn, under = _matrix(about, own, own, seen, (right, top, gutter, _CELL), named=True)
    parts += drawn
    if source is not None:
        seen = seen_by(reading.batch.layout, source.batch.layout, reading.row)
        place = (right, under + 18, gutter, _SMALL_CELL)
        drawn, under = _matrix("What it sees of the encoder's row", own, read, seen, place, named=False)
        parts += drawn
    return parts, max(low, under)


def _strip(heading: str | None, places: list[Place], y: float, room: float) -> tuple[list[Markup], float]:
    """Draw the places in order, each text on lines of its own; return it and where it ends."""
    parts: list[Markup] = []
    if heading is not None:
        parts.append(label(_EDGE, y, heading, kind="s"))
        y += _LINE + 2
    for (document, hidden), run in groupby(places, key=lambda each: (each.document, each.hidden)):
        own = list(run)
        parts += _caption(document, own, y, hidden=hidden)
        y += 0.75 * _LINE
        for line in _lines(own, room):
            y += _LINE * any(each.rank is not None for each in line)
            x = _EDGE
            for each in line:
                parts.append(_box(each, x, y, _width(each)))
                x += _width(each) + _GAP
            y += _BOX + (_LINE + 7) * any(each.asked is not None for each in line) + 6
        y += 8
    return parts, y


def _lines(places: Sequence[Place], room: float) -> list[list[Place]]:
    """Break a text's places into lines that fit the room."""
    lines: list[list[Place]] = [[]]
    used = 0.0
    for each in places:
        used += _width(each) + _GAP
        if lines[-1] and used - _GAP > room:
            lines.append([])
            used = _width(each) + _GAP
        lines[-1].append(each)
    return lines


def _width(place: Place) -> float:
    return max(text_width(place.name) + 9, text_width(place.asked or "") + 2, 22.0)


def _caption(document: int, places: Sequence[Place], y: float, *, hidden: bool) -> list[Markup]:
    """Say which text this is, and what is asked of it as a whole."""
    told = next((each.told for each in places if each.told is not None), None)
    text = f"Text {document + 1}{': places that ask and are not seen' if hidden else ''}"
    parts = [label(_EDGE, y, text, kind="m")]
    if told is not None:
        parts.append(label(_EDGE + text_width(text) + 4, y, told, kind="asked"))
    return parts


def _box(place: Place, x: float, y: float, width: float) -> Markup:
    """Draw a place with its rank above and what is asked below; `y` is the upper edge of its box."""
    middle = x + width / 2
    parts: list[Markup] = []
    if place.second:
        parts.append(element("rect", x=x - 2, y=y - 3, width=width + 4, height=_BOX + 6, class_="second"))
    corner = 12 if place.role in ("sentinel", "mark") else 4
    parts.append(element("rect", x=x, y=y, width=width, height=_BOX, rx=corner, class_=f"b {place.role}"))
    parts.append(label(middle, y + _BOX / 2, place.name, anchor="middle", kind=place.role))
    if place.rank is not None:
        parts.append(label(middle, y - 8, str(place.rank), anchor="middle", kind="m"))
    if place.asked is not None:
        low = y + _BOX
        tip = f"M{middle:g} {low:g}v7m-3 -3l3 3l3 -3"
        parts.append(element("path", d=tip, class_="arrow"))
        parts.append(label(middle, low + 15, place.asked, anchor="middle", kind="asked"))
    return element("g", *parts)


def _legend(places: list[Place], y: float, room: float) -> tuple[list[Markup], float]:
    """Say what the boxes are that there are."""
    present = {place.role for place in places}
    shown = [role for role in _ROLES if role in present]
    parts: list[Markup] = []
    x = _EDGE

    def item(sign: Callable[[float, float], Markup], words: str) -> None:
        nonlocal x, y
        width = 22 + text_width(words) + 10
        if x + width > _EDGE + room and x > _EDGE:
            x, y = _EDGE, y + _LINE + 4
        parts.append(element("g", sign(x, y), label(x + 22, y, words, kind="m")))
        x += width

    for role in shown:
        item(_swatch(role), _ROLES[role])
    if any(place.second for place in places):
        item(lambda x, y: element("rect", x=x, y=y - 7, width=16, height=14, class_="second"), "the pair's second text")
    if any(place.asked is not None for place in places):
        item(
            lambda x, y: element("path", d=f"M{x + 8:g} {y - 6:g}v11m-4 -4l4 4l4 -4", class_="arrow"),
            "asked: what is to be said there",
        )
    if any(place.rank is not None for place in places):
        item(lambda x, y: label(x + 8, y, "7", anchor="middle", kind="m"), "above a token: its rank")
    return parts, y + _LINE


def _swatch(role: Role) -> Callable[[float, float], Markup]:
    corner = 7 if role in ("sentinel", "mark") else 3
    return lambda x, y: element("rect", x=x, y=y - 7, width=16, height=14, rx=corner, class_=f"b {role}")


def _matrix(
    heading: str,
    queries: list[Place],
    keys: list[Place],
    seen: list[list[bool]],
    place: tuple[float, float, float, float],
    *,
    named: bool,
) -> tuple[list[Markup], float]:
    """Draw who sees whom, a row for each place that looks; return it and where it ends.

    Args:
        heading: of the matrix.
        queries, keys: who looks, and who is seen.
        seen: whether, by query and key.
        place: left edge, upper edge, room for names, size of a cell.
        named: with the tokens' names.
    """
    x, y, gutter, cell = place
    parts = [
        label(x, y, heading, kind="s"),
        label(x, y + _LINE, _HOW_TO_READ, kind="m"),
    ]
    left, top = x + gutter, y + 2 * _LINE + (gutter if named else 0)
    width, height = cell * len(keys), cell * len(queries)
    parts.append(element("rect", x=left, y=top, width=width, height=height, class_="field"))
    for number, (query, row) in enumerate(zip(queries, seen, strict=True)):
        kind = "asks" if query.asked is not None or query.told is not None else "sees"
        start = 0
        for sees, run in groupby(row):
            count = len(list(run))
            if sees:
                at = {"x": left + cell * start, "y": top + cell * number}
                parts.append(element("rect", **at, width=cell * count, height=cell, class_=kind))
            start += count
    lines = [f"M{left:g} {top + cell * number:g}h{width:g}" for number in range(1, len(queries))]
    lines += [f"M{left + cell * number:g} {top:g}v{height:g}" for number in range(1, len(keys))]
    parts.append(element("path", d="".join(lines), class_="grid"))
    if named:
        for number, each in enumerate(queries):
            name = fitted(each.name, gutter - 6)
            middle = cell * (number + 0.5)
            parts.append(label(left - 5, top + middle, name, anchor="end"))
            turned = element("text", name, x=5, y=4.2)
            parts.append(element("g", turned, transform=f"translate({left + middle:g} {top:g}) rotate(-90)"))
    return parts, top + height
