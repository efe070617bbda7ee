"""trivium embed and trivium search, and a model that is fine-tuned to embed, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Command, sentence


def test_texts_of_a_file_and_of_the_command_line_have_the_same_vectors(
    trivium: Command, workshop: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    given = [" ".join(sentence(rng, "fruit")) for _ in range(30)] + ["", "红楼梦"]
    (tmp_path / "t.txt").write_text("\n".join(given) + "\n", encoding="utf-8")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n\n" for text in given))
    for family in ("encoder", "decoder", "seq2seq"):
        code, out, _ = trivium("embed", workshop / family, *given, "--json")
        lines = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and [line["text"] for line in lines] == given
        shown = np.array([line["vector"] for line in lines])
        for name in ("t.txt", "t.jsonl"):
            file = tmp_path / f"{family}-{name}.npy"
            code, out, _ = trivium("embed", workshop / family, "--file", tmp_path / name, "--out", file, "--quiet")
            assert code == 0 and "32 texts, 128 numbers each" in out
            np.testing.assert_allclose(np.load(file), shown, atol=2e-6)
    code, out, _ = trivium(
        "embed", workshop / "encoder", "--file", tmp_path / "t.txt", "--out", tmp_path / "w.npy", "--whiten", "--quiet"
    )
    assert code == 0 and abs(float(np.load(tmp_path / "w.npy").mean())) < 0.02
    code, out, _ = trivium("embed", workshop / "encoder", given[0], "--pooling", "first", "--json")
    assert code == 0 and np.abs(np.array(json.loads(out)["vector"]) - shown[0]).max() > 1e-3


def test_a_search_finds_the_text_itself_and_embeds_once(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("she takes the apple\n\nshe finds the hammer", encoding="utf-8")
    ask = ("search", workshop / "encoder", folder, "--query", "she finds the hammer")
    code, out, said = trivium(*ask, "--json", "--top", 2)
    hits = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and "2 of 2 texts were embedded" in said
    assert hits[0] == {"score": hits[0]["score"], "file": "a.txt", "number": 2, "beginning": "she finds the hammer"}
    assert hits[0]["score"] == pytest.approx(1.0, abs=1e-5) and len(hits) == 2
    code, out, said = trivium(*ask)
    assert code == 0 and "embedded" not in said and out.split("\n")[0].endswith("a.txt:2  she finds the hammer")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".notes.search", "notes"]
    code, out, said = trivium(*ask, "--index", tmp_path / "other", "--boundary", "file")
    assert code == 0 and "1 of 1 texts" in said and (tmp_path / "other" / "manifest.json").is_file()


def test_a_model_is_fine_tuned_to_embed(trivium: Command, workshop: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    files = {}
    for split, count in (("train", 40), ("valid", 8)):
        files[split] = tmp_path / f"{split}.csv"
        kinds = [("fruit", "tool")[number % 2] for number in range(count)]
        rows = [f"{' '.join(sentence(rng, kind))},{' '.join(sentence(rng, kind))}" for kind in kinds]
        files[split].write_text("text,text_pair\n" + "\n".join(rows) + "\n")
    code, out, _ = trivium(
        *("finetune", workshop / "encoder", "--task", "embed", "--train", files["train"], "--valid", files["valid"]),
        *("--out", tmp_path / "run", "--epochs", 2, "--set", "settings.group_rows=2", "--set", "rows=2", "--quiet"),
    )
    assert code == 0 and "recall@10" in out and "words in common" in out and "tf-idf, cosine" in out
    code, out, _ = trivium("evaluate", tmp_path / "run", "--data", files["valid"], "--json")
    assert code == 0 and {"recall@1", "recall@10", "mrr", "loss", "coverage", "intervals"} == set(json.loads(out))
    code, one, _ = trivium("predict", tmp_path / "run", "she takes the apple")
    code, other, _ = trivium("embed", tmp_path / "run", "she takes the apple", "--json")
    mine, theirs = json.loads(one), json.loads(other)
    assert mine.keys() == theirs.keys() == {"text", "vector"} and mine["text"] == theirs["text"]
    assert mine["vector"] == pytest.approx(theirs["vector"], abs=1e-5)
    code, out, _ = trivium("report", tmp_path / "run")
    assert code == 0
    results, page = json.loads((tmp_path / "run" / "results.json").read_text()), tmp_path / "run" / "report.html"
    given = [row.replace(",", " | ") for row in files["valid"].read_text().splitlines()[1:]]
    assert results["mistakes"] and all(row["text"] in given and row["error"] >= 1 for row in results["mistakes"])
    assert "off by" in page.read_text(encoding="utf-8").partition("Its worst mistakes")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x",), "say where the vectors go"),
        (("x", "--json", "--out", "v.npy"), "say where the vectors go"),
        (("x", "--json", "--whiten"), "--whiten looks at all vectors"),
        (("x", "--file", "t.txt", "--json"), "give one of them"),
        (("x", "--out", "v.txt"), "expected a name that ends in .npy"),
        (("x", "--out", "there.npy"), "already exists"),
        (("--file", "none.txt", "--json"), "expected a file of texts, found nothing"),
        (("--file", "bad.txt", "--out", "v.npy"), "bad.txt:2: not valid UTF-8 (byte 0xff)"),
        (("--file", "bad.jsonl", "--out", "v.npy"), "expected the field `text`"),
        (("x", "--out", "v.npy", "--whiten"), "--whiten needs vectors that differ"),
    ],
)
def test_mistakes_are_one_line_and_make_no_file(
    arguments: tuple[str, ...],
    message: str,
    trivium: Command,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("a\n")
    (tmp_path / "there.npy").write_text("")
    (tmp_path / "bad.txt").write_bytes(b"a\n\xff\n")
    (tmp_path / "bad.jsonl").write_text('{"body": "a"}\n')
    before = sorted(tmp_path.iterdir())
    code, _, said = trivium("embed", workshop / "encoder", *arguments, "--quiet")
    assert code == 2 and message in said and said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
