"""Pages: whole, self-contained, escaped, and the tables' marks right."""

import math

import pytest
from page_support import HOSTILE, Page, checked

from trivium.evaluate.charts import Series, line_chart
from trivium.evaluate.formatting import percent_text
from trivium.evaluate.markup import Markup, element, escaped
from trivium.evaluate.page import (
    Cell,
    Column,
    card,
    code_block,
    figure,
    folded,
    grid,
    key_values,
    meters,
    page,
    paragraph,
    section,
    statements,
    table,
)


def whole(*content: Markup) -> str:
    return page(title="A title", overline="over", opening=[paragraph("lead", "lead")], content=content, footer="end")


def test_a_page_is_whole_and_needs_nothing_else() -> None:
    chart = figure(lambda width: line_chart([Series("a", [(1, 2)])], title="t", x_label="x", y_label="y", width=width))
    shown = checked(whole(section("Heading", grid(card(chart, heading="Card", colour=1)), note="how to read it")))
    assert [dict(each).get("name") for each in shown.named("meta")] == [None, "viewport", "color-scheme"]
    assert len(shown.named("svg")) == 2  # for wide and for narrow screens
    for words in ("A title", "over", "lead", "Heading", "Card", "how to read it", "end"):
        assert words in shown.text


def test_everything_is_escaped() -> None:
    parts = [
        section(HOSTILE, paragraph(HOSTILE), note=HOSTILE),
        statements([HOSTILE, f"`{HOSTILE}`"]),
        card(code_block(HOSTILE), heading=HOSTILE, note=HOSTILE),
        key_values({HOSTILE: HOSTILE}),
        folded(HOSTILE, code_block(HOSTILE, wrap=True)),
        meters([(HOSTILE, 0.5)], percent_text, 0),
        table([Column(HOSTILE, HOSTILE, HOSTILE), Column("b")], [[HOSTILE, Cell(HOSTILE, notes=[HOSTILE])]]),
    ]
    shown = checked(
        page(
            title=HOSTILE,
            overline=HOSTILE,
            opening=[],
            content=[part for part in parts if part is not None],
            footer=HOSTILE,
        )
    )
    seen = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "?")
    assert shown.text.count(seen) == 23
    assert not shown.named("b")


def test_markup_is_escaped_once() -> None:
    inner = element("b", "<&>")
    assert inner == "<b>&lt;&amp;&gt;</b>"
    assert (
        element("p", inner, None, 3, class_="a b", data_x=1.50001, hidden=None)
        == f'<p class="a b" data-x="1.5">{inner}3</p>'
    )
    assert escaped(inner) is inner
    assert escaped('"') == "&quot;"


def best_texts(text: str) -> list[str]:
    return [part.split("</span>")[0] for part in text.split('title="the best of this column">')[1:]]


def test_the_best_value_of_a_column_is_marked() -> None:
    columns = [
        Column("name", numeric=False),
        Column("up", best="highest"),
        Column("down", best="lowest"),
        Column("plain"),
    ]
    rows = [["a", 1.0, 1.0, 9.0], ["b", 3.0, 2.0, 9.0], ["c", 3.0, None, 9.0], ["baseline", 9.0, 0.0, 9.0]]
    shown = table(columns, rows, quiet=[3])
    assert best_texts(shown) == ["1", "3", "3"]
    assert best_texts(table(columns, rows)) == ["9", "0"]
    assert Page(shown).named("tr")[-1] == {"class": "quiet"}


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [math.nan, 1.0], [None, None]])
def test_nothing_is_marked_where_nothing_is_better(values: list[float | None]) -> None:
    shown = table([Column("name", numeric=False), Column("value", best="highest")], [["a", value] for value in values])
    assert best_texts(shown) == []
    Page(shown)


def test_numbers_stand_at_the_right_and_rows_have_headings() -> None:
    shown = Page(table([Column("name", numeric=False), Column("value")], [["a", 1234567.0]]))
    assert shown.named("td") == [{"class": "number"}]
    assert {"scope": "row"} in shown.named("th")
    assert "1,234,567" in shown.text


def test_groups_of_columns_span_them() -> None:
    columns = [
        Column("name", numeric=False),
        Column("a", group="first"),
        Column("b", group="first"),
        Column("c", group="second"),
    ]
    spans = [each["colspan"] for each in Page(table(columns, [["x", 1, 2, 3]])).named("th") if "colspan" in each]
    assert spans == ["1", "2", "1"]


def test_meters_stay_between_nothing_and_all() -> None:
    shown = meters([("a", 1.7), ("b", -1.0), ("c", math.nan), ("d", None), ("e", 0.25)], percent_text, 0)
    widths = [each["style"] for each in Page(shown).named("span") if "style" in each]
    assert widths == ["width:100.0%", "width:0.0%", "width:25.0%"]


def test_statements_show_code() -> None:
    shown = statements(["best on `label` today", "an odd ` stays"])
    assert shown is not None and "<code>label</code>" in shown and "an odd ` stays" in shown
    assert statements([]) is None
