"""What goes wrong is one clear line, exit code 2, and nothing lost."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Command


def one_line(result: tuple[int, str, str], *words: str) -> None:
    """Check that a command failed as the user's mistake, in one line that holds these words."""
    code, _, error = result
    lines = [line for line in error.splitlines() if line.startswith("trivium: ")]
    assert code == 2
    assert len(lines) == 1
    assert "Traceback" not in error
    for word in words:
        assert word in lines[0], lines[0]


def test_unknown_verb_option_preset_key_and_value(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    data, out = ("--data", workshop / "data"), ("--out", tmp_path / "r")
    one_line(trivium("pretran"), "pretran", "Did you mean `pretrain`?")
    one_line(trivium("pretrain", "encoder-tiny", *data, *out, "--stepz", 3), "--stepz")
    one_line(trivium("pretrain", "encoder-tinny", *data, *out), "Did you mean `encoder-tiny`?")
    one_line(trivium("pretrain", "encoder-tiny", *data, *out, "--set", "train.row=3"), "`row`", "Did you mean `rows`?")
    one_line(trivium("pretrain", "encoder-tiny", *data, *out, "--set", "train.rows=three"), "train.rows")
    one_line(trivium("pretrain", "encoder-tiny", *data, *out, "--set", "train.accumulation=3"), "does not divide")
    one_line(trivium("pretrain", "encoder-tiny", *data, *out, "--set", 'objective.kind="spans"'), "spans")
    one_line(trivium("pretrain", "missing.toml", *data, *out), "missing.toml")
    one_line(trivium("inspect", "gpt3"), "gpt3")
    assert not (tmp_path / "r").exists()


def test_bad_text(trivium: Command, tmp_path: Path) -> None:
    cases = {
        "empty.txt": (b"", "empty"),
        "junk.txt": (bytes(range(256)) * 40, "binary"),
        "latin.txt": ("Ein schönes Beispiel.\n\n".encode("latin-1") * 50, "utf-8"),
        "rows.jsonl": (b'{"body": "a text"}\n', "body"),
    }
    assert cases
    for name, (content, word) in cases.items():
        (tmp_path / name).write_bytes(content)
        one_line(trivium("prepare", tmp_path / name, "--out", tmp_path / "d", "--quiet"), name, word)
        assert not (tmp_path / "d").exists()
        assert (tmp_path / name).read_bytes() == content
    one_line(trivium("prepare", tmp_path / "nowhere", "--out", tmp_path / "d"), "nowhere")


def test_bad_labels(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("text,lable\na,b\nc,d\n")
    files = ("--valid", workshop / "valid.csv", "--out", tmp_path / "r")
    ask = ("finetune", workshop / "encoder", "--task", "classify")
    one_line(trivium(*ask, "--train", bad, *files), "bad.csv", "label", "lable")
    one_line(trivium("finetune", workshop / "encoder", "--task", "clasify", "--train", bad, *files), "classify")
    bad.write_text("text,label\na,b\nc,d\n")
    one_line(trivium(*ask, "--train", bad, *files), "valid.csv")
    assert not (tmp_path / "r").exists()


def test_an_existing_out_is_refused_and_left_alone(trivium: Command, workshop: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in workshop.rglob("*"))
    one_line(trivium("prepare", workshop / "text", "--out", workshop / "data"), "already exists")
    one_line(
        trivium("pretrain", "encoder-tiny", "--data", workshop / "data", "--out", workshop / "encoder"),
        "already exists",
    )
    files = ("--train", workshop / "train.csv", "--valid", workshop / "valid.csv", "--out", workshop / "decoder")
    one_line(trivium("finetune", workshop / "encoder", "--task", "classify", *files), "already exists")
    one_line(trivium("compare", workshop / "encoder", "--out", workshop / "decoder"), "already exists")
    one_line(trivium("quickstart", "--out", workshop), "already exists")
    assert sorted((path, path.stat().st_mtime_ns) for path in workshop.rglob("*")) == before


def test_a_damaged_model_and_a_model_of_another_kind(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    run = shutil.copytree(workshop / "encoder", tmp_path / "run")
    weights = run / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    one_line(trivium("fill", run, "a [MASK]"), "weights.safetensors", "damaged")
    weights.write_bytes(content[: len(content) // 2])
    one_line(trivium("fill", run, "a [MASK]"), "weights.safetensors")
    weights.unlink()
    one_line(trivium("fill", run, "a [MASK]"), "weights.safetensors", "missing")
    one_line(trivium("fill", tmp_path, "a [MASK]"), "model")
    one_line(trivium("fill", workshop / "decoder", "a [MASK]"), "generate")
    one_line(trivium("fill", workshop / "encoder", "no hole"), "[MASK]")
    one_line(trivium("generate", workshop / "encoder", "--prompt", "a"), "encoder")
    decoder = ("generate", workshop / "decoder", "--prompt", "a")
    one_line(trivium(*decoder, "--greedy", "--beams", 2), "--greedy and --beams")
    one_line(trivium(*decoder, "--max-new-tokens", 2, "--min-new-tokens", 3), "min_new_tokens")
    one_line(trivium("predict", workshop / "encoder", "a"), "finetune")
    one_line(trivium("report", tmp_path / "nothing"), "nothing")


def test_resume_refuses_another_setting_or_text_by_name(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    run = shutil.copytree(workshop / "encoder", tmp_path / "run")
    small = ("--set", "data.row_length=32", "--set", "train.rows=4", "--set", "train.validate_rows=8")
    ask = ("pretrain", "encoder-tiny", "--out", run, "--steps", 12, "--resume", *small)
    one_line(trivium(*ask, "--data", workshop / "data", "--set", "optimiser.lr=0.5"), "optimiser.lr")
    other = tmp_path / "other"
    assert trivium("prepare", workshop / "text" / "0.txt", "--out", other, "--vocabulary-size", 420, "--quiet")[0] == 0
    one_line(trivium(*ask, "--data", other), "data")


def test_damaged_checkpoints(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    small = ("--set", "data.row_length=32", "--set", "train.rows=4", "--set", "train.validate_rows=8")
    ask = ("pretrain", "encoder-tiny", "--data", workshop / "data", "--steps", 12, "--resume", *small)
    run = shutil.copytree(workshop / "encoder", tmp_path / "run")
    newest = run / "checkpoints" / "step-000012" / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    code, _, error = trivium(*ask, "--out", run, "--quiet")
    assert code == 0
    assert "damaged" in error and error.count("\n") == 1  # that is said even to those who want to see no progress
    assert (run / "model" / "weights.safetensors").read_bytes() == (
        workshop / "encoder" / "model" / "weights.safetensors"
    ).read_bytes()
    checkpoints = list((run / "checkpoints").iterdir())
    assert checkpoints
    for checkpoint in checkpoints:
        (checkpoint / "optimiser.safetensors").unlink()
    one_line(trivium(*ask, "--out", run), "optimiser.safetensors")


def test_a_full_disk(trivium: Command, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trivium.train.checkpoint.save_tensors", full)
    small = ("--set", "data.row_length=32", "--set", "train.rows=4", "--set", "train.checkpoint_steps=2")
    ask = ("pretrain", "encoder-tiny", "--data", workshop / "data", "--steps", 12, *small)
    one_line(trivium(*ask, "--out", tmp_path / "r"), "space")
    assert not list((tmp_path / "r" / "checkpoints").iterdir())
    monkeypatch.undo()
    assert trivium(*ask, "--out", tmp_path / "r", "--resume", "--quiet")[0] == 0


def test_help_loads_no_torch() -> None:
    code = "import sys, trivium.cli.main; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    shown = subprocess.run([sys.executable, "-m", "trivium", "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    for verb in ("quickstart", "prepare", "pretrain", "finetune", "evaluate", "predict", "generate", "fill"):
        assert verb in shown.stdout
