"""Curves in one line of text."""

import pytest

from trivium.evaluate.sparkline import BLOCKS, sparkline


def test_few_points_are_a_character_each() -> None:
    assert sparkline([(1, 8.0), (2, 1.0)], 10) == BLOCKS[7] + BLOCKS[0]
    assert sparkline([(step, float(step)) for step in range(8)], 8) == BLOCKS


def test_many_points_are_averaged_over_equal_parts_of_the_steps() -> None:
    falling = [(step, 100.0 - step) for step in range(100)]
    drawn = sparkline(falling, 10)
    assert len(drawn) == 10 and list(drawn) == sorted(drawn, reverse=True) and drawn[-1] == BLOCKS[0]
    late = [(step, float(step > 90)) for step in range(95)] + [(1000, 1.0)]
    assert len(sparkline(late, 20)) == 20  # parts without a point go on as before


def test_the_fall_at_the_beginning_does_not_flatten_the_rest() -> None:
    points = [(0, 1000.0), (1, 3.0), (2, 2.0), (3, 1.0), (4, 0.0)]
    assert sparkline(points, 5) == BLOCKS[7] + BLOCKS[7] + BLOCKS[5] + BLOCKS[2] + BLOCKS[0]


@pytest.mark.parametrize("points", [[], [(1, float("nan"))], [(1, float("inf"))]])
def test_nothing_to_draw_is_nothing(points: list[tuple[float, float]]) -> None:
    assert sparkline(points, 10) == ""
    assert sparkline([(1, 1.0)], 0) == ""


def test_a_flat_curve_is_flat() -> None:
    assert sparkline([(1, 2.0), (2, 2.0)], 10) == BLOCKS[3] * 2
    assert sparkline([(3, 2.0)] * 50, 10) == BLOCKS[3] * 10
