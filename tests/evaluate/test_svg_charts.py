"""Charts: what is drawn is what was given, nothing overlaps, and no input breaks them."""

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest
from page_support import HOSTILE, numbers

from trivium.evaluate.axes import (
    TEXT_SIZE,
    ReferenceLine,
    finite,
    fitted,
    linear_scale,
    log_scale,
    spread,
    text_width,
    tick_texts,
)
from trivium.evaluate.charts import CHART_STYLE, Bar, Interval, Series, bar_chart, interval_chart, line_chart
from trivium.evaluate.formatting import percent_text
from trivium.evaluate.markup import Markup
from trivium.evaluate.scatter import Bubble, scatter_chart

SVG = "{http://www.w3.org/2000/svg}"
NAN, INF = math.nan, math.inf


def lines(points: list[list[tuple[float, float]]], references: tuple[ReferenceLine, ...] = ()) -> Markup:
    series = [Series(f"line {number}", each, number) for number, each in enumerate(points)]
    return line_chart(series, title="t", x_label="step", y_label="loss", reference_lines=references)


def parsed(chart: Markup) -> ElementTree.Element:
    """Parse a chart as strict XML and check that all of it lies inside its box."""
    root = ElementTree.fromstring(chart)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    assert root[0].tag == f"{SVG}title" and root[1].tag == f"{SVG}desc"
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    for element in root.iter():
        attributes = element.attrib
        for x in numbers([attributes], "x", "x1", "x2", "cx"):
            assert math.isfinite(x) and -0.5 <= x <= width + 0.5, attributes
        for y in numbers([attributes], "y", "y1", "y2", "cy"):
            assert math.isfinite(y) and -0.5 <= y <= height + 0.5, attributes
        for key in ("d", "points"):
            found = [float(number) for number in re.findall(r"-?\d+\.?\d*", attributes.get(key, ""))]
            assert all(-0.5 <= number <= max(width, height) + 0.5 for number in found), attributes
    assert "nan" not in chart and "inf" not in re.sub(r"<(title|desc|text)[^>]*>[^<]*", "", chart)
    return root


def texts(chart: Markup) -> list[tuple[str, float, float, float]]:
    """The texts of a chart: what, left, right, and height."""
    found = []
    for element in parsed(chart).iter(f"{SVG}text"):
        text = "".join(part for part in [element.text, *(child.tail for child in element)] if part)
        x, y, width = float(element.get("x", "0")), float(element.get("y", "0")), text_width(text)
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[element.get("text-anchor", "start")]
        found.append((text, left, left + width, y))
    return found


CHARTS: dict[str, Callable[[list[float]], Markup]] = {
    "line": lambda values: lines([list(enumerate(values)), [(value, value) for value in values]]),
    "references": lambda values: lines([[(1, 2)]], tuple(ReferenceLine(str(value), value) for value in values)),
    "interval": lambda values: interval_chart(
        [Interval("group", "name", value, value, values) for value in values], title="t", x_label="x"
    ),
    "scatter": lambda values: scatter_chart(
        [Bubble("name", value, value, value) for value in values], title="t", x_label="x", y_label="y"
    ),
    "log scatter": lambda values: scatter_chart(
        [Bubble("name", value, value, value) for value in values],
        title="t",
        x_label="x",
        y_label="y",
        log_x=True,
        reference_lines=[ReferenceLine("normal", value) for value in values],
    ),
    "bar": lambda values: bar_chart([Bar("name", abs(value), value) for value in values], title="t"),
    "narrow bar": lambda values: bar_chart([Bar("name", abs(value)) for value in values], title="t", width=340),
}
EXTREMES: list[list[float]] = [
    [],
    [1.0],
    [0.0],
    [0.0, 0.0, 0.0],
    [-3.0, -3.0],
    [NAN],
    [NAN, INF, -INF, 1.0],
    [1e300, 1.0],
    [1e149, -1e149],
    [1e-300, 2e-300],
    [1.0, 1.0 + 1e-15],
    [1e-9, 1.0, 1e9],
    [float(number) for number in range(200)],
]


