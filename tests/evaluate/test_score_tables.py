"""Scores beside baselines on a run's page, of one task and of several."""

import json
from pathlib import Path
from typing import Any

from page_support import HOSTILE, checked, tuned_run

from trivium.evaluate.report import run_report, write_report
from trivium.evaluate.score_tables import best_baseline

CHANGES: dict[str, Any] = {
    "chosen_by": "f1",
    "valid": {"precision": 0.51, "f1": 0.52, "loss": 0.4, "ece": 0.1},
    "test": {"precision": 0.61, "f1": 0.62, "loss": 0.5, "ece": 0.1},
    "intervals": {"f1": [0.58, 0.66]},
    "baselines": {"words": {"precision": 0.7, "f1": 0.31}, "CRF": {"missing": "needs a library"}},
}


def shown(page: str) -> str:
    return checked(page).text.replace("\u00a0", " ")


def test_a_metric_is_a_row_and_the_one_a_run_is_judged_by_is_the_first(tmp_path: Path) -> None:
    text = shown(run_report(tuned_run(tmp_path / "run", changes=CHANGES)))
    text = text[text.index("this model") :]
    rows = ["baselines, test", "words", "CRF", "needs a library", "52.0 %", "62.0 %", "58.0 to 66.0 %"]
    places = [text.index(value) for value in [*rows, "31.0 %", "51.0 %", "61.0 %", "70.0 %"]]
    assert places == sorted(places)


def test_the_best_baseline_is_that_of_the_highest_score_or_of_the_lowest_loss() -> None:
    rivals = {"a": {"loss": 1.0, "f1": 0.2}, "b": {"loss": 2.0, "f1": 0.3}, "c": {"missing": "why"}}
    assert best_baseline({"baselines": rivals}, "f1") == ("b", 0.3)
    assert best_baseline({"baselines": rivals}, "loss") == ("a", 1.0)
    assert best_baseline({"baselines": rivals}, "accuracy") is None
    assert best_baseline({}, "f1") is None


def test_several_tasks_are_a_row_each_and_lead_to_their_own_pages(tmp_path: Path) -> None:
    run = tuned_run(tmp_path / "run")
    own = {name: json.loads((run / "results.json").read_text()) | CHANGES for name in ("topics", "人名")}
    whole = {"task": "several", "chosen_by": "mean", "valid": {"mean": 0.52, "topics.f1": 0.52}, "tasks": own}
    (run / "results.json").write_text(json.dumps(whole))
    text = shown(run_report(run))
    assert "fine-tuned on several tasks" in text and "the tasks \u201ctopics\u201d, \u201c人名\u201d" in text
    assert text.count("62.0 %") == text.count("58.0 to 66.0 %") == text.count("31.0 %") == 2
    assert "topics.f1" not in text and not checked(run_report(run)).named("a")  # there are no pages yet

    tuned_run(run / "tasks" / "人名", changes=CHANGES)
    write_report(run)
    links = checked((run / "report.html").read_text(encoding="utf-8")).named("a")
    assert [link["href"] for link in links] == ["tasks/%E4%BA%BA%E5%90%8D/report.html"]
    assert "Class by class" not in text and "fine-tuned on" in (run / "tasks/人名/report.html").read_text("utf-8")


def test_names_of_tasks_are_escaped(tmp_path: Path) -> None:
    changes = {"tasks": {HOSTILE: CHANGES, "": {}, "none": None}}
    assert "<script>alert('x')" in shown(run_report(tuned_run(tmp_path / "run", changes=changes)))
