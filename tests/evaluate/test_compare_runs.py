"""Comparisons of run folders: grouped, ranked only where that is fair, and shown as they are."""

import json
from io import StringIO
from pathlib import Path
from statistics import stdev

import pytest
from page_support import checked, pretrained_run, tuned_run
from rich.console import Console

from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.progress import Progress, Silent
from trivium.evaluate.compare import JSON, PAGE, choose_yardstick, compare, comparison_table, group_runs
from trivium.evaluate.comparison_page import comparison_page
from trivium.evaluate.run_files import read_run
from trivium.evaluate.speed import Reader, Speed, reading_speed
from trivium.model.config import ReadoutConfig


def printed(result: dict) -> str:  # type: ignore[type-arg]
    console = Console(width=200, record=True, file=StringIO())
    console.print(comparison_table(result))
    return console.export_text().replace("\u00a0", " ")


def test_fine_tuned_runs_are_ranked(tmp_path: Path) -> None:
    scores = {"encoder": (0.80, 0.82, 0.84), "decoder": (0.70, 0.71, 0.72), "encoder_decoder": (0.6,)}
    runs = [
        tuned_run(tmp_path / f"{family}-seed{seed}", family=family, seed=seed, accuracy=accuracy)
        for family, each in scores.items()
        for seed, accuracy in enumerate(each)
    ]
    result = compare(runs, tmp_path / "out", progress=Silent())
    assert json.loads((tmp_path / "out" / JSON).read_text(encoding="utf-8")) == result
    assert (result["task"], result["metric"], result["split"], result["ranked"]) == ("label", "accuracy", "test", True)
    assert [entry["name"] for entry in result["models"]] == ["encoder", "decoder", "encoder_decoder-seed0"]
    assert [entry["family"] for entry in result["models"]] == ["encoder", "decoder", "seq2seq"]
    best = result["models"][0]
    assert best["quality"]["scores"] == [0.80, 0.82, 0.84] and best["quality"]["mean"] == pytest.approx(0.82)
    assert best["quality"]["sd"] == pytest.approx(stdev([0.80, 0.82, 0.84]))
    assert best["best"] and best["front"] and not result["models"][1]["best"]
    assert result["models"][2]["quality"]["sd"] is None
    assert all(entry["latency_ms"] > 0 and entry["tokens_per_second"] > 0 for entry in result["models"])
    assert all(entry["latency_p95_ms"] >= entry["latency_ms"] for entry in result["models"])
    folder = runs[0] / "model"
    assert best["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert best["parameters"] == json.loads((runs[0] / "results.json").read_text())["parameters"]
    assert {each["name"]: each["quality"] for each in result["baselines"]} == {
        "majority": 0.31,
        "word, else shape": 0.6481,
    }
    assert result["best_by_budget"]["latency_ms"][-1]["name"] == "encoder"
    page = checked((tmp_path / "out" / PAGE).read_text(encoding="utf-8"))
    table = printed(result)
    for text in (page.text.replace("\u00a0", " "), table):
        for shown in ("82.0 ± 2.0 %", "71.0 ± 1.0 %", "60.0 %", "64.8 %", "31.0 %", "Best accuracy on test: encoder"):
            assert shown in text, shown
    assert "It is clearly ahead of decoder" in table and "It beats the best baseline" in table
    assert len(page.named("svg")) == 3 * 2
    assert "\u25cf" in table


def test_pretrained_runs_of_different_objectives_are_not_ranked(tmp_path: Path) -> None:
    runs = [pretrained_run(tmp_path / family, family=family) for family in ("encoder", "decoder", "encoder_decoder")]
    result = compare(runs, tmp_path / "out", progress=Silent())
    assert not result["ranked"] and result["task"] is None
    assert not any(entry["best"] or entry["front"] for entry in result["models"])
    assert result["said"] == [
        "These runs learned different things (causal, masked, spans): fine-tune them on one task to rank them."
    ]
    assert "spans" in printed(result)
    assert not checked((tmp_path / "out" / PAGE).read_text(encoding="utf-8")).named("svg")


def test_pretrained_runs_of_one_objective_and_text_are_ranked_by_loss(tmp_path: Path) -> None:
    runs = [pretrained_run(tmp_path / "a", loss=3.0), pretrained_run(tmp_path / "b", loss=2.5)]
    config = (runs[1] / "config.toml").read_text()
    (runs[1] / "config.toml").write_text(config.replace("lr = 0.001", "lr = 0.002"))
    result = compare(runs, tmp_path / "out", progress=Silent())
    assert result["ranked"] and result["lower_is_better"] and result["metric"] == "loss"
    assert [entry["best"] for entry in result["models"]] == [False, True]
    assert "With one seed a model" in printed(result)
    (runs[1] / "config.toml").write_text(config.replace('"abc"', '"other"'))
    yardstick = choose_yardstick(group_runs([read_run(run) for run in runs]))
    assert "different data" in yardstick.note


def test_runs_scored_on_different_files_are_not_ranked(tmp_path: Path) -> None:
    runs = [tuned_run(tmp_path / "a"), tuned_run(tmp_path / "b", family="decoder")]
    config = (runs[1] / "config.toml").read_text()
    (runs[1] / "config.toml").write_text(config.replace("test.jsonl", "other.jsonl"))
    groups = group_runs([read_run(run) for run in runs])
    assert "different test files" in choose_yardstick(groups).note


def test_validation_is_used_where_a_run_was_not_tested(tmp_path: Path) -> None:
    runs = [tuned_run(tmp_path / "a"), tuned_run(tmp_path / "b", family="decoder", changes={"test": None})]
    yardstick = choose_yardstick(group_runs([read_run(run) for run in runs]))
    assert (yardstick.metric, yardstick.split, yardstick.note) == ("accuracy", "valid", "")


def test_runs_that_differ_in_the_seed_only_are_one_line(tmp_path: Path) -> None:
    names = ["x/seed0", "x/seed1", "y-s0", "y-s1", "z-10", "z-11", "alone-3", "x/again"]
    seeds = [0, 1, 0, 1, 10, 11, 3, 0]
    runs = []
    for name, seed in zip(names, seeds, strict=True):
        family = {"x": "encoder", "y": "decoder", "z": "encoder_decoder", "a": "encoder"}[name[0]]
        run = tuned_run(tmp_path / name, family=family, seed=seed)
        if name.startswith("alone"):
            config = (run / "config.toml").read_text()
            (run / "config.toml").write_text(config + "epochs = 3\n")
        runs.append(read_run(run))
    groups = group_runs(runs)
    assert [(group.name, len(group.runs)) for group in groups] == [
        ("x", 2),
        ("y", 2),
        ("z", 2),
        ("alone-3", 1),
        ("again", 1),  # the same seed made again is not another sample
    ]


def test_a_model_is_timed_with_the_stacks_that_its_head_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[Reader] = []

    def measured(readers: list[Reader], *, length: int, progress: Progress) -> list[Speed]:
        timed.extend(readers)
        return reading_speed(readers, length=length, progress=progress)

    monkeypatch.setattr("trivium.evaluate.compare.reading_speed", measured)
    readouts = {"encoder": ReadoutConfig(), "both": ReadoutConfig(stack="writer")}
    runs = [tuned_run(tmp_path / name, family="encoder_decoder", readout=readout) for name, readout in readouts.items()]
    one, both = compare(runs, tmp_path / "out", progress=Silent())["models"]
    assert [reader.readout for reader in timed] == list(readouts.values())
    assert (one["name"], both["name"]) == ("encoder", "both") and both["parameters"] > one["parameters"]


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    runs = [
        tuned_run(tmp_path / folder / "run", family=family) for folder, family in (("a", "encoder"), ("b", "decoder"))
    ]
    assert [group.name for group in group_runs([read_run(run) for run in runs])] == ["a/run", "b/run"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    run = tuned_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="at least one run"):
        compare([], tmp_path / "out", progress=Silent())
    with pytest.raises(ConfigError, match="given twice"):
        compare([run, tmp_path / "." / "run"], tmp_path / "out", progress=Silent())
    with pytest.raises(CheckpointError, match="not a run's folder"):
        compare([run, tmp_path], tmp_path / "out", progress=Silent())
    unfinished = tuned_run(tmp_path / "unfinished")
    (unfinished / "results.json").unlink()
    with pytest.raises(CheckpointError, match="not finished"):
        compare([run, unfinished], tmp_path / "out", progress=Silent())
    damaged = tuned_run(tmp_path / "damaged", family="decoder")
    (damaged / "model" / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged"):
        compare([run, damaged], tmp_path / "out", progress=Silent())
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(ConfigError, match="already exists"):
        compare([run], tmp_path / "out", progress=Silent())


def test_a_busy_machine_is_mentioned(tmp_path: Path) -> None:
    result = compare([tuned_run(tmp_path / "run")], tmp_path / "out", progress=Silent())
    assert result["models"][0]["best"] and result["models"][0]["front"]
    checked(comparison_page(result | {"said": ["<b>"], "baselines": []}))
