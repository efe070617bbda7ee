"""`trivium pretrain` looks at a run before it begins, and says what it sees."""

from pathlib import Path

from conftest import SMALL, Command


def test_a_run_is_looked_at_first_unless_told_otherwise(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    run = ("pretrain", "decoder-tiny", "--data", workshop / "data", "--steps", 6, *SMALL)
    code, out, error = trivium(*run, "--out", tmp_path / "only", "--preflight-only")
    assert (code, out) == (0, "")
    lines = error.splitlines()
    assert lines[0].startswith("pre-flight (")
    assert lines[1].split()[:3] == ["reads", "6", "steps"]
    assert any(line.startswith("  example    [BOS]→") for line in lines)
    assert not (tmp_path / "only").exists()
    code, _, error = trivium(*run, "--out", tmp_path / "with")
    assert code == 0 and "pre-flight (" in error
    code, _, error = trivium(*run, "--out", tmp_path / "without", "--no-preflight")
    assert code == 0 and "pre-flight" not in error
    model = "model/weights.safetensors"
    assert (tmp_path / "with" / model).read_bytes() == (tmp_path / "without" / model).read_bytes()


def test_what_is_wrong_is_one_line_and_nothing_is_written(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    run = ("pretrain", "decoder-tiny", "--data", workshop / "data", "--out", tmp_path / "run", "--quiet", *SMALL)
    code, _, error = trivium(*run, "--set", "model.initialisation.std=1e30")
    assert code == 2 and len(error.splitlines()) == 1
    assert error.startswith(("trivium: the first loss is", "trivium: no parameter has a gradient"))
    assert not (tmp_path / "run").exists()
    for more in ("--no-preflight", "--resume"):
        code, _, error = trivium(*run, "--preflight-only", more)
        assert code == 2 and "--preflight-only looks at a run that is to begin" in error
