"""The search is exact, and an index is made once: only what has changed is embedded again."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from embed_support import embedder, texts

from stopping import Lines
from trivium.core.errors import DataError
from trivium.core.files import sha256
from trivium.data.file_bytes import Document
from trivium.data.readers import read_documents
from trivium.tasks.embed import search
from trivium.tasks.embed.embedder import Embedder, embed_texts
from trivium.tasks.embed.search import Hit, Index, nearest_texts, updated_index, usual_place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of texts, in files of several kinds and folders below it."""
    folder = tmp_path / "texts"
    (folder / "below").mkdir(parents=True)
    given = [text for text in texts(60, seed=1, longest=30) if text]
    (folder / "a.txt").write_text("\n\n".join(given[:20]), encoding="utf-8")
    (folder / "below" / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in given[20:50]))
    (folder / "c.txt").write_text("\n\n".join(given[50:]), encoding="utf-8")
    (folder / "empty.txt").write_text("")
    return folder


def documents(folder: Path) -> list[str]:
    return [each.text for each in read_documents([folder]) if isinstance(each, Document)]


def indexed(embedding: Embedder, folder: Path, progress: Lines | None = None) -> Index:
    return updated_index(embedding, folder, usual_place(folder), progress=progress)


def beginnings(hits: list[Hit]) -> list[str]:
    return [hit.beginning for hit in hits]


def test_all_texts_are_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BLOCK", 7)  # several blocks, none of them whole
    embedding, every = embedder(), documents(folder)
    index = indexed(embedding, folder)
    assert index.embedded == len(every) == len(index.vectors_SD) == 59
    alone_SD = np.stack([next(embed_texts(embedding, [text])) for text in every])
    compared = 0
    for query in (every[3], every[40], "红楼梦", "ba ke lo"):
        [query_D] = embed_texts(embedding, [query])
        hits = nearest_texts(index, query_D, top=10)
        expected = sorted((float(vector_D @ query_D) for vector_D in alone_SD), reverse=True)[:10]
        np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-5)
        compared += len(hits)
    assert compared == 40
    [first] = nearest_texts(index, next(embed_texts(embedding, [every[40]])), top=1)
    assert first.score == pytest.approx(1.0, abs=1e-5) and first.file == "below/b.jsonl"
    assert every[40].startswith(first.beginning) and first.number == 40 - 20 + 1 - _in_c(folder)
    assert len(nearest_texts(index, query_D, top=1000)) == 59


def _in_c(folder: Path) -> int:
    """Return how many texts of c.txt come before those of the folder below, in the order that files are read in."""
    first = [each.source for each in read_documents([folder]) if isinstance(each, Document)]
    return sum(Path(source).name == "c.txt" for source in first[:40])


def test_only_what_has_changed_is_embedded_again(folder: Path) -> None:
    embedding, progress = embedder(), Lines()
    first = indexed(embedding, folder)
    place = usual_place(folder)
    before = {file.name: sha256(file) for file in place.iterdir()}
    again = indexed(embedding, folder, progress)
    assert again.embedded == 0 and {file.name: sha256(file) for file in place.iterdir()} == before
    (folder / "c.txt").rename(folder / "below" / "0.txt")  # moved, not changed
    (folder / "a.txt").write_text((folder / "a.txt").read_text() + "\n\nnew text", encoding="utf-8")
    changed = indexed(embedding, folder, progress)
    assert changed.embedded == 21 and len(changed.vectors_SD) == len(first.vectors_SD) + 1 == 60
    every = documents(folder)
    np.testing.assert_allclose(changed.vectors_SD, np.stack(list(embed_texts(embedding, every))), atol=1e-5)
    assert [text.startswith(bytes(one).decode()) for one, text in zip(changed.beginnings_S, every, strict=True)]
    (folder / "below" / "b.jsonl").unlink()
    less = indexed(embedding, folder, progress)
    assert less.embedded == 0 and len(less.vectors_SD) == 30
    np.testing.assert_array_equal(np.sort(less.vectors_SD[:, 0]), np.sort(np.stack(list(less.vectors_SD))[:, 0]))
    [hit] = nearest_texts(less, next(embed_texts(embedding, ["new text"])), top=1)
    assert (hit.file, hit.number, hit.beginning) == ("a.txt", 21, "new text")


