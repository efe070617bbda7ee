"""Numbers as people read them."""

import math

import pytest

from trivium.evaluate.formatting import (
    ABSENT,
    bytes_text,
    compact_text,
    is_number,
    is_share,
    metric_text,
    milliseconds_text,
    number_text,
    percent_text,
    plus_minus_text,
    seconds_text,
)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12345, "12,345"),
        (4.2134, "4.213"),
        (81.25, "81.25"),
        (1234.6, "1,235"),
        (0.35, "0.350"),
        (0.0001234, "0.000123"),
        (1e-7, "1.00e-07"),
        (-3.5, "-3.500"),
        (math.nan, ABSENT),
        (math.inf, ABSENT),
        (None, ABSENT),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert plain(number_text(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (950, "950"),
        (1000, "1k"),
        (35_420, "35k"),
        (1_234_567, "1.2M"),
        (999_600, "1M"),
        (9_960, "10k"),
        (3.4e9, "3.4B"),
        (7.1e15, "7.1e+15"),
        (-4_200, "-4.2k"),
        (0.5, "0.50"),
    ],
)
def test_compact(value: float, text: str) -> None:
    assert plain(compact_text(value)) == text


def test_times_and_sizes() -> None:
    assert plain(seconds_text(0.0042)) == "4.20 ms"
    assert plain(seconds_text(0.35)) == "0.35 s"
    assert plain(seconds_text(48.4)) == "48 s"
    assert plain(seconds_text(59.9)) == "1 min"
    assert plain(seconds_text(192)) == "3 min 12 s"
    assert plain(seconds_text(3840)) == "1 h 4 min"
    assert plain(milliseconds_text(3.912)) == "3.91 ms"
    assert plain(bytes_text(812)) == "812 B"
    assert plain(bytes_text(13_100_000)) == "13.1 MB"
    assert plain(bytes_text(5.5e12)) == "5,500 GB"


def test_mean_and_deviation_have_one_unit_and_equal_decimals() -> None:
    assert plain(plus_minus_text(0.8213, 0.00412, percent_text)) == "82.1 ± 0.4 %"
    assert plain(plus_minus_text(4.2134, 0.01)) == "4.213 ± 0.010"
    assert plain(plus_minus_text(4.2134, None)) == "4.213"
    assert plain(plus_minus_text(0.5, 0.0, percent_text)) == "50.0 ± 0.0 %"
    assert plain(plus_minus_text(2, 3)) == "2 ± 3"
    assert plus_minus_text(None, 0.1) == ABSENT
    assert plus_minus_text(math.nan, 0.1) == ABSENT
    assert "±" in plus_minus_text(1e-9, 1e-10)


def test_what_is_a_number() -> None:
    assert is_number(3) and is_number(-2.5) and is_number(10**140)
    for value in (True, None, "3", math.nan, math.inf, 10**400, 1e200):
        assert not is_number(value)


def test_shares_are_percentages() -> None:
    assert is_share("rouge_l") and is_share("bleu") and is_share("chrf") and not is_share("bits_a_byte")
    assert is_share("accuracy") and is_share("macro_f1") and not is_share("loss") and not is_share("matthews")
    assert plain(metric_text("accuracy")(0.5)) == "50.0 %"
    assert plain(metric_text("loss")(0.5)) == "0.500"
