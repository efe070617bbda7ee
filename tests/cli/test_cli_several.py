"""Every task with a head of its own, learned by one stack from the command line, and each used as a run."""

import json
from pathlib import Path

import pytest

from conftest import Command

FILES = {
    "classify": ("classify.csv", ""),
    "multi_label": ("multi-label.jsonl", 'settings = {columns = {label = "labels"}}'),
    "regress": ("regression.tsv", ""),
    "label": ("label.jsonl", ""),
    "spans": ("spans.jsonl", 'settings = {chain = "trained"}'),
    "relate": ("relations.jsonl", ""),
    "answer": ("answers-squad.json", ""),
}
ASKED = {
    "answer": json.dumps({"question": "Who lived?", "context": "Ada Lovelace lived in London."}),
    "relate": json.dumps(
        {
            "text": "Ada met Bob",
            "head": {"start": 0, "end": 3, "label": "a"},
            "tail": {"start": 8, "end": 11, "label": "a"},
        }
    ),
}


@pytest.fixture
def tasks(trivium: Command, tmp_path: Path) -> Path:
    assert trivium("quickstart", "--write-examples", tmp_path / "files")[0] == 0
    tables = [
        f'[[task]]\ntask = "{task}"\ntrain = "files/{file}"\nvalid = "files/{file}"\ntest = "files/{file}"\n{more}\n'
        for task, (file, more) in FILES.items()
    ]
    (tmp_path / "tasks.toml").write_text("\n".join(tables), encoding="utf-8")
    return tmp_path / "tasks.toml"


@pytest.mark.parametrize("family", ["encoder", "seq2seq"])
def test_seven_tasks_at_once(family: str, trivium: Command, tasks: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ("--epochs", 2, "--set", "precision=float32", "--set", "rows=14", "--quiet")
    code, out, _ = trivium("finetune", f"{family}-tiny", "--tasks", tasks, "--out", run, *settings, "--json")
    assert code == 0
    results = json.loads(out)
    assert list(results["tasks"]) == list(FILES) and results["coverage"] == 1.0
    assert results == json.loads((run / "results.json").read_text(encoding="utf-8"))
    for task, (file, _) in FILES.items():
        found, folder = results["tasks"][task], run / "tasks" / task
        assert found["task"] == task and found["baselines"]
        code, out, error = trivium("evaluate", folder, "--data", tmp_path / "files" / file, "--json")
        assert code == 0, error
        scored = json.loads(out)
        assert set(scored.pop("intervals")) == {found["chosen_by"]} == set(found["intervals"])
        assert scored == pytest.approx(found["test"], abs=1e-5)
        code, out, error = trivium("predict", folder, ASKED.get(task, "Ada lived in London."))
        assert code == 0 and len(out.splitlines()) == 1, error
        assert trivium("report", folder)[0] == 0
    joint = (run / "tasks" / "spans", "--relations", run / "tasks" / "relate")
    assert trivium("predict", *joint, "Ada lived in London.")[0] == 0
    assert trivium("report", run)[0] == 0 and "several" in (run / "report.html").read_text(encoding="utf-8")
    code, out, _ = trivium("watch", run, "--once", "--json")
    assert code == 0
    if family == "encoder":
        exported = tmp_path / "hub"
        assert trivium("export", run / "tasks" / "classify", "--to", "huggingface", "--out", exported)[0] == 0
        assert trivium("compare", run / "tasks" / "classify", "--out", tmp_path / "compared")[0] == 0
    code, _, error = trivium("predict", run, "Ada")
    assert code == 2 and error.count("\n") == 1 and "a run of several tasks; name one of them" in error


def test_options_that_do_not_fit_are_one_line(trivium: Command, tasks: Path, workshop: Path, tmp_path: Path) -> None:
    both = ("finetune", workshop / "encoder", "--tasks", tasks, "--out", tmp_path / "run")
    code, _, error = trivium(*both, "--task", "classify", "--train", tasks)
    assert code == 2 and error.count("\n") == 1 and "leave out --task, --train" in error
    code, _, error = trivium("finetune", workshop / "encoder", "--task", "classify", "--out", tmp_path / "run")
    assert code == 2 and error.count("\n") == 1 and "missing --train, --valid; or --tasks FILE" in error
    code, _, error = trivium(*both[:3], tmp_path / "none.toml", *both[4:])
    assert code == 2 and "none.toml: no such file" in error
    assert not (tmp_path / "run").exists()
