"""What is said of runs that are not finished, of data that has changed, and of a run that learned nothing."""

import shutil
from pathlib import Path

import numpy as np

from conftest import SMALL, Command


def test_an_unfinished_run_is_told_of_resume(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    run = ("pretrain", "decoder-tiny", "--data", workshop / "data", "--out", tmp_path / "run", "--steps", 4, *SMALL)
    assert trivium(*run, "--no-preflight")[0] == 0
    (tmp_path / "run" / "results.json").unlink()
    code, _, error = trivium(*run)
    assert code == 2 and "--resume goes on with it" in error and "remove" not in error
    code, _, error = trivium(*run, "--resume")
    assert code == 0 and "resumed at step 4 of 4" in error
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    code, _, error = trivium(*run, "--resume")
    assert code == 0 and "the run begins at step 0" in error


def test_data_whose_content_has_changed_is_refused(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    shutil.copytree(workshop / "data", tmp_path / "data")
    run = ("pretrain", "decoder-tiny", "--data", tmp_path / "data", "--out", tmp_path / "run", "--steps", 4, *SMALL)
    assert trivium(*run, "--no-preflight")[0] == 0
    tokens = tmp_path / "data" / "train" / "000.tokens"
    content = np.fromfile(tokens, dtype=np.uint8)
    content[len(content) // 2] ^= 1
    content.tofile(tokens)
    code, _, error = trivium(*run, "--resume")
    assert code == 2 and error.count("\n") == 1
    assert "damaged: its content is not what was written" in error


def test_a_run_that_ends_where_guessing_is_is_told_so(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    data = ("--data", workshop / "data", "--no-preflight")
    run = ("pretrain", "decoder-tiny", *data, "--out", tmp_path / "run", "--steps", 3, *SMALL)
    code, _, error = trivium(*run, "--set", "optimiser.lr=1e-9")
    assert code == 0 and "nothing was learned" in error
    run = ("pretrain", "decoder-tiny", *data, "--out", tmp_path / "other", "--steps", 60, *SMALL)
    code, _, error = trivium(*run)
    assert code == 0 and "nothing was learned" not in error
