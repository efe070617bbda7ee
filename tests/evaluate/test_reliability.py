"""How sure a model is and how right, in a run's page, and intervals beside its scores there and in a comparison."""

import json
from pathlib import Path
from typing import Any

import pytest
from page_support import checked, tuned_run

from trivium.core.progress import Silent
from trivium.evaluate.axes import HALF, NARROW
from trivium.evaluate.compare import compare, comparison_table
from trivium.evaluate.formatting import percent_text, range_text
from trivium.evaluate.reliability import Bin, reliability_bins, reliability_chart
from trivium.evaluate.report import run_report

BINS = {"counts": [0, 4, 10], "hits": [0, 1, 9], "confidence": [0.0, 2.0, 8.0]}
AS_TRAINED = {"ece": 0.1876, "brier": 0.61, "nll": 0.9}
CHANGES: dict[str, Any] = {
    "valid": {"accuracy": 0.81, "loss": 0.7, "coverage": 1.0, "ece": 0.02, "brier": 0.4, "nll": 0.5},
    "test": {"accuracy": 0.8, "loss": 0.71, "coverage": 1.0, "ece": 0.0321, "brier": 0.42, "nll": 0.55},
    "reliability": BINS,
    "intervals": {"accuracy": [0.751, 0.842]},
    "temperature": {"value": 1.8, "before": AS_TRAINED, "after": {"ece": 0.02, "brier": 0.4, "nll": 0.5}},
}


def test_bins_are_shares_of_what_has_answers() -> None:
    assert reliability_bins(BINS) == [Bin(4, 0.5, 0.25), Bin(10, 0.8, 0.9)]
    for wrong in ({}, BINS | {"hits": [1]}, BINS | {"counts": "012"}, BINS | {"confidence": [None, 1.0, 2.0]}):
        assert reliability_bins(wrong) == []


@pytest.mark.parametrize("width", [HALF, NARROW])
@pytest.mark.parametrize("bins", [[Bin(1, 1.0, 1.0)], [Bin(3, 0.5, 0.0), Bin(9, 1.0, 1.0)], [Bin(2e6, 0.07, 0.06)]])
def test_every_bin_is_drawn_inside_the_picture(bins: list[Bin], width: float) -> None:
    drawn = str(reliability_chart(bins, split="test", width=width))
    assert drawn.count("<circle") == drawn.count("<rect") == len(bins)
    assert all(drawn.count(each.text) == 3 for each in bins)  # at its mark, at its bar, and for who hears it
    height = float(drawn.split('viewBox="0 0 ')[1].split('"')[0].split()[1])
    for name, most in (("cx", width), ("cy", height), ("y", height), ("x1", width), ("y1", height)):
        places = [float(part.split('"')[0]) for part in drawn.split(f' {name}="')[1:]]
        assert places and all(0 <= place <= most for place in places), name


def test_a_report_says_how_sure_the_model_and_its_score_are(tmp_path: Path) -> None:
    text = checked(run_report(tuned_run(tmp_path / "run", changes=CHANGES))).text
    assert "Can its probabilities be believed?" in text and "How sure and how right, on test" in text
    assert "0.188" in text and "0.0321" in text and "too sure of itself" in text and "1.80" in text
    assert "Accuracy on test: 80.0 % (95 % interval 75.1 to 84.2 %), better than" in text.replace("\xa0", " ")
    assert text.count("brier") == 0  # the table of scores leaves it to the section


def test_without_these_results_a_report_is_as_it_was(tmp_path: Path) -> None:
    text = checked(run_report(tuned_run(tmp_path / "run"))).text
    assert "believed" not in text and "95" not in text.split("Settings")[0]
    cold = CHANGES | {"temperature": {"value": 0.6, "before": AS_TRAINED}}
    assert "not sure enough" in checked(run_report(tuned_run(tmp_path / "cold", changes=cold))).text


@pytest.mark.parametrize("key", ["reliability", "intervals", "temperature"])
@pytest.mark.parametrize("value", [None, [], "x", {"accuracy": "y", "value": None, "counts": 3}, {"accuracy": [1]}, 7])
def test_a_report_survives_any_of_them(key: str, value: object, tmp_path: Path) -> None:
    checked(run_report(tuned_run(tmp_path / "run", changes=CHANGES | {key: value})))


def test_a_comparison_has_the_interval_of_one_run_and_not_of_several_seeds(tmp_path: Path) -> None:
    one = tuned_run(tmp_path / "one", changes=CHANGES)
    others = [
        tuned_run(tmp_path / f"seed-{n}", family="decoder", seed=n, changes=CHANGES | {"seed": n}) for n in range(2)
    ]
    result = compare([one, *others], tmp_path / "out", progress=Silent())
    intervals = {entry["name"]: entry["quality"]["interval"] for entry in result["models"]}
    assert list(intervals.values()) == [(0.751, 0.842), None]
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8").replace("\xa0", " ")
    assert page.count("95 %: 75.1 to 84.2 %") == 1
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["models"][0]["quality"]["interval"] == [
        0.751,
        0.842,
    ]
    cells = [str(cell).replace("\xa0", " ") for cell in comparison_table(result).columns[1].cells]
    assert cells[0] == "80.0 % (75.1 to 84.2 %)" and "(" not in cells[1]


def test_a_range_has_its_unit_once() -> None:
    assert range_text((0.5, 0.75), percent_text) == "50.0 to 75.0\xa0%"
    assert range_text((0.5, 1.25)) == "0.500 to 1.250"
