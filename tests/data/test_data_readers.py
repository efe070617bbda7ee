"""Readers: every byte is a document's or is said to be dropped, and what cannot be read is one clear line."""

import gzip
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.core.errors import ConfigError, DataError
from trivium.data import readers
from trivium.data.file_bytes import Document, Dropped
from trivium.data.readers import Boundary, find_files, read_documents, text_bytes


def read(*paths: Path, **options: str) -> tuple[list[str], Counter[str], int]:
    """Return the texts, the bytes dropped by reason, and all bytes that were accounted for."""
    items = list(read_documents(paths, **options))  # type: ignore[arg-type]
    dropped: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Dropped):
            dropped[item.reason] += item.num_bytes
    return [item.text for item in items if isinstance(item, Document)], dropped, sum(item.num_bytes for item in items)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_blank_lines_part_documents_and_the_last_one_is_not_lost(tmp_path: Path) -> None:
    content = "\n \none\ntwo\n\t\n\n  three \n\n\nlast without an end"
    texts, dropped, total = read(write(tmp_path / "a.txt", content))
    assert texts == ["one\ntwo", "  three ", "last without an end"]
    assert dropped["separators"] == len(content) - sum(map(len, texts))
    assert total == len(content)


def test_other_boundaries(tmp_path: Path) -> None:
    file = write(tmp_path / "a.md", "one\n\ntwo \n   \nthree")
    assert read(file, boundary="line")[0] == ["one", "two ", "three"]
    assert read(file, boundary="file")[0] == ["one\n\ntwo \n   \nthree"]
    empty = [item for item in read_documents([file], boundary="line") if isinstance(item, Dropped)]
    assert {item.reason: (item.documents, item.num_bytes) for item in empty} == {"empty": (2, 3), "separators": (0, 4)}


@pytest.mark.parametrize("boundary", ["blank-line", "line", "file"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_every_byte_is_accounted_for(tmp_path: Path, boundary: Boundary, encoding: str) -> None:
    rng = np.random.default_rng(3)
    parts = ["word", "中文。", " ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\t", "\u3000", "é", "😀", "\r", "\x0c"]
    looped = 0
    for number in range(60):
        text = "".join(rng.choice(parts, size=rng.integers(1, 60)))
        content = (b"\xef\xbb\xbf" if encoding == "utf-8" and number % 3 == 0 else b"") + text.encode(encoding)
        plain = write(tmp_path / f"{number}.txt", content)
        packed = write(tmp_path / f"{number}.txt.gz", gzip.compress(content))
        texts, dropped, total = read(plain, boundary=boundary, encoding=encoding)
        assert total == len(content)
        assert read(packed, boundary=boundary, encoding=encoding) == (texts, dropped, total)
        assert "".join("".join(texts).split()) == "".join(text.split())  # nothing but white space is lost
        assert not any("\r\n" in document for document in texts)
        looped += len(texts)
    assert looped > 50


def test_carriage_returns_and_byte_order_mark_are_in_the_ledger(tmp_path: Path) -> None:
    texts, dropped, _ = read(write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree"))
    assert texts == ["one\ntwo", "three"]
    assert dropped == {"byte order mark": 3, "carriage returns": 1, "separators": 4}


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "one\n\ntwo", "id": 1}),
        "",
        json.dumps({"id": 2, "text": "汉字 and \u00e9"}, ensure_ascii=False),
        json.dumps({"text": " \n"}),
        '{"text": "lone \\ud800 surrogate, \\ud83d\\ude00 pair\\r\\nend"}',
    ]
    content = "\n".join(lines).encode()
    texts, dropped, total = read(write(tmp_path / "a.jsonl", content))
    assert texts == ["one\n\ntwo", "汉字 and \u00e9", "lone \ufffd surrogate, 😀 pair\nend"]
    assert total == len(content)
    assert dropped["empty"] == 2
    body = write(tmp_path / "b.json.gz", gzip.compress(b'{"body": "x"}\n{"body": "y"}'))
    assert read(body, field="body") == (["x", "y"], {"json syntax": 25}, 27)


