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


def test_spans_and_relations_are_found_together(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(24):
        row = _row(number)
        spans = sorted((row["head"], row["tail"]), key=lambda span: span["start"])  # type: ignore[index]
        ends = {"head": spans.index(row["head"]), "tail": spans.index(row["tail"])}
        rows.append({"text": row["text"], "spans": spans, "relations": [{**ends, "label": row["relation"]}]})
    train, valid = _write(tmp_path / "train.jsonl", rows), _write(tmp_path / "valid.jsonl", rows[:6])
    runs = {}
    for task in ("spans", "relate"):
        runs[task] = tmp_path / task
        finetune = ("finetune", workshop / "encoder", "--task", task, "--train", train, "--valid", valid)
        settings = ("--epochs", 6, "--set", "optimiser.lr=0.01", "--set", "rows=2", "--quiet", "--json")
        assert trivium(*finetune, "--out", runs[task], *settings)[0] == 0
    joint = (runs["spans"], "--relations", runs["relate"])
    code, out, _ = trivium("predict", *joint, rows[0]["text"], rows[1]["text"])
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [set(answer) for answer in answers] == [{"text", "spans", "relations"}] * 2
    assert [answer["spans"] for answer in answers] == [row["spans"] for row in rows[:2]]  # so easy are they to find
    code, out, _ = trivium("evaluate", *joint, "--data", valid, "--json")
    assert code == 0
    scores = json.loads(out)
    assert set(scores) == {"spans", "relations_given_spans", "relations_found_spans"}
    assert scores["spans"]["f1"] == 1.0 and scores["relations_found_spans"] == scores["relations_given_spans"]
    assert 0.0 < scores["relations_given_spans"]["recall"] <= 1.0
    code, out, _ = trivium("evaluate", *joint, "--data", valid)
    assert code == 0 and out.splitlines()[0].split() == ["precision", "recall", "f1", "boundaries_f1"]
    code, _, error = trivium("predict", runs["relate"], "--relations", runs["spans"], "she")
    assert code == 2 and error.count("\n") == 1 and "found by a model of the task relate, found one of spans" in error
    code, _, error = trivium("predict", runs["relate"], "--relations", runs["relate"], "she")
    assert code == 2 and "spans are found by a model of the task spans, nested or label, found one of relate" in error