@pytest.mark.parametrize("kind", list(CHARTS))
@pytest.mark.parametrize("values", EXTREMES, ids=lambda values: str(values)[:24])
def test_no_numbers_break_a_chart(kind: str, values: list[float]) -> None:
    parsed(CHARTS[kind](values))


def test_texts_are_escaped_and_long_ones_cut() -> None:
    long = HOSTILE * 20
    series = [Series(long, [(1, 2), (2, 1)]), Series(HOSTILE, [(1, 1)], 1, "faint")]
    charts = [
        line_chart(series, title=HOSTILE, x_label=HOSTILE, y_label=long, reference_lines=[ReferenceLine(long, 3)]),
        interval_chart([Interval(long, HOSTILE, 0.5, 0.1, [0.4, 0.6])], title=long, x_label=HOSTILE),
        scatter_chart([Bubble(long, 1, 1), Bubble(HOSTILE, 2, 2)], title=long, x_label=HOSTILE, y_label=HOSTILE),
        bar_chart([Bar(long, 1.0)], title=HOSTILE),
    ]
    for chart in charts:
        root = parsed(chart)
        assert not root.findall(f".//{SVG}script") and not root.findall(f".//{SVG}b")
        assert "<script>" not in chart and "\x00" not in chart
        assert any("<script>" in (element.text or "") for element in root.iter())


def test_a_line_goes_through_its_points() -> None:
    points = [(0.0, 8.0), (10.0, 4.0), (20.0, 3.0)]
    [path] = parsed(lines([points])).iter(f"{SVG}path")
    drawn = [float(number) for number in re.findall(r"\d+\.\d+", path.get("d", ""))]
    xs, ys = drawn[::2], drawn[1::2]
    assert len(xs) == 3
    assert (xs[1] - xs[0]) == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert (ys[1] - ys[0]) / (ys[2] - ys[0]) == pytest.approx(4 / 5, abs=0.01)


def test_the_last_value_and_the_references_are_named_with_their_values() -> None:
    chart = lines([[(1, 5.0), (2, 3.4567)]], (ReferenceLine("uniform", 8.318), ReferenceLine("5-gram", 3.46)))
    shown = [text for text, *_ in texts(chart)]
    assert "line 0 3.46" in shown and "uniform 8.32" in shown and "5-gram 3.46" in shown


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40])
def test_labels_of_lines_never_lie_on_each_other(count: int) -> None:
    rng = np.random.default_rng(count)
    ends = rng.choice([2.0, 2.01, 2.02, 5.0], count)
    chart = lines([[(0, 9.0), (10, float(end))] for end in ends], (ReferenceLine("uniform", 2.0),))
    shown = [each for each in texts(chart) if each[0].startswith(("line", "uniform", "and "))]
    assert len(shown) == min(count + 1, len(shown)) and shown
    heights = sorted(y for *_, y in shown)
    assert all(b - a >= TEXT_SIZE for a, b in itertools.pairwise(heights))
    if count == 40:
        assert any(text.startswith("and ") for text, *_ in shown)


@pytest.mark.parametrize("seed", range(8))
def test_names_of_points_never_lie_on_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bubbles = [Bubble(f"model {n}", *rng.uniform(1, 2, 2), float(rng.uniform(1, 9)), n) for n in range(12)]
    references = [ReferenceLine("baseline", 1.5)]
    chart = scatter_chart(bubbles, title="t", x_label="x", y_label="y", reference_lines=references)
    shown = [each for each in texts(chart) if each[0].startswith(("model", "baseline"))]
    assert len(shown) > 6
    for (_, left, right, y), (_, other_left, other_right, other_y) in itertools.combinations(shown, 2):
        assert right <= other_left or other_right <= left or abs(y - other_y) >= TEXT_SIZE


def test_intervals_show_mean_deviation_and_single_scores() -> None:
    rows = [
        Interval("encoder", "pretrained", 0.8, 0.1, [0.7, 0.8, 0.9]),
        Interval("encoder", "baseline", 0.5, mark="line"),
    ]
    chart = interval_chart(rows, title="t", x_label="accuracy", text=percent_text)
    root = parsed(chart)
    assert "80.0\u00a0±\u00a010.0\u00a0%" in chart and "50.0\u00a0%" in chart
    [band] = [element for element in root.iter() if element.get("class") == "c-spread"]
    dots = sorted(float(element.get("cx", "0")) for element in root.iter() if element.get("class") == "c-seed")
    assert [dots[0], dots[2]] == pytest.approx(sorted(numbers([band.attrib], "x1", "x2")), abs=0.02)
    assert dots[1] - dots[0] == pytest.approx(dots[2] - dots[1], abs=0.02)


