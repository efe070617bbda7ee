"""The task `write` from the command line: a folder of mails, columns by name, dialogues, answers as JSON lines."""

import io
import json
from pathlib import Path

import pytest

from conftest import Command

SMALL = [
    "--set",
    "row_length=32",
    "--set",
    "max_steps=2",
    "--set",
    "settings.valid_outputs=2",
    "--set",
    "settings.max_target=6",
]
MAILS = {"one": ("Can we meet at noon?", "Meeting at noon"), "two": ("我们中午见面好吗？", "中午见面")}


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    (tmp_path / "mails").mkdir()
    for name, (body, subject) in MAILS.items():
        (tmp_path / "mails" / f"{name}.subject").write_text(f"{body}\n\n@subject\n{subject}\n", encoding="utf-8")
    return tmp_path / "mails"


def test_mails_are_learned_scored_and_answered(
    trivium: Command, mails: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    ask = ["finetune", "seq2seq-tiny", "--task", "write", "--train", mails, "--valid", mails, "--test", mails]
    code, said, error = trivium(*ask, "--out", out, *SMALL, "--json", "--quiet")
    assert code == 0, error
    results = json.loads(said)
    assert results["chosen_by"] == "rouge_l" and results["coverage"] == 0.5
    assert error.count(" were cut; ") == 3  # English is more than six tokens of this tokenizer's
    [first, *_] = results["mistakes"]
    assert (first["text"], first["right"]) in MAILS.values() and 0 <= first["rouge_l"] < 1
    assert trivium("report", out)[0] == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "ROUGE-L" in page[page.index("Its worst mistakes") :] and first["text"].rstrip("？?") in page
    code, said, error = trivium("evaluate", out, "--data", mails, "--json")
    assert code == 0, error
    scored = json.loads(said)
    assert scored.pop("intervals").keys() == {"rouge_l"}
    assert scored == pytest.approx(results["test"])
    code, said, error = trivium("predict", out, *(body for body, _ in MAILS.values()))
    assert code == 0, error
    answers = [json.loads(line) for line in said.splitlines()]
    assert [answer["text"] for answer in answers] == [body for body, _ in MAILS.values()]
    rows = [{"text": body} for body, _ in MAILS.values()] + [{"turns": ["Hi", "Hello"]}]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(json.dumps(row) + "\n" for row in rows)))
    code, said, error = trivium("predict", out)
    assert code == 0, error
    lines = [json.loads(line) for line in said.splitlines()]
    assert lines[:2] == answers and lines[2]["text"] == "Hi\nHello"
    code, said, error = trivium(*ask, "--out", out, *SMALL, "--resume", "--json", "--quiet")
    assert code == 0 and json.loads(said)["test"] == pytest.approx(results["test"])
    (mails / "one.subject").write_text("Other\n\n@subject\nOther\n")
    code, _, error = trivium(*ask, "--out", out, *SMALL, "--resume", "--quiet")
    assert code == 2 and "the training file has changed" in error and error.count("\n") == 1


def test_labels_are_written_by_a_decoder_from_named_columns(trivium: Command, tmp_path: Path) -> None:
    table, out = tmp_path / "a.csv", tmp_path / "run"
    table.write_text("text,label\nan apple,fruit\na saw,tool\n")
    ask = ["finetune", "decoder-tiny", "--task", "write", "--train", table, "--valid", table, "--out", out]
    code, _, error = trivium(*ask, *SMALL, "--quiet")
    assert code == 2 and "no column `source`" in error
    columns = ["--set", "settings.columns.source=text", "--set", "settings.columns.target=label"]
    code, said, error = trivium(*ask, *SMALL, *columns, "--quiet")
    assert code == 0, error
    assert "first sentence" in said and "rouge_l" in said
    code, said, error = trivium("evaluate", out, "--data", table, "--json")
    assert code == 0 and {"rouge_l", "bleu", "exact"} <= json.loads(said).keys()


@pytest.mark.parametrize(
    ("start", "settings", "words"),
    [
        ("encoder-tiny", [], "an encoder does not write texts"),
        (
            "decoder-tiny",
            ["settings.max_target=40"],
            "`settings.max_target` 40 and special tokens leave no room in rows of 32",
        ),
        ("decoder-tiny", ["readout.pooling=last"], "by the model's own head over the vocabulary; leave it out"),
        ("decoder-tiny", ["settings.decoding.method.kind=greedly"], "`kind` must be one of"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    start: str, settings: list[str], words: str, trivium: Command, mails: Path, tmp_path: Path
) -> None:
    sets = [part for each in settings for part in ("--set", each)]
    ask = ["finetune", start, "--task", "write", "--train", mails, "--valid", mails, "--out", tmp_path / "run"]
    code, said, error = trivium(*ask, *SMALL, *sets, "--quiet")
    assert code == 2 and not said and words in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
