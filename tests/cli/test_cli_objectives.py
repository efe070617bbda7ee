"""`trivium inspect objectives`: every objective in a line, for programs, and drawn."""

import json
from pathlib import Path

from conftest import Command
from trivium.evaluate.objective_examples import EXAMPLES, example_picture
from trivium.evaluate.objective_facts import FACTS, kinds, settings_of


def test_each_objective_has_its_line(trivium: Command) -> None:
    code, out, _ = trivium("inspect", "objectives")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == list(kinds())
    for line, facts in zip(lines, FACTS, strict=True):
        assert all(part in line for part in (facts.families, facts.hides, facts.predicts, facts.sees, facts.paper))
        assert all(f"{name} = {value}" in line for name, value in settings_of(facts.kind).items())


def test_programs_get_them_as_json(trivium: Command) -> None:
    code, out, _ = trivium("inspect", "objectives", "--json")
    told = json.loads(out)
    assert code == 0
    assert [each["kind"] for each in told] == list(kinds())
    assert told[0]["settings"]["rate"] == "0.15"
    assert {each["kind"]: each["settings"] for each in told}["distil"]["teacher"] == "required"


def test_all_are_drawn_into_a_new_folder(trivium: Command, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    code, out, _ = trivium("inspect", "objectives", "--out", folder)
    assert code == 0
    assert out.splitlines()[-1] == f"{len(EXAMPLES)} pictures in {folder}"
    assert {file.name for file in folder.iterdir()} == {f"{name}.svg" for name in EXAMPLES}
    assert (folder / "causal.svg").read_text(encoding="utf-8") == example_picture("causal")
    code, _, error = trivium("inspect", "objectives", "--out", folder)
    assert code == 2 and "already exists" in error


def test_nothing_else_is_drawn(trivium: Command, tmp_path: Path) -> None:
    code, _, error = trivium("inspect", "encoder-tiny", "--out", tmp_path / "pictures")
    assert code == 2 and "only `trivium inspect objectives` draws pictures" in error
    assert not (tmp_path / "pictures").exists()
