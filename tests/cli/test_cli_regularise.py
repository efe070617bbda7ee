"""Regularisers and averages from the command line: pretrained with, fine-tuned with, averaged afterwards."""

import json
import tomllib
from pathlib import Path

import pytest
from safetensors.torch import load_file

from conftest import SMALL, Command


def _pretrain(trivium: Command, workshop: Path, out: Path, *settings: str, recipe: str = "decoder-tiny") -> None:
    changes = [part for setting in settings for part in ("--set", setting)]
    code, _, error = trivium(
        "pretrain", recipe, "--data", workshop / "data", "--out", out, "--steps", 6, "--quiet", *SMALL, *changes
    )
    assert (code, error) == (0, "")


def _log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_pretraining_with_regularisers_and_an_average(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    regularisers = 'regularisers=[{kind="label_smoothing", share=0.2}, {kind="neftune"}, {kind="r_drop"}]'
    _pretrain(trivium, workshop, run, regularisers, "averaging.kind=ema", "averaging.decay=0.5")
    config = tomllib.loads((run / "config.toml").read_text())
    assert [each["kind"] for each in config["regularisers"]] == ["label_smoothing", "neftune", "r_drop"]
    assert config["averaging"] == {"kind": "ema", "decay": 0.5, "warmup": 9}
    training = [line for line in _log(run) if "split" not in line]
    validated = [line for line in _log(run) if "split" in line]
    assert len(training) == 6 and len(validated) > 1
    assert all({"causal", "label_smoothing", "r_drop"} <= set(line) for line in training)
    for line in training:
        expected = 0.8 * line["causal"] + 0.2 * line["label_smoothing"] + 0.5 * line["r_drop"]
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
    # Held-out text is measured by the plain cross-entropy.
    assert all(line["loss"] == line["causal"] and "label_smoothing" not in line for line in validated)
    assert (
        trivium("pretrain", run / "config.toml", "--data", workshop / "data", "--out", tmp_path / "again", "--quiet")[0]
        == 0
    )
    weights = Path("model") / "weights.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (run / weights).read_bytes()
    assert trivium("report", run)[0] == 0
    code, out, _ = trivium("evaluate", run, "--data", workshop / "data", "--json")
    assert code == 0 and json.loads(out)["unit"] == "bits a byte"


def test_fine_tuning_with_all_of_it(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    settings = [
        'regularisers=[{kind="smart"}, {kind="fgm"}]',
        'averaging={kind="tail", share=0.5}',
        "mixout=0.5",
        "stochastic_depth=0.1",
        "reinitialise_layers=1",
    ]
    ask = ["finetune", workshop / "encoder", "--task", "classify", "--train", workshop / "train.csv"]
    ask += ["--valid", workshop / "valid.csv", "--out", tmp_path / "tuned", "--epochs", 2, "--quiet"]
    code, _, error = trivium(*ask, *[part for setting in settings for part in ("--set", setting)])
    assert (code, error) == (0, "")
    steps = [line for line in _log(tmp_path / "tuned") if "split" not in line]
    assert steps and all({"classify", "smart", "fgm_classify", "fgm_smart"} <= set(line) for line in steps)
    assert trivium("predict", tmp_path / "tuned", "she takes the apple")[0] == 0
    assert trivium("report", tmp_path / "tuned")[0] == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('regularisers=[{kind="label_smothing"}]', "regularisers.0"),
        ('regularisers=[{kind="z_loss"}, {kind="z_loss"}]', "found `z_loss` 2 times"),
        ('regularisers=[{kind="r_drop"}]', "drops nothing out"),
        ("mixout=0.5", "this one begins with none"),
        ("averaging.decay=2", "averaging"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    setting: str, message: str, trivium: Command, workshop: Path, tmp_path: Path
) -> None:
    ask = ("pretrain", "decoder-tiny", "--data", workshop / "data", "--out", tmp_path / "run", "--steps", 2)
    code, _, error = trivium(*ask, *SMALL, "--set", setting, "--quiet")
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_last_checkpoints_of_a_run_are_averaged(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "average"
    _pretrain(trivium, workshop, run, "train.checkpoint_steps=1", "train.checkpoints_kept=3")
    code, said, _ = trivium("average", run, "--last", 3, "--out", out, "--data", workshop / "data", "--json")
    assert code == 0
    # Measured as the run measures: close to the loss of its last weights, and not the same.
    loss, last = json.loads(said)["loss"], json.loads((run / "results.json").read_text())["valid"]["loss"]
    assert loss == pytest.approx(last, rel=0.1) and loss != last
    assert json.loads((out / "results.json").read_text())["valid"] == {"loss": loss}
    assert json.loads(said)["steps"] == [4, 5, 6]
    averaged = load_file(out / "model" / "weights.safetensors")
    parts = [load_file(run / "checkpoints" / f"step-{step:06d}" / "weights.safetensors") for step in (4, 5, 6)]
    assert len(averaged) > 10
    for name, tensor in averaged.items():
        mean = sum(part[name].double() for part in parts) / 3
        assert (tensor.double() - mean).abs().max() < 1e-7  # type: ignore[union-attr]
        assert not tensor.equal(parts[-1][name])
    code, scored, _ = trivium("evaluate", out, "--data", workshop / "data", "--json")
    assert code == 0 and json.loads(scored)["model"] > 0
    assert trivium("generate", out, "--prompt", "she takes", "--max-new-tokens", 3)[0] == 0
    for last, where, message in ((9, tmp_path / "other", "fewer than 9"), (2, out, "already exists")):
        code, _, error = trivium("average", run, "--last", last, "--out", where)
        assert code == 2 and message in error
    assert trivium("average", out, "--last", 2, "--out", tmp_path / "other")[0] == 2
    assert trivium("compare", run, out, "--out", tmp_path / "compared")[0] == 0
    damaged = run / "checkpoints" / "step-000005" / "weights.safetensors"
    damaged.write_bytes(b"")
    code, _, error = trivium("average", run, "--last", 2, "--out", tmp_path / "other")
    assert code == 2 and "step-000005" in error and not (tmp_path / "other").exists()
