"""report.html of runs: finished, unfinished, fine-tuned, and folders that are none."""

import json
from pathlib import Path

import pytest
from page_support import HOSTILE, checked, pretrained_run, tuned_run

from trivium.core.errors import CheckpointError, ConfigError
from trivium.evaluate.quickstart_page import quickstart_report
from trivium.evaluate.report import REPORT, run_report, skipped_updates, throughput, write_report
from trivium.evaluate.report import quickstart_report as the_same
from trivium.evaluate.run_files import read_run


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder_decoder"])
def test_a_pretraining_run_is_shown(tmp_path: Path, family: str) -> None:
    page = checked(run_report(pretrained_run(tmp_path / "my run", family=family)))
    text = page.text.replace("\u00a0", " ")
    what = {"encoder": "hidden tokens", "decoder": "the next token", "encoder_decoder": "hidden spans"}[family]
    share = "" if family == "decoder" else " (15.0 % of the text)"
    for shown in (
        "my run",
        "pretraining run",
        f"pretrained on {what}{share}, 10k tokens in 4 s.",
        "Loss on held-out text: 3.500 nats a token",
        "validation 3.40",
        "uniform",
        "learning rate",
        "gradient norm",
        "0.001, linear schedule",
        "8 of 32 tokens",
    ):
        assert shown in text, shown
    assert 'kind = "adamw"' in text  # config.toml, whole


def test_a_fine_tuned_run_is_shown_beside_its_baselines(tmp_path: Path) -> None:
    confusion = {"labels": ["class", "function", HOSTILE], "counts": [[5, 1, 0], [2, 7, 0], [0, 0, 3]]}
    changes = {
        "by_label": {
            "class": {"precision": 0.7123, "recall": 0.8, "f1": 0.75, "count": 6},
            "function": {"precision": 0.6, "recall": 0.5, "f1": 0.55, "count": 9},
        },
        "confusion": confusion,
        "mistakes": [
            {"text": HOSTILE, "label": "class", "predicted": "function", "probability": 0.987},
            {"tokens": ["def", "f"], "gold": "function", "predicted": "class"},
        ],
    }
    page = checked(run_report(tuned_run(tmp_path / "run", changes=changes)))
    text = page.text.replace("\u00a0", " ")
    for shown in (
        "80.0 %",
        "81.0 %",
        "64.8 %",
        "31.0 %",
        "71.2 %",
        "98.7 %",
        "def f",
        "Class by class",
        "runs/encoder",
    ):
        assert shown in text, shown
    assert "better than the best baseline (word, else shape: 64.8 %)" in text and "not better" not in text
    assert text.index("function") < text.index(
        "class", text.index("Class by class, on test") + 30
    )  # the most frequent first
    shares = [each["style"] for each in page.named("span") if (each.get("style") or "").startswith("--share")]
    assert "--share:0.833" in shares and "--share:1.000" in shares and len(shares) == 9


def test_a_run_that_lost_to_a_baseline_says_so(tmp_path: Path) -> None:
    assert "not better than the best baseline" in run_report(tuned_run(tmp_path / "run", accuracy=0.5))


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    run = pretrained_run(tmp_path / "run")
    (run / "results.json").unlink()
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines[:10]) + '{"step": 11, "lo')
    assert "Not finished: step 10 of 40" in checked(run_report(run)).text
    (run / "log.jsonl").unlink()
    assert "Not finished: step 0 of 40" in checked(run_report(run)).text


@pytest.mark.parametrize("key", ["task", "valid", "test", "baselines", "seed", "parameters", "seconds", "from"])
def test_results_may_lack_anything(tmp_path: Path, key: str) -> None:
    for number, run in enumerate((pretrained_run(tmp_path / "a"), tuned_run(tmp_path / "b"))):
        results = json.loads((run / "results.json").read_text())
        results.pop(key, None)
        (run / "results.json").write_text(json.dumps(results))
        page = checked(run_report(run))
        assert "nan" not in page.text.lower() and "None" not in page.text, number


