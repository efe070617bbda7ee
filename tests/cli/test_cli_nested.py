"""Spans that may overlap from the command line: fine-tuned, scored, asked for, reported, compared, not exported."""

import json
from pathlib import Path

import pytest

from conftest import Command
from trivium.data.labelled.samples import write_examples


def _write(path: Path, count: int) -> Path:
    rows = []
    for number in range(count):
        fruit, town = ("apple", "Bath") if number % 2 else ("plum", "York")
        text = f"the {fruit} market of {town} opens at {number % 9}."
        whole, inner = text.index(" opens"), text.index(town)
        spans = [[0, whole, "market"], [inner, inner + len(town), "town"]]
        rows.append({"text": text, "label": spans})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_nested_spans_from_file_to_answers(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    train, valid = _write(tmp_path / "train.jsonl", 24), _write(tmp_path / "valid.jsonl", 6)
    more = [{"text": "the plum market of York and of all the towns around opens.", "label": [[0, 51, "market"]]}]
    more.append({"text": "York!", "label": [[0, 3, "town"]]})
    valid.write_text(valid.read_text() + "".join(json.dumps(row) + "\n" for row in more), encoding="utf-8")
    run = tmp_path / "run"
    code, out, error = trivium(
        *("finetune", workshop / "encoder", "--task", "nested", "--train", train, "--valid", valid, "--out", run),
        *("--test", valid, "--epochs", 12, "--set", "optimiser.lr=0.01", "--set", "rows=2", "--quiet", "--json"),
    )
    assert code == 0
    results = json.loads(out)
    assert (
        results["task"] == "nested" and results["chosen_by"] == "f1" and set(results["by_label"]) == {"market", "town"}
    )
    assert set(results["baselines"]) == {"spans of the training examples, longest first"}
    assert f"{valid}:8: left out: the span 0 to 3 (`town`, 'Yor') does not begin and end with a word" in error
    assert f"{valid}:7: the span 'the plum market" in error and "more than settings.max_words=5: it counts" in error
    assert results["coverage"] == results["test"]["coverage"] == 12 / 13 and results["test"]["recall"] <= 12 / 13
    code, out, error = trivium("evaluate", run, "--data", valid, "--json")
    scored = json.loads(out)
    assert set(scored.pop("intervals")) == {"f1"}
    assert code == 0 and scored == pytest.approx(results["test"]) and f"{valid}:7: the span" in error
    code, out, _ = trivium("predict", run, "the apple market of Bath opens at 3.", "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and rows[0]["tokens"] == ["the", "apple", "market", "of", "Bath", "opens", "at", "3", "."]
    assert {(s["label"], s["text"]) for s in rows[0]["spans"]} == {
        ("market", "the apple market of Bath"),
        ("town", "Bath"),
    }
    assert rows[1] == {"text": "", "tokens": [], "spans": []}
    assert trivium("report", run)[0] == 0 and "market" in (run / "report.html").read_text(encoding="utf-8")
    code, out, error = trivium("compare", run, "--out", tmp_path / "compared", "--quiet")
    assert code == 0 and "nested" in out, error
    code, _, error = trivium("export", run, "--to", "huggingface", "--out", tmp_path / "hf")
    assert code == 2 and error.count("\n") == 1 and "no model with a head for `nested`" in error


def test_the_sample_is_learned_from_a_presets_random_weights(trivium: Command, tmp_path: Path) -> None:
    write_examples(tmp_path / "examples")
    sample = tmp_path / "examples" / "nested.jsonl"
    code, out, error = trivium(
        *("finetune", "encoder-tiny", "--task", "nested", "--train", sample, "--valid", sample, "--epochs", 1),
        *("--out", tmp_path / "run", "--quiet", "--json"),
    )
    assert code == 0, error
    assert json.loads(out)["coverage"] == 1.0