def test_equal_bytes_that_are_read_otherwise_are_other_texts(tmp_path: Path) -> None:
    embedding, rng, folder = embedder(), np.random.default_rng(), tmp_path / "texts"
    folder.mkdir()
    # What is one text, or two lines of JSON; and what is a text that begins with `text`, or a table of that column.
    lines = "".join(json.dumps({"text": f"ba {number}"}) + "\n" for number in rng.integers(0, 999, 2))
    for name in ("a.txt", "b.csv", "c.tsv.gz"):
        content = f"text\n{lines}".encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for name in ("d.jsonl", "e.txt"):
        (folder / name).write_text(lines)
    indexed(embedding, folder)
    for change in range(6):
        if change:
            moved = sorted(folder.iterdir())[int(rng.integers(4))]
            moved.rename(moved.with_suffix([".txt", ".jsonl", ".csv", ".tsv", ".json"][change - 1]))
        (folder / "new.txt").write_text(f"lo {change}")
        index = indexed(embedding, folder)
        fresh = updated_index(embedding, folder, tmp_path / f"index {change}")
        assert index.files == fresh.files and len(index.files) >= 6
        np.testing.assert_array_equal(index.beginnings_S, fresh.beginnings_S)
        np.testing.assert_allclose(index.vectors_SD, fresh.vectors_SD, atol=1e-5)


def test_another_model_or_another_way_of_reading_is_noticed(folder: Path) -> None:
    embedding, progress = embedder(), Lines()
    indexed(embedding, folder)
    with torch.no_grad():
        next(iter(embedding.model.parameters()))[5, 3] += 1e-3
    assert indexed(embedding, folder, progress).embedded == 59
    assert [line for line in progress.lines if "of another model" in line]
    other = embedder(pooling="first")
    assert indexed(other, folder).embedded == 59
    by_line = updated_index(other, folder, usual_place(folder), boundary="line")
    assert by_line.embedded == len(by_line.vectors_SD) >= 59


def test_an_index_is_whole_or_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = embedder()
    indexed(embedding, folder)
    place = usual_place(folder)
    before = {file.name: sha256(file) for file in place.iterdir()}
    (folder / "a.txt").write_text("another text", encoding="utf-8")

    def fails(embedding: Embedder, given: Iterator[str]) -> Iterator[np.ndarray]:
        next(given)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(search, "vectors_of", fails)
    with pytest.raises(KeyboardInterrupt):
        indexed(embedding, folder)
    assert {file.name: sha256(file) for file in place.iterdir()} == before
    assert sorted(file.name for file in place.parent.iterdir()) == [place.name, "texts"]


@pytest.mark.parametrize("name", ["vectors.npy", "beginnings.npy", "manifest.json"])
def test_a_damaged_index_is_made_anew(name: str, folder: Path) -> None:
    embedding, progress = embedder(), Lines()
    expected = np.array(indexed(embedding, folder).vectors_SD)
    file = usual_place(folder) / name
    file.write_bytes(file.read_bytes()[:70])
    index = indexed(embedding, folder, progress)
    assert index.embedded == 59 and [line for line in progress.lines if "damaged" in line]
    np.testing.assert_array_equal(index.vectors_SD, expected)


def test_what_cannot_be_read_is_said_each_time_and_the_rest_is_found(folder: Path) -> None:
    (folder / "b.bin").write_bytes(bytes(range(256)))
    (folder / "no.jsonl").write_text('{"text": "ba ke"}\n{"body": "lo"}\n')
    embedding = embedder()
    for embedded in (60, 0):
        progress = Lines()
        index = indexed(embedding, folder, progress)
        assert index.embedded == embedded
        said = [line for line in progress.lines if line.startswith("left out")]
        assert len(said) == 2 and "b.bin" in said[0] and "no.jsonl:2" in said[1]


def test_a_folder_without_texts_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "blank.txt").write_text("\n\n")
    for name, message in (("none", "found nothing"), ("empty", "no texts in its 1 files")):
        with pytest.raises(DataError, match=message):
            indexed(embedder(), tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]


def test_beginnings_are_one_line_and_no_character_is_cut(tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    (folder / "a.txt").write_text("一" * 300 + "\n" + "b  c", encoding="utf-8")
    (folder / "b.txt").write_text("b \t c\nd", encoding="utf-8")
    embedding = embedder()
    index = indexed(embedding, folder)
    hits = nearest_texts(index, np.array(index.vectors_SD[0]), top=2)
    assert sorted(beginnings(hits)) == ["b c d", "一" * 85]