@pytest.mark.parametrize("value", [None, 3, "text", [], [1], {}, {"a": 1}, {"labels": ["a"], "counts": [["x"]]}])
def test_unknown_forms_of_results_are_left_out(tmp_path: Path, value: object) -> None:
    changes = dict.fromkeys(("by_label", "confusion", "mistakes", "baselines", "normal"), value)
    checked(run_report(tuned_run(tmp_path / "run", changes=changes)))


def test_a_baseline_that_could_not_be_made_says_why(tmp_path: Path) -> None:
    changes = {"baselines": {"tf-idf": {"missing": "needs scikit-learn"}, "majority": {"accuracy": 0.3}}}
    assert "needs scikit-learn" in run_report(tuned_run(tmp_path / "run", changes=changes))


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    run = tuned_run(tmp_path / "a<b>&c", changes={"from": HOSTILE, "baselines": {HOSTILE: {"accuracy": 0.4}}})
    assert "a<b>&c" in checked(run_report(run)).text


def test_the_report_is_written_into_the_run(tmp_path: Path) -> None:
    run = pretrained_run(tmp_path / "run")
    assert write_report(run) == run / REPORT
    assert (run / REPORT).read_text(encoding="utf-8") == run_report(run)
    assert write_report(run).is_file()
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_folders_that_are_no_runs_are_refused_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match=r"not a run's folder: it has no config\.toml\.$"):
            run_report(folder)
    run = pretrained_run(tmp_path / "run")
    for damaged in ("not JSON", "[1, 2]"):
        (run / "results.json").write_text(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            run_report(run)
    (run / "config.toml").write_text("= no TOML")
    with pytest.raises(ConfigError, match="not valid TOML"):
        run_report(run)


def test_the_page_of_the_main_job_is_found_here_too() -> None:
    assert the_same is quickstart_report


def test_training_is_drawn_by_the_loss_that_validation_has_too(tmp_path: Path) -> None:
    run = pretrained_run(tmp_path / "run", family="decoder")
    assert read_run(run).training_loss == "loss"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    lines = [line if "split" in line else line | {"causal": line["loss"], "loss": 987.0} for line in lines]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text('regularisers = [{kind = "fgm"}]\n' + config)
    assert read_run(run).training_loss == "causal"
    assert "987" not in checked(run_report(run)).text


def test_speed_and_skipped_updates_are_drawn(tmp_path: Path) -> None:
    run = pretrained_run(tmp_path / "run")
    page = checked(run_report(run))
    assert "tokens a second over steps" in page.text and "2,560" in page.text
    assert "were skipped" not in page.text
    assert "c-event" not in [each.get("class") for each in page.named("line")]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line["skipped"] = int(line["step"] > 7) + 3 * int(line["step"] > 20)
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = checked(run_report(run))
    assert "Ticks on the axis: updates that were skipped, 4 in all." in page.text
    for said in ("1 update skipped by step 8", "3 updates skipped by step 21"):
        assert said in page.text
    ticks = [each for each in page.named("line") if each.get("class") == "c-event"]
    assert len(ticks) == 2 * 2  # for wide and for narrow screens
    assert all(each["x1"] == each["x2"] for each in ticks) and float(ticks[0]["x1"] or 0) < float(ticks[1]["x1"] or 0)


def test_throughput_is_measured_between_lines() -> None:
    lines = [{"step": step, "tokens": 100 * step, "seconds": 2.0 * step} for step in (1, 2, 4)]
    assert throughput(lines) == [(2, 50.0), (4, 50.0)]
    assert throughput([*lines, {"step": 5, "tokens": 500}, lines[-1]]) == [(2, 50.0), (4, 50.0)]
    assert throughput([]) == [] == throughput(lines[:1])


@pytest.mark.parametrize("skipped", [None, "x", 0, -1, float("nan")])
def test_unknown_numbers_of_skipped_updates_are_none(skipped: object) -> None:
    assert skipped_updates([{"step": 1}, {"step": 2, "skipped": skipped}]) == []