def test_bars_are_as_long_as_their_values() -> None:
    bars = [Bar("a", 10.0, 20.0), Bar("b", 40.0), Bar("c", NAN)]
    chart = bar_chart(bars, title="t")
    widths = [float(element.get("width", "0")) for element in parsed(chart).iter(f"{SVG}rect")]
    assert len(widths) == 2 and widths[1] == pytest.approx(4 * widths[0], rel=0.01)
    assert "10\u00a0s (planned 20\u00a0s)" in chart


def test_areas_of_points_go_by_size() -> None:
    bubbles = [Bubble("a", 1, 1, 4.0), Bubble("b", 2, 2, 1.0)]
    chart = scatter_chart(bubbles, title="t", x_label="x", y_label="y")
    radii = sorted(float(element.get("r", "0")) for element in parsed(chart).iter(f"{SVG}circle"))
    assert radii[1] == pytest.approx(2 * radii[0])


def test_no_text_is_smaller_than_11_pixels() -> None:
    sizes = [float(size) for size in re.findall(r"font-size:([\d.]+)px", CHART_STYLE)]
    assert sizes and min(sizes) >= 11


def test_ticks_are_nice_and_tell_each_other_apart() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        low, size = rng.normal() * 10 ** rng.uniform(-6, 6), 10 ** rng.uniform(-6, 6)
        scale = linear_scale([low, low + size], start=0, end=100)
        assert 2 <= len(scale.ticks) <= 7
        assert all(scale.low - 1e-9 * size <= tick <= scale.high + 1e-9 * size for tick in scale.ticks)
        step = (scale.ticks[1] - scale.ticks[0]) / 10 ** math.floor(math.log10(scale.ticks[1] - scale.ticks[0]) + 1e-6)
        assert min(abs(step - nice) for nice in (1, 2, 5, 10)) < 1e-3
        assert len(set(tick_texts(scale))) == len(scale.ticks)
        assert scale.place(low) < scale.place(low + size)


def test_logarithmic_scales_hold_their_values() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = 10 ** rng.uniform(-5, 8, int(rng.integers(1, 6)))
        scale = log_scale(values, start=0, end=100)
        assert scale.ticks and scale.low < min(values) and max(values) < scale.high
        assert 0 < scale.place(min(values)) <= scale.place(max(values)) < 100


def test_spread_is_the_nearest_that_keeps_the_gap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        wanted = rng.uniform(0, 100, int(rng.integers(1, 6))).tolist()
        places = spread(wanted, gap=10, low=0, high=200)
        ordered = sorted(places)
        assert all(b - a >= 10 - 1e-9 for a, b in itertools.pairwise(ordered))
        assert sorted(range(len(wanted)), key=places.__getitem__) == sorted(range(len(wanted)), key=wanted.__getitem__)
        own = sum((a - b) ** 2 for a, b in zip(places, wanted, strict=True))
        for _ in range(50):
            other = [place + rng.normal() for place in places]
            if all(b - a >= 10 for a, b in itertools.pairwise(sorted(other))) and min(other) >= 0:
                assert sum((a - b) ** 2 for a, b in zip(other, wanted, strict=True)) >= own - 1e-6
    assert spread([], gap=10, low=0, high=1) == []


def test_fitted_texts_fit() -> None:
    for text in ("short", "a very long label that does not fit", "宽的字符占更多的地方" * 5, ""):
        for width in (0, 20, 60, 1000):
            shown = fitted(text, width)
            assert shown == text or (shown.endswith("\u2026") and text_width(shown) <= max(width, text_width("\u2026")))


def test_only_finite_numbers_are_shown() -> None:
    assert finite([1, NAN, INF, -INF, 2.5]) == [1.0, 2.5]
