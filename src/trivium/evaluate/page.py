"""One self-contained HTML page: its style, and the parts that reports are put together from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from trivium.evaluate.axes import NARROW, WIDE
from trivium.evaluate.charts import CHART_STYLE
from trivium.evaluate.formatting import is_number, number_text
from trivium.evaluate.markup import Markup, element, escaped

LIGHT = """--paper:#faf9f6;--card:#fff;--ink:#1d2126;--muted:#646a72;--line:#e3e0d8;--tint:#f1efe9;
--c0:#0b69a8;--c1:#b54d08;--c2:#08755a;--c3:#7748b0;--c4:#846400;--c5:#a8326a;--good:#e3f1ea;--bad:#b3261e"""
DARK = """--paper:#15171a;--card:#1c1f23;--ink:#e7e5e0;--muted:#a0a4ab;--line:#32363c;--tint:#22262b;
--c0:#6bb7ea;--c1:#f0995e;--c2:#55c7a0;--c3:#bd9bea;--c4:#d8b64a;--c5:#ee8cb8;--good:#1f3a30;--bad:#ff8a80"""

STYLE = (
    f":root{{color-scheme:light dark;{LIGHT}}}\n@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}"
    + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Noto Sans",Arial,sans-serif;overflow-wrap:break-word}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:56px}
.overline{margin:0 0 12px;font-size:13px;letter-spacing:.08em;text-transform:uppercase;color:var(--muted)}
h1,h2{font-family:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,"Noto Serif",serif;
font-weight:600;line-height:1.2;text-wrap:balance}
h1{font-size:clamp(30px,5vw,44px);margin:0 0 16px;letter-spacing:-.01em}
h2{font-size:26px;margin:0 0 18px}
h3{font-size:15px;font-weight:600;margin:0 0 10px}
p{margin:0 0 12px;max-width:72ch;text-wrap:pretty}
.lead{font-size:19px;line-height:1.55;color:var(--ink);max-width:66ch}
.note,figcaption,small{color:var(--muted);font-size:14px}
section{margin:64px 0 0}
section>.note{margin:-12px 0 20px}
footer{margin-top:72px;padding-top:20px;padding-bottom:40px;color:var(--muted);font-size:14px}
footer p{border-top:1px solid var(--line);padding-top:16px;max-width:none}
a{color:inherit}
.verdict{list-style:none;margin:24px 0 0;padding:0}
.verdict{display:grid;gap:8px 32px;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}
.verdict li{padding:1px 0 1px 16px;border-left:3px solid var(--line);font-size:15px;line-height:1.5;text-wrap:pretty}
.verdict li:first-child{grid-column:1/-1;border-color:var(--ink);font-size:17px;font-weight:600}
.grid{display:grid;gap:24px;grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr))}
.grid+.grid{margin-top:24px}
.pairs{grid-template-columns:repeat(auto-fit,minmax(min(100%,470px),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px;min-width:0}
.card>:last-child,.card figure:last-child{margin-bottom:0}
.card h3 small{font-weight:400;margin-left:6px}
figure{margin:0;min-width:0}
figcaption{margin-top:10px;line-height:1.5}
.for-narrow{display:none}
.under{margin-top:10px}
.scroll{overflow-x:auto;margin:24px 0 0;background:var(--card);border:1px solid var(--line);border-radius:10px}
.card .scroll{margin:0;border:0;border-radius:0}
table{border-collapse:collapse;width:100%;font-size:15px;line-height:1.4;font-variant-numeric:tabular-nums}
th,td{padding:10px 14px;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
thead th{border-top:0;font-weight:500;font-size:13px;color:var(--muted);vertical-align:bottom;line-height:1.35}
thead tr+tr th{padding-top:2px}
thead .group{text-align:center;color:var(--ink);padding-bottom:0}
thead .group:not(:empty)::after{content:"";display:block;border-bottom:1px solid var(--line);margin-top:6px}
tbody th{font-weight:600;min-width:6.5em}
td.number,th.number{text-align:right;white-space:nowrap}
td small,th small{display:block;font-weight:400;font-size:13px;white-space:nowrap}
td.best .mark{background:var(--good);border-radius:5px;padding:2px 6px;margin:-2px -6px}
td.prose{min-width:16em;overflow-wrap:anywhere}
tr.quiet :is(th,td){color:var(--muted);font-weight:400}
.dot{display:inline-block;width:9px;height:9px;border-radius:50%;background:currentColor;margin-right:8px}
pre,code{font-family:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13.5px}
pre{margin:0 0 12px;padding:14px 16px;background:var(--tint);border-radius:8px;overflow-x:auto;line-height:1.65;
max-width:100%}
pre.wrap{white-space:pre-wrap;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:minmax(7em,max-content) 1fr;gap:6px 20px;margin:0;font-size:15px}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
details{margin:16px 0 0}
summary{cursor:pointer;color:var(--muted);font-size:14px;margin-bottom:10px}
.meter{display:grid;grid-template-columns:minmax(0,max-content) 1fr max-content;gap:4px 12px;align-items:center;
margin:0 0 12px;font-size:14px}
.meter code{overflow-wrap:anywhere}
.meter .bar{height:8px;border-radius:4px;background:var(--tint);overflow:hidden}
.meter .bar span{display:block;height:100%;background:currentColor;opacity:.7;border-radius:4px}
.meter .value{color:var(--muted);text-align:right;font-variant-numeric:tabular-nums}
.blank{background:color-mix(in srgb,currentColor 14%,transparent);border-radius:4px;padding:1px 5px}
.said{font-weight:600}
.heat{display:inline-block;min-width:3.2em;padding:2px 8px;margin:-2px -8px;border-radius:5px;
background:color-mix(in srgb,var(--c0) calc(var(--share)*55%),transparent)}
.code{font-size:14px;line-height:2}
.role{text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:4px}
.u1{text-decoration-style:dashed}
.u2{text-decoration-style:double}
.u3{text-decoration-style:dotted}
.wrong{background:color-mix(in srgb,var(--bad) 18%,transparent);border-radius:3px}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;margin:16px 0 0;padding:0;list-style:none;font-size:14px}
.example+.example{margin-top:20px;padding-top:18px;border-top:1px solid var(--line)}
.what{margin:0 0 8px;font-size:13px;color:var(--muted)}
@media(max-width:760px){
main,header,footer{padding-left:16px;padding-right:16px}
header{padding-top:32px}
.lead{font-size:17px}
section{margin-top:48px}
.card{padding:16px 14px}
.for-wide{display:none}
.for-narrow{display:block}
table{font-size:14px}
th,td{padding:8px 10px}
.scroll th:first-child{position:sticky;left:0;background:var(--card)}
dl{grid-template-columns:1fr;gap:0}
dd{margin-bottom:8px}
}
@media print{body{background:#fff}.card,.scroll,section>h2{break-inside:avoid}}
"""
    + CHART_STYLE
)


class Column(NamedTuple):
    """A column of a table; `group` heads neighbouring columns, `best` says which of its values is marked."""

    heading: str
    note: str = ""
    group: str = ""
    numeric: bool = True
    best: Literal["highest", "lowest"] | None = None


class Cell(NamedTuple):
    """What stands in a table: the text, the number it is (for the best of its column), smaller lines under it."""

    text: object
    value: float | None = None
    notes: Sequence[object] = ()
    colour: int | None = None


Row = Sequence[Cell | str | float | None]


def page(*, title: str, overline: str, opening: Sequence[Markup], content: Sequence[Markup], footer: object) -> str:
    """Return a whole page that needs nothing but itself.

    Args:
        title: heading, and name of the page.
        overline: a few words above the heading.
        opening: what stands right under the heading.
        content: sections.
        footer: one line at the end.
    """
    head = Markup(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
    )
    top = element("header", element("p", overline, class_="overline"), element("h1", title), *opening)
    body = [top, element("main", *content), element("footer", element("p", footer))]
    document = element(
        "html",
        element("head", head, element("title", title), element("style", Markup(STYLE))),
        "\n",
        element("body", Markup("\n".join(body))),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{document}\n"


def section(heading: str, *content: Markup | None, note: object = None) -> Markup:
    """Return a section; the note under its heading says how to read it."""
    under = None if note is None else element("p", note, class_="note")
    return element("section", element("h2", heading), under, *content)


def paragraph(text: object, kind: str | None = None) -> Markup:
    """Return a paragraph, of the class `kind`: lead, note."""
    return element("p", text, class_=kind)


def statements(lines: Sequence[object]) -> Markup | None:
    """Return the list of what was found, the first statement in bold; None when nothing was.

    What stands in `backquotes` is written as code.
    """
    return element("ul", *(element("li", _with_code(line)) for line in lines), class_="verdict") if lines else None


def grid(*cards: Markup, pairs: bool = False) -> Markup:
    """Return cards side by side, as many as fit; in pairs, two wide ones."""
    return element("div", *cards, class_="grid pairs" if pairs else "grid")


def card(*content: Markup | None, heading: object = None, note: object = None, colour: int | None = None) -> Markup:
    """Return a card; with a colour, its heading has a dot of that colour."""
    dot = None if colour is None else element("span", class_=f"dot c{colour}")
    small = None if note is None else element("small", note)
    top = None if heading is None else element("h3", dot, heading, small)
    return element("div", top, *content, class_="card")


def figure(draw: Callable[[float], Markup], caption: object = None, *, width: float = WIDE) -> Markup:
    """Return a chart with its caption, drawn once for wide and once for narrow screens.

    Args:
        draw: gives the chart of a width in pixels.
        caption: how to read it.
        width: on wide screens.
    """
    below = None if caption is None else element("figcaption", caption)
    if width <= NARROW:
        return element("figure", draw(width), below)
    wide, narrow = (
        element("div", draw(size), class_=f"for-{kind}") for size, kind in ((width, "wide"), (NARROW, "narrow"))
    )
    return element("figure", wide, narrow, below)


def table(columns: Sequence[Column], rows: Sequence[Row], *, quiet: Sequence[int] = ()) -> Markup:
    """Return a table that scrolls within itself; the first column names the rows, numbers stand at the right.

    Args:
        columns: headings; the best values of a column that has one are marked.
        rows: as many cells each as there are columns.
        quiet: numbers of the rows that are there for comparison only (baselines); none of their values is marked.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    best = [
        _best([row[place].value for number, row in enumerate(cells) if number not in quiet], column.best)
        for place, column in enumerate(columns)
    ]
    body = []
    for number, row in enumerate(cells):
        written = [
            _written(
                cell,
                column,
                first=place == 0,
                best=number not in quiet and cell.value is not None and cell.value == best[place],
            )
            for place, (cell, column) in enumerate(zip(row, columns, strict=True))
        ]
        body.append(element("tr", *written, class_="quiet" if number in quiet else None))
    return element("div", element("table", _heading(columns), element("tbody", *body)), class_="scroll", tabindex=0)


def code_block(text: object, *, wrap: bool = False) -> Markup:
    """Return text in a fixed-width type as it is; `wrap` breaks long lines instead of scrolling."""
    return element("pre", element("code", text), class_="wrap" if wrap else None)


def key_values(pairs: Mapping[str, object]) -> Markup:
    """Return names with their values; those that are None are left out."""
    parts = [element("dt", name) + element("dd", value) for name, value in pairs.items() if value is not None]
    return element("dl", *map(Markup, parts))


def folded(summary: str, *content: Markup) -> Markup:
    """Return content that is shown when its summary is pressed."""
    return element("details", element("summary", summary), *content)


def meters(values: Sequence[tuple[object, float | None]], text: Callable[[float], str], colour: int) -> Markup:
    """Return names with bars from 0 to 1 and the values; without a value, the name alone."""
    parts = []
    for name, value in values:
        known = value if value is not None and is_number(value) else None
        share = min(max(known or 0.0, 0.0), 1.0)
        bar = (
            element("span", class_="bar")
            if known is None
            else element("span", element("span", style=f"width:{100 * share:.1f}%"), class_="bar")
        )
        shown = "" if known is None else text(known)
        parts.append(Markup.joined(element("code", name), bar, element("span", shown, class_="value")))
    return element("div", *parts, class_=f"meter c{colour}")


def heat_cell(text: object, share: float) -> Markup:
    """Return the content of a cell that is the darker the nearer `share` is to 1."""
    return element("span", text, class_="heat", style=f"--share:{min(max(share, 0.0), 1.0):.3f}")


def _with_code(line: object) -> Markup:
    parts = str(line).split("`")
    if isinstance(line, Markup) or len(parts) % 2 == 0:
        return escaped(line)
    return Markup.joined(*(element("code", part) if number % 2 else part for number, part in enumerate(parts)))


def _cell(value: Cell | str | float | None) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, str):
        return Cell(value)
    return Cell(number_text(value), value)


def _best(values: Sequence[float | None], best: str | None) -> float | None:
    known = [value for value in values if value is not None and is_number(value)]
    if best is None or len(known) < 2 or min(known) == max(known):
        return None
    return max(known) if best == "highest" else min(known)


def _written(cell: Cell, column: Column, *, first: bool, best: bool) -> Markup:
    notes = [element("small", note) for note in cell.notes]
    dot = None if cell.colour is None else element("span", class_=f"dot c{cell.colour}")
    text = element("span", cell.text, class_="mark", title="the best of this column") if best else escaped(cell.text)
    if first:
        return element("th", dot, text, *notes, scope="row")
    kinds = " ".join(kind for kind, holds in (("number", column.numeric), ("best", best)) if holds)
    return element("td", dot, text, *notes, class_=kinds or "prose")


def _heading(columns: Sequence[Column]) -> Markup:
    groups: list[list[Column]] = []
    for column in columns:
        if groups and groups[-1][0].group == column.group:
            groups[-1].append(column)
        else:
            groups.append([column])
    names = [
        element(
            "th",
            column.heading,
            element("small", column.note) if column.note else None,
            scope="col",
            class_="number" if column.numeric else None,
        )
        for column in columns
    ]
    over = [element("th", group[0].group, colspan=len(group), scope="colgroup", class_="group") for group in groups]
    rows = [element("tr", *over)] if any(column.group for column in columns) else []
    return element("thead", *rows, element("tr", *names))
