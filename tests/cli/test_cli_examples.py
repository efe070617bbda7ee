"""trivium quickstart --write-examples writes labelled files and does nothing else."""

import json
import tomllib
from pathlib import Path

from conftest import Command


def test_examples_are_written_and_nothing_is_run(trivium: Command, tmp_path: Path) -> None:
    folder, out = tmp_path / "examples", tmp_path / "runs"
    code, said, _ = trivium("quickstart", "--write-examples", folder, "--out", out)
    assert code == 0
    assert said.strip() == f"{folder / 'README.md'} says what each file is and how it is read."
    assert not out.exists()
    assert len(list(folder.iterdir())) > 20
    code, _, error = trivium("quickstart", "--write-examples", folder)
    assert code == 2
    assert "already exists" in error


def test_a_treebank_is_labelled_by_the_column_that_is_asked_for(trivium: Command, tmp_path: Path) -> None:
    assert trivium("quickstart", "--write-examples", tmp_path / "examples")[0] == 0
    file = tmp_path / "examples" / "treebank.conllu"
    once = ("--task", "label", "--train", file, "--valid", file, "--epochs", 1, "--quiet", "--json")
    found = {}
    for column in ("upos", "xpos"):
        out = tmp_path / column
        code, said, _ = trivium(
            "finetune", "bert-tiny", *once, "--out", out, "--set", f"settings.columns.treebank={column}"
        )
        assert code == 0 and json.loads(said)["coverage"] == 1.0
        found[column] = tomllib.loads((out / "model" / "task.toml").read_text(encoding="utf-8"))["labels"]
    assert {"AUX", "PRON"} < set(found["upos"]) and {"PRP"} < set(found["xpos"])
    assert (
        trivium("finetune", "bert-tiny", *once, "--out", tmp_path / "no", "--set", "settings.columns.treebank=head")[0]
        == 2
    )
