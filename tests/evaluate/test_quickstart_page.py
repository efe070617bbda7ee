"""The page of the main job: every number of the summary is on it, and none of them needs to be there."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
from page_support import HOSTILE, checked, summary

from trivium.evaluate.markup import Markup
from trivium.evaluate.quickstart_page import quickstart_report
from trivium.evaluate.sections import label_styles, labelled_words, smoothed


def test_the_numbers_are_those_given() -> None:
    page = checked(quickstart_report(summary()))
    text = page.text.replace("\u00a0", " ")
    for shown in (
        "Three families on one text",
        "79.2 ± 0.6 %",
        "77.2 ± 0.6 %",
        "75.2 ± 0.6 %",
        "61.8 ± 1.7 %",
        "64.8 %",
        "1.700",
        "1.900",
        "1.750",
        "33.1 % right",
        "24.1 % right",
        "4.2M",
        "33k",
        "3.91 ms",
        "bits a byte",
        "Kneser-Ney 5-gram",
        "14.8 MB",
        "18k documents",
        "4M tokens",
        "4,096 tokens",
        "encoder-mini, 600 steps",
        "31.0 %",
        "21 s (planned 20 s)",
        "1 min 33 s in all, 1 min 32 s planned",
        "def read(path):",
        "uniform 8.32",
        "unigram 6.41",
        "Python 3.11.2, PyTorch 2.11.0",
    ):
        assert shown in text, shown
    assert text.index("Best on label") < text.index("predicts held-out text") < text.index("The comparison")
    assert text.index("How they learned") < text.index("What they say") < text.index("What next")


def test_there_is_a_picture_of_each_thing() -> None:
    page = checked(quickstart_report(summary()))
    # interval, scatter and bars for wide and narrow screens; one curve a family
    assert len(page.named("svg")) == 3 * 2 + 3


def paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a summary, the long curves left out."""
    if path:
        yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from paths(tree[key], (*path, key))
    elif isinstance(tree, list) and len(tree) < 10:
        for number in range(len(tree)):
            yield from paths(tree[number], (*path, number))


def changed(place: tuple[Any, ...], value: object) -> dict[str, Any]:
    result = copy.deepcopy(summary())
    node: Any = result
    for key in place[:-1]:
        node = node[key]
    if value is None and isinstance(node, dict):
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return result


def test_any_part_may_be_absent() -> None:
    absent = [place for place in paths(summary()) if isinstance(place[-1], str) and "curve" not in place[:-1]]
    assert len(absent) > 60
    for place in absent:
        page = quickstart_report(changed(place, None))
        assert "None" not in page.replace("default=None", ""), place
        assert "nan" not in page.split("</style>")[1].lower().replace("finance", ""), place
    for empty in ({}, {"families": []}, {"families": [{}]}, {"families": [{"name": "encoder"}], "phases": []}):
        checked(quickstart_report(empty))


def test_no_text_breaks_the_page() -> None:
    places = [place for place in paths(summary()) if "curve" not in place]
    strings = [place for place in places if isinstance(at(place), str)]
    assert len(strings) > 40
    for place in strings[::3]:
        page = quickstart_report(changed(place, HOSTILE))
        assert "<script>" not in page and "<b>" not in page
    checked(quickstart_report(changed(("title",), HOSTILE)))


def at(place: tuple[Any, ...]) -> Any:
    node: Any = summary()
    for key in place:
        node = node[key]
    return node


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, 0, -1])
def test_no_number_breaks_the_page(value: float) -> None:
    for place in (
        ("families", 0, "latency_ms"),
        ("families", 0, "task", "pretrained", "mean"),
        ("phases", 0, "seconds"),
    ):
        page = quickstart_report(changed(place, value))
        assert "nan" not in page.split("</style>")[1].lower() and "inf" not in page.split("</style>")[1].replace(
            "info", ""
        )


def test_words_are_shown_with_their_labels() -> None:
    words, labels = ["f", "(", "x", ")"], ["function", "_", "parameter", "_"]
    styles = label_styles(labels)
    shown = labelled_words(words, labels, styles, gold=["function", "_", "local", "_"])
    assert list(styles) == ["function", "parameter"] and len(set(styles.values())) == 2
    assert f'<span class="{styles["function"]}" title="function">f</span>' in shown
    assert f'<span class="{styles["parameter"]} wrong" title="parameter, right: local">x</span>' in shown
    assert shown.count("<span") == 2


def test_what_was_never_learned_is_not_shown() -> None:
    shown = labelled_words(["f", "(", ")"], ["function"] * 3, label_styles(["function"]), gold=["function", "_", "_"])
    assert shown.count("<span") == 1


def test_styles_tell_labels_apart() -> None:
    for labels in ([f"label {number}" for number in range(20)], ["local", "class", "module", "global"], []):
        styles = label_styles(labels)
        assert len(set(styles.values())) == len(labels) == len(styles)
    assert label_styles(["class", "local"])["local"] == label_styles(["local"])["local"]  # the same on every page


def unmarked(shown: Markup) -> str:
    return shown.replace("<wbr>", "").removeprefix('<pre class="wrap code"><code>').removesuffix("</code></pre>")


@pytest.mark.parametrize(
    "code",
    [
        "def f(self, x=None): return x.y[0]",
        "a = g(1, key=2)",
        "if (a): b()",
        "@wraps",
        "for i in range(n): pass",
    ],
)
def test_words_without_their_text_are_set_as_code_usually_is(code: str) -> None:
    words = code.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").replace(":", " : ").replace("=", " = ")
    words = words.replace(".", " . ").replace("[", " [ ").replace("]", " ] ").replace("@", "@ ")
    assert unmarked(labelled_words(words.split(), [], {})) == code


def test_the_spaces_of_a_text_are_kept() -> None:
    text = "x  =\n  1"
    assert unmarked(labelled_words(["x", "=", "1"], [], {}, text)) == text


def test_smoothing_keeps_lines_constants_and_ends() -> None:
    line = [(float(x), 2.0 * x) for x in range(100)]
    assert smoothed(line, share=0.1) == [(x, pytest.approx(y)) for x, y in line]
    noisy = [(float(x), (-1.0) ** x) for x in range(100)]
    middle = [abs(y) for _, y in smoothed(noisy, share=0.2)[20:80]]
    assert max(middle) < 0.2
    assert smoothed([]) == [] and smoothed([(1.0, math.nan)]) == []
