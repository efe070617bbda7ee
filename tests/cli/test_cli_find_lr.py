"""trivium find-lr: a table, results.json and a page; and the verbs with every optimiser."""

import json
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from conftest import SMALL, Command
from trivium.train.optimiser_config import OPTIMISERS


def test_it_says_what_to_try_and_draws_it(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    ask = ("find-lr", "decoder-tiny", "--data", workshop / "data", "--steps", 40, "--quiet", *SMALL)
    code, out, err = trivium(*ask, "--out", tmp_path / "found")
    assert code == 0, err
    results = json.loads((tmp_path / "found" / "results.json").read_text())
    assert f"--set optimiser.lr={results['suggestion']:g}" in out
    assert results["optimiser"] == "adamw" and results["lr"] == 0.003125
    assert 0 < results["suggestion"] <= results["lowest"]
    assert 10 <= len(results["tried"]) <= 40
    page = (tmp_path / "found" / "find-lr.html").read_text()
    HTMLParser().feed(page)
    assert "<svg" in page and "Loss over the learning rate" in page and "nan" not in page
    assert {path.name for path in (tmp_path / "found").iterdir()} == {"results.json", "find-lr.html"}
    code, again, _ = trivium(*ask, "--out", tmp_path / "again", "--json")
    assert code == 0 and json.loads(again) == results
    code, _, err = trivium(*ask, "--out", tmp_path / "found")
    assert code == 2 and "already exists" in err


def test_its_mistakes_are_one_line(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    ask = ("find-lr", "decoder-tiny", "--data", workshop / "data", "--out", tmp_path / "x", *SMALL)
    for more, word in ((("--low", 1, "--high", 0.1), "--low"), (("--low", -1), "above 0"), (("--steps", 3), "steps")):
        code, _, err = trivium(*ask, *more)
        assert code == 2 and word in err and "Traceback" not in err
    code, _, err = trivium(*ask, "--set", "optimiser.kind=adamm")
    assert code == 2 and "optimiser" in err and "adamw" in err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_pretrain_and_finetune_take_every_optimiser(
    trivium: Command, workshop: Path, tmp_path: Path, kind: str
) -> None:
    chosen = ("--set", f"optimiser.kind={kind}", "--set", "optimiser.decay_schedule.kind=as_lr")
    ask = ("pretrain", "encoder-tiny", "--data", workshop / "data", "--steps", 3, "--quiet", *SMALL, *chosen)
    code, _, err = trivium(*ask, "--out", tmp_path / "run")
    assert code == 0, err
    saved = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert saved["optimiser"]["kind"] == kind
    assert saved["optimiser"].get("precision", "float32") in ("float32", "bfloat16")
    code, _, err = trivium(*ask, "--out", tmp_path / "run", "--resume")
    assert code == 0, err
    files = ["--train", workshop / "train.csv", "--valid", workshop / "valid.csv", "--epochs", 2, "--quiet"]
    slower = ("--set", "layer_decay=0.8", "--set", "unfreezing.kind=epochs")
    code, _, err = trivium(
        "finetune", tmp_path / "run", "--task", "classify", *files, "--out", tmp_path / "tuned", *chosen, *slower
    )
    assert code == 0, err
    assert trivium("report", tmp_path / "tuned")[0] == 0
