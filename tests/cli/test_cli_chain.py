"""Trained on and on: domain's text, task's text, a task, another task; each folder says where its weights come from."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SMALL, Command
from trivium.cli.main import _run
from trivium.core.files import write_checksums
from trivium.data.shards import PreparedData
from trivium.model.folder import load_model
from trivium.tasks.folder import load_tuned
from trivium.tasks.start import open_run

Chain = dict[str, Path]


def _ok(*arguments: object) -> None:
    assert _run([str(argument) for argument in arguments]) == 0


def _weights(run: Path) -> str:
    return hashlib.sha256((run / "model" / "weights.safetensors").read_bytes()).hexdigest()


def _history(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "model" / "history.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def chain(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """An encoder trained on its domain's text, on its task's own, on words, and on classes."""
    folder = tmp_path_factory.mktemp("chain")
    words, classes = workshop / "train.jsonl", workshop / "train.csv"
    _ok("prepare", words, "--task", "label", "--tokenizer", workshop / "encoder", "--out", folder / "own", "--quiet")
    runs = {"first": workshop / "encoder"}
    for name, before, data in (("domain", "first", workshop / "data"), ("task", "domain", folder / "own")):
        runs[name] = folder / name
        pretrain = ("pretrain", "encoder-tiny", "--data", data, "--from", runs[before], "--out", runs[name])
        _ok(*pretrain, "--steps", 4, "--seed", 3, "--quiet", "--no-preflight", *SMALL)
    tuned = ("--epochs", 1, "--set", "row_length=32", "--quiet", "--json")
    for name, before, task, train in (("words", "task", "label", words), ("classes", "words", "classify", classes)):
        runs[name] = folder / name
        files = ("--train", train, "--valid", workshop / f"valid{train.suffix}", "--out", runs[name])
        _ok("finetune", runs[before], "--task", task, *files, *tuned)
    yield runs


def test_each_run_keeps_the_whole_chain(chain: Chain, workshop: Path, tmp_path: Path) -> None:
    names = list(chain)
    history = _history(chain["classes"])
    assert [step["verb"] for step in history] == ["pretrain"] * 3 + ["finetune"] * 2
    assert [step.get("objective") or step.get("task") for step in history] == ["masked"] * 3 + ["label", "classify"]
    assert [step["weights"] for step in history] == [_weights(chain[name]) for name in names]
    assert [step.get("name") for step in history] == [*(str(chain[name]) for name in names[:-1]), None]
    assert [step["steps"] for step in history[:3]] == [12, 4, 4] and all(step["tokens"] > 0 for step in history)
    prepared = PreparedData.open(workshop / "data").fingerprint
    own = PreparedData.open(chain["task"].parent / "own").fingerprint
    files = [hashlib.sha256((workshop / name).read_bytes()).hexdigest() for name in ("train.jsonl", "train.csv")]
    assert [step["data"] for step in history] == [prepared, prepared, own, *files]
    for number, name in enumerate(names):
        mine = _history(chain[name])
        assert mine == [*history[:number], {key: v for key, v in history[number].items() if key != "name"}]
        assert json.loads((chain[name] / "results.json").read_text(encoding="utf-8"))["history"] == mine
    shutil.copytree(chain["classes"] / "model", tmp_path / "alone")  # moved by itself, it still knows
    assert [step.weights for step in open_run(tmp_path / "alone").history] == [step["weights"] for step in history]


def test_what_is_gone_on_from_is_the_stack(chain: Chain) -> None:
    start, tuned = open_run(chain["words"]), load_tuned(chain["words"])
    assert start.network is not None and start.row_length == 32
    expected = dict(tuned.model.named_parameters())
    reader = dict(start.reader(0).named_parameters())
    assert len(reader) > 10 and all(torch.equal(tensor, expected[f"reader.{n}"]) for n, tensor in reader.items())
    assert load_tuned(chain["classes"]).task.labels == ("fruit", "tool") != tuned.task.labels


def test_the_chain_is_shown(chain: Chain, trivium: Command) -> None:
    run, history = chain["classes"], _history(chain["classes"])
    code, out, _ = trivium("inspect", run)
    assert code == 0
    lines = [line.strip() for line in out.splitlines() if line.strip()[:2] in ("1.", "2.", "3.", "4.", "5.")]
    assert [line.split(",")[0] for line in lines] == [
        *(f"{number}. pretrain masked" for number in (1, 2, 3)),
        "4. finetune label",
        "5. finetune classify",
    ]
    assert all(step["weights"][:12] in line for step, line in zip(history, lines, strict=True))
    shown = json.loads(trivium("inspect", run, "--json")[1])["history"]
    assert shown == [*history[:-1], {**history[-1], "name": str(run)}]
    assert trivium("report", run)[0] == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "How its weights came to be" in page and all(step["weights"][:12] in page for step in history)


def test_a_run_that_goes_on_keeps_its_chain(chain: Chain, workshop: Path, tmp_path: Path, trivium: Command) -> None:
    for run, name in ((tmp_path / "pretrained", "task"), (tmp_path / "tuned", "classes")):
        shutil.copytree(chain[name], run)
        shutil.rmtree(run / "model")
        (run / "results.json").unlink()
    pretrain = ("pretrain", "encoder-tiny", "--data", chain["task"].parent / "own", "--out", tmp_path / "pretrained")
    assert trivium(*pretrain, "--steps", 4, "--seed", 3, "--resume", "--quiet", *SMALL)[0] == 0
    assert _history(tmp_path / "pretrained") == _history(chain["task"])
    files = ("--train", workshop / "train.csv", "--valid", workshop / "valid.csv", "--out", tmp_path / "tuned")
    settings = ("--epochs", 1, "--set", "row_length=32", "--quiet", "--resume")
    assert trivium("finetune", chain["words"], "--task", "classify", *files, *settings)[0] == 0
    assert _history(tmp_path / "tuned") == _history(chain["classes"])


def test_of_a_foreign_folder_the_chain_begins_with_its_name(chain: Chain, tmp_path: Path, trivium: Command) -> None:
    out = tmp_path / "hub"
    assert trivium("export", chain["domain"], "--to", "huggingface", "--out", out)[0] == 0
    [found] = open_run(out, "hf://somebody/something").history
    expected = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert (found.verb, found.name, found.weights) == ("found", "hf://somebody/something", expected)
    older = shutil.copytree(chain["domain"] / "model", tmp_path / "older")
    (older / "history.json").unlink()
    write_checksums(older)
    [found] = open_run(older).history
    assert (found.verb, found.weights) == ("found", _weights(chain["domain"]))


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_an_encoder_decoder_begins_with_a_stack_on_both_sides(
    family: str, workshop: Path, tmp_path: Path, trivium: Command
) -> None:
    out = tmp_path / "both"
    pretrain = ("pretrain", "seq2seq-tiny", "--data", workshop / "data", "--from", workshop / family, "--out", out)
    objective = "objective={kind='denoise'}"
    code, _, error = trivium(*pretrain, "--steps", 1, "--set", objective, "--set", "optimiser.lr=1e-9", *SMALL)
    assert code == 0 and "on both sides; what looks from one to the other is drawn anew" in error
    both, one = (dict(load_model(run / "model").network.named_parameters()) for run in (out, workshop / family))
    shared = [name.partition(".")[2] for name in one if name.startswith("stack.")]
    assert len(shared) > 10
    for side, name in itertools.product(("encoder", "decoder"), shared):
        where = f"{side}.{name}" if f"{side}.{name}" in both else f"encoder.{name}"  # they share the embedding
        assert torch.allclose(both[where], one[f"stack.{name}"], atol=1e-6)
    assert [step["verb"] for step in _history(out)] == ["pretrain"] * 2
    code, _, error = trivium("generate", out, "--prompt", "she takes")
    assert code == 2 and error.count("\n") == 1  # `denoise` has not taught it to be asked
    other = {"encoder": "decoder", "decoder": "encoder"}[family]
    code, _, error = trivium(
        "pretrain", f"{other}-tiny", "--data", workshop / "data", "--from", out, "--out", tmp_path / "x"
    )
    assert code == 2 and f"expected a model of the recipe's family, {other}; found encoder_decoder" in error


def test_a_run_that_has_not_ended_is_said_to_be_one(chain: Chain, tmp_path: Path, trivium: Command) -> None:
    run = shutil.copytree(chain["domain"], tmp_path / "run")
    shutil.rmtree(run / "model")
    data = chain["task"].parent / "own"
    pretrain = ("pretrain", "encoder-tiny", "--data", data, "--from", run, "--out", tmp_path / "out")
    for command in (pretrain, ("generate", run, "--prompt", "she")):
        code, _, error = trivium(*command)
        assert (
            code == 2 and f"{run}: no model/ in it; an unfinished run is gone on with by `pretrain --resume`." in error
        )


def test_labelled_files_become_texts(workshop: Path, tmp_path: Path, trivium: Command) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("sentence\tlabel\nan apple\tx\na pear\ty\na plum, sour\tx\nan apple\tx\n", encoding="utf-8")
    prepare = ("prepare", table, "--out", tmp_path / "out", "--tokenizer", workshop / "encoder", "--quiet")
    code, _, error = trivium(*prepare, "--task", "classify")
    assert code == 2 and "`text`" in error and error.count("\n") == 1
    assert trivium(*prepare, "--task", "classify", "--set", "settings.columns.text=sentence")[0] == 0
    data = PreparedData.open(tmp_path / "out")
    assert data.tokenizer.to_bytes() == PreparedData.open(workshop / "data").tokenizer.to_bytes()
    assert data.manifest.ledger.kept_bytes == len("an applea peara plum, sour")
    for option, value in (("--field", "sentence"), ("--boundary", "line"), ("--encoding", "utf-8")):
        code, _, error = trivium(*prepare, "--task", "classify", option, value)
        assert code == 2 and error.count("\n") == 1
        assert f"{option}: not read beside --task" in error and "--set settings.columns.text=NAME" in error
    code, _, error = trivium(*prepare, "--set", "settings.columns.text=sentence")
    assert code == 2 and "--task" in error


def test_an_average_is_a_step_of_its_own(chain: Chain, tmp_path: Path, trivium: Command) -> None:
    out = tmp_path / "averaged"
    assert trivium("average", chain["domain"], "--last", 2, "--out", out)[0] == 0
    history = _history(out)
    assert [step["verb"] for step in history] == ["pretrain", "pretrain", "average"]
    assert history[1] == {**_history(chain["domain"])[-1], "name": str(chain["domain"])}
    assert history[2] == {"verb": "average", "weights": _weights(out)}