def test_folders_globs_and_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "deep/c.py", "deep/.hidden.txt", ".git/d.txt", "e.txt.gz"):
        content = f"in {name}"
        write(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    write(tmp_path / "empty.txt", "")
    texts, _, _ = read(tmp_path)
    assert texts == ["in a.txt", "in b.txt", "in e.txt.gz", "in deep/c.py"]
    assert read(tmp_path / "**" / "*.py")[0] == ["in deep/c.py"]
    assert read(tmp_path / "[ab].txt", tmp_path / "a.txt")[0] == ["in a.txt", "in b.txt"]  # each file once
    assert Dropped("empty", str(tmp_path / "empty.txt"), 1, 0) in list(read_documents([tmp_path]))
    odd = write(tmp_path / "what?.txt", "a name with a sign of its own")
    assert find_files([odd]) == [odd]


def test_text_bytes_knows_compressed_sizes(tmp_path: Path) -> None:
    content = b"a line of text\n" * 1000
    assert text_bytes(write(tmp_path / "a.txt", content)) == len(content)
    assert text_bytes(write(tmp_path / "a.txt.gz", gzip.compress(content))) == len(content)


def test_one_document_at_a_time(tmp_path: Path) -> None:
    # The error at the end comes only after all before it was given: nothing reads ahead.
    file = write(tmp_path / "a.txt", b"fine\n\n" * 100_000 + b"bad \xff")
    stream = read_documents([file])
    assert sum(1 for _, _ in zip(range(100_000), stream, strict=False)) == 100_000
    with pytest.raises(DataError, match=r"byte 600004\b"):
        next(stream)


MISTAKES = {
    "nothing there": (lambda folder: folder / "no.txt", "no such file or folder"),
    "an empty folder": (lambda folder: folder, "found none"),
    "a pattern without a match": (lambda folder: folder / "*.md", "found none"),
    "an empty file": (lambda folder: write(folder / "a.txt", ""), "found an empty file"),
    "an empty .gz": (lambda folder: write(folder / "a.gz", gzip.compress(b"")), "found an empty file"),
    "binary junk": (lambda folder: write(folder / "a.txt", bytes(range(256)) * 40), "binary"),
    "a picture": (lambda folder: write(folder / "a", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "binary"),
    "invalid UTF-8": (lambda folder: write(folder / "a.txt", b"caf\xe9 au lait"), r"0xe9 at byte 3\b.*cp1252"),
    "GB18030": (lambda folder: write(folder / "a.txt", "你好".encode("gb18030") * 20), "--encoding gb18030"),
    "JSON that is none": (lambda folder: write(folder / "a.jsonl", '{"text": "x"}\n{"text": '), r"a.jsonl:2: .*JSON"),
    "a JSON list": (lambda folder: write(folder / "a.json", '["x"]'), r"a.json:1: .*found a list"),
    "no such field": (
        lambda folder: write(folder / "a.jsonl", '{"texts": "x", "id": 1}'),
        "`texts`, `id`. Did you mean",
    ),
    "a field of another kind": (lambda folder: write(folder / "a.jsonl", '{"text": 3}'), "found a number"),
    "a broken .gz": (lambda folder: write(folder / "a.gz", gzip.compress(b"text" * 999)[:-20]), "damaged"),
    "no .gz at all": (lambda folder: write(folder / "a.txt.gz", "plain text"), "damaged"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_clear_line(tmp_path: Path, mistake: str) -> None:
    make, expected = MISTAKES[mistake]
    path = make(tmp_path)
    with pytest.raises(DataError, match=expected) as caught:
        list(read_documents([path]))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))


def test_a_lone_bad_byte_after_the_first_block_says_where(tmp_path: Path) -> None:
    content = b"plain text\n" * 20_000 + b"\xc3("
    with pytest.raises(DataError, match=f"at byte {len(content) - 2};"):
        list(read_documents([write(tmp_path / "a.txt", content)], boundary="line"))


def test_encodings(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "你好\n\n世界".encode("gb18030"))
    assert read(file, encoding="GB18030")[0] == ["你好", "世界"]
    for encoding in ("utf-16", "utf9"):
        with pytest.raises(ConfigError, match=f"--encoding {encoding}"):
            list(read_documents([file], encoding=encoding))


@given(
    lines=st.lists(
        st.sampled_from([b"a", b"bc d", b" e", b"f\r", b"", b" ", b"\t\x0b", b"\r", b"\x0c", b"\xe4\xb8\xad"])
    ),
    end=st.sampled_from([b"", b"\n"]),
    block=st.integers(1, 7),
)
def test_documents_between_blank_lines_are_those_of_the_lines_in_blocks_of_any_size(
    lines: list[bytes], end: bytes, block: int
) -> None:
    content = b"\n".join(lines) + end
    expected, separators = by_lines(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_BLOCK", block)
        parts = list(readers._parted(io.BufferedReader(io.BytesIO(content)), "blank-line"))
    bodies = [body for _, own in parts for body in own]
    assert bodies == expected
    assert b"".join(read for read, _ in parts) == content
    assert len(content) - sum(map(len, bodies)) == separators


@given(
    texts=st.lists(st.text(st.sampled_from("a \u00e4\u4e2d\U0001f600"), min_size=1).filter(str.strip), min_size=1),
    place=st.integers(0, 10_000),
    boundary=st.sampled_from(["line", "blank-line", "file"]),
    block=st.integers(1, 40),
)
def test_an_error_names_the_first_byte_that_is_no_text(
    texts: list[str], place: int, boundary: Boundary, block: int
) -> None:
    content = "\n\n".join(texts).encode()
    place %= len(content) + 1
    content = content[:place] + b"\xff" + content[place:]
    with pytest.raises(UnicodeDecodeError) as expected:
        content.decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_BLOCK", block)
        with pytest.raises(DataError, match=rf"found byte 0x\w\w at byte {expected.value.start + 3};"):
            stream = io.BufferedReader(io.BytesIO(content))
            list(readers._plain(stream, "a.txt", 3, boundary, "utf-8", readers.Ledger()))


def by_lines(content: bytes) -> tuple[list[bytes], int]:
    """The definition: lines that are not blank, put together until a blank one comes."""
    documents: list[list[bytes]] = [[]]
    for line in io.BytesIO(content):
        if line.isspace():
            documents.append([])
        else:
            documents[-1].append(line)
    wholes = [b"".join(each) for each in documents if each]
    bodies = [whole[:-1].removesuffix(b"\r") if whole.endswith(b"\n") else whole for whole in wholes]
    return bodies, len(content) - sum(map(len, bodies))
