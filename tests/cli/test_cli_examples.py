"""trivium quickstart --write-examples writes labelled files and does nothing else."""

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
