"""Relations from the command line: fine-tuned, scored, and asked for as lines of JSON."""

import io
import json
from pathlib import Path

import pytest

from conftest import Command


def _row(number: int) -> dict[str, object]:
    fruit, tool = ("apple", "saw") if number % 2 else ("plum", "file")
    text = f"she cuts the {fruit} with the {tool}"
    spans = [
        {"start": text.index(word), "end": text.index(word) + len(word), "label": "thing"} for word in (fruit, tool)
    ]
    head, tail = spans if number % 3 else spans[::-1]
    return {"text": text, "head": head, "tail": tail, "relation": "cut with" if number % 3 else "cuts"}


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_relations_from_file_to_answers(
    trivium: Command, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = _write(tmp_path / "train.jsonl", [_row(n) for n in range(24)])
    wrong = {**_row(1), "head": {"start": 700, "end": 705, "label": "thing"}}
    valid = _write(tmp_path / "valid.jsonl", [*(_row(n) for n in range(6)), wrong])
    run = tmp_path / "run"
    code, out, error = trivium(
        *("finetune", workshop / "encoder", "--task", "relate", "--train", train, "--valid", valid, "--out", run),
        *("--epochs", 1, "--set", "settings.none=cuts", "--set", "precision=float32", "--quiet", "--json"),
    )
    assert code == 0
    results = json.loads(out)
    assert results["task"] == "relate" and results["chosen_by"] == "micro_f1"
    assert {"majority", "tf-idf + logistic regression"} == set(results["baselines"])
    assert f"1 problem in what is labelled: {valid}:7: left out: the span 700 to 705" in error
    code, out, error = trivium("evaluate", run, "--data", valid, "--json")
    scored = json.loads(out)
    assert code == 0 and scored.pop("intervals") == {"micro_f1": pytest.approx(results["intervals"]["micro_f1"])}
    assert scored == pytest.approx(results["valid"])
    assert f"1 problem in what is labelled: {valid}:7" in error
    lines = train.read_text(encoding="utf-8").splitlines()[:3]
    code, given, _ = trivium("predict", run, *lines)
    assert code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert trivium("predict", run)[:2] == (0, given)
    answers = [json.loads(line) for line in given.splitlines()]
    assert [answer["tail"] for answer in answers] == [json.loads(line)["tail"] for line in lines]
    assert {answer["relation"] for answer in answers} <= {"cuts", "cut with"} == set(answers[0]["probabilities"])
    code, _, error = trivium("predict", run, lines[0], "she cuts")
    assert code == 2 and error.count("\n") == 1 and "text 2: relate reads a JSON object" in error
