"""A small prepared data set and runs made of it by the command line, shared by the tests of the verbs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trivium.cli.main import _run

SMALL = ["--set", "data.row_length=32", "--set", "train.rows=4", "--set", "train.validate_rows=8"]
WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "grape", "melon"],
    "tool": ["hammer", "saw", "drill", "file", "wrench", "plane"],
    "verb": ["takes", "sees", "finds", "buys", "keeps"],
}

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trivium(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process; return its exit code and what it wrote."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = _run([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


def sentence(rng: np.random.Generator, kind: str) -> list[str]:
    """Return the words of a made-up sentence about one kind of thing."""
    return ["she", rng.choice(WORDS["verb"]), "the", rng.choice(WORDS[kind]), "and", "the", rng.choice(WORDS[kind])]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text/, data/, three families pretrained for a few steps, and labelled files."""
    folder = tmp_path_factory.mktemp("workshop")
    rng = np.random.default_rng(11)
    (folder / "text").mkdir()
    for number in range(3):
        documents = [
            " . ".join(" ".join(sentence(rng, str(rng.choice(["fruit", "tool"])))) for _ in range(4)) for _ in range(60)
        ]
        (folder / "text" / f"{number}.txt").write_text("\n\n".join(documents), encoding="utf-8")
    for split, size in (("train", 60), ("valid", 20), ("test", 20)):
        with (folder / f"{split}.csv").open("w", encoding="utf-8") as file:
            file.write("text,label\n")
            for number in range(size):
                kind = ("fruit", "tool")[number % 2]
                file.write(f"{' '.join(sentence(rng, kind))},{kind}\n")
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(size):
                words = sentence(rng, ("fruit", "tool")[number % 2])
                labels = [next((kind for kind in WORDS if word in WORDS[kind]), "_") for word in words]
                file.write(json.dumps({"tokens": words, "labels": labels}) + "\n")
    assert (
        _run(["prepare", str(folder / "text"), "--out", str(folder / "data"), "--vocabulary-size", "420", "--quiet"])
        == 0
    )
    for family in ("encoder", "decoder", "seq2seq"):
        run = [
            "pretrain",
            f"{family}-tiny",
            "--data",
            folder / "data",
            "--out",
            folder / family,
            "--steps",
            12,
            "--quiet",
        ]
        assert _run([str(part) for part in [*run, *SMALL]]) == 0
    return folder
