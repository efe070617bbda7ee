"""Texts out of one column of a table: every byte accounted for, and what is no table is one clear line."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from trivium.core.errors import DataError
from trivium.data import tables
from trivium.data.file_bytes import Document, Dropped
from trivium.data.labelled import read_classify
from trivium.data.prepare import PrepareOptions, prepare
from trivium.data.readers import read_documents
from trivium.data.tables import column_names, require_columns


def texts_of(path: Path, content: bytes, *, field: str = "text", encoding: str = "utf-8") -> list[str]:
    """Return the texts of a file; all bytes of it are a text's or said to be dropped."""
    path.write_bytes(content)
    items = list(read_documents([path], field=field, encoding=encoding))
    plain = gzip.decompress(content) if path.suffix == ".gz" else content
    assert sum(item.num_bytes for item in items) == len(plain) and all(item.num_bytes >= 0 for item in items)
    assert {item.reason for item in items if isinstance(item, Dropped)} <= {
        *("table syntax", "empty", "byte order mark", "carriage returns")
    }
    return [item.text for item in items if isinstance(item, Document)]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_column_of_any_csv_is_read_as_the_csv_module_reads_it(tmp_path: Path, encoding: str) -> None:
    rng = np.random.default_rng(5)
    parts = ["word", "中文。", ",", '"', "\n", " ", "\t", "é"]
    looped = 0
    for number in range(40):
        rows = [["".join(rng.choice(parts, rng.integers(0, 6))) for _ in range(3)] for _ in range(rng.integers(1, 9))]
        written = io.StringIO(newline="")
        csv.writer(written, lineterminator=("\n", "\r\n")[number % 2]).writerows([["label", "text", "more"], *rows])
        content = written.getvalue().encode(encoding)
        expected = [row[1] for row in rows if row[1].strip()]
        assert texts_of(tmp_path / f"{number}.csv", content, encoding=encoding) == expected
        assert texts_of(tmp_path / f"{number}.csv.gz", gzip.compress(content), encoding=encoding) == expected
        looped += len(expected)
    assert looped > 60


def test_a_tsv_has_quotation_marks_of_its_own(tmp_path: Path) -> None:
    content = b'id\tsentence\n1\tsay "no" now\n\n2\t"a ""whole"" field"\n3\t"open\n'
    expected = ['say "no" now', 'a "whole" field', '"open']
    assert texts_of(tmp_path / "a.tsv", content, field="sentence") == expected


def test_a_table_without_the_column_is_refused_where_it_is_named_and_text_where_it_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    named = folder / "a.csv"
    named.write_text("sentence,label\nan apple,x\n\na pear,y\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"a\.csv: expected a column `text`, found `sentence`, `label`\. Name .* --field"
    ):
        prepare([named], tmp_path / "out", PrepareOptions())
    assert next(item.text for item in read_documents([folder]) if isinstance(item, Document)).startswith("sentence,")
    with pytest.raises(DataError, match=r"b\.csv:3: expected 2 fields, as the first line has, found 3"):
        texts_of(tmp_path / "b.csv", b"text,label\na,b\na,b,c\n")
    with pytest.raises(DataError, match=r"c\.csv:2: not a valid table"):
        texts_of(tmp_path / "c.csv", b'text,label\n"a,b\n')
    data = prepare([named], tmp_path / "out", PrepareOptions(field="sentence", vocabulary_size=380))
    assert data.manifest.ledger.kept_bytes == len("an applea pear") and data.manifest.ledger.adds_up()


def test_the_header_of_a_table_may_be_quoted_and_a_name_may_span_lines(tmp_path: Path) -> None:
    assert texts_of(tmp_path / "a.tsv", b'"id"\t"text"\n"1"\t"hello"\n') == ["hello"]
    require_columns([tmp_path / "a.tsv"], field="text", encoding="utf-8")
    assert texts_of(tmp_path / "a.csv", b'\xef\xbb\xbfid,"the\nid",text\n1,2,hello\n') == ["hello"]
    assert column_names(tmp_path / "a.csv", "utf-8") == ["id", "the\nid", "text"]
    with pytest.raises(DataError, match=r"expected a column `body`, found `id`, `the id`, `text`\. Name") as caught:
        require_columns([tmp_path / "a.csv"], field="body", encoding="utf-8")
    assert "\n" not in str(caught.value)
    assert column_names(tmp_path / "a.txt", "utf-8") == []


_WHOLE = gzip.compress(b"".join(b"%d,hello %d\n" % (n, n * n) for n in range(9000)), mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv.gz", b"id,text\n1,hello\n", "expected a whole gzip file, found a damaged one: Not a gzipped file"),
        ("b.csv.gz", _WHOLE[:12], "expected a whole gzip file, found a damaged one: Compressed file ended"),
        ("c.csv.gz", _WHOLE[:10] + b"\xff" * 40, "expected a whole gzip file, found a damaged one: Error -3"),
        (
            "d.csv",
            b"id,text\r1,hello\r",
            ":1: not a valid table: expected lines that end with a line feed, found",
        ),
        ("e.tsv", b"id\ttext\r1\thello\r", ":1: not a valid table: expected lines that end with a line feed"),
        ("f.csv", b'id,"text\n1,hello\n', ":1: not a valid table: unexpected end of data .* may not be closed"),
        ("g.csv", b"\nid,text\n", "expected a column `text`, found an empty line"),
        ("h.csv", b"PK\x03\x04\x00\x00", "expected text, found what looks like binary data"),
    ],
)
def test_what_has_no_header_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        require_columns([tmp_path / name], field="text", encoding="utf-8")
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_a_quotation_mark_that_is_not_closed_is_said_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables.FIELD_LIMIT == 64 << 20
    monkeypatch.setattr(tables, "FIELD_LIMIT", 200_000)
    long = b"word " * 39_999
    assert texts_of(tmp_path / "a.csv", b'id,text\n1,"' + long + b'"\n') == [long.decode()]
    said = r"b\.csv:3: not a valid table: field larger than field limit \(200000\) .*quotation mark may not be closed"
    with pytest.raises(DataError, match=said):
        texts_of(tmp_path / "b.csv", b'id,text\n1,a\n2,"open\n' + b"3,more text\n" * 20_000)
    assert len(texts_of(tmp_path / "c.csv", b'id,text\n1,a\n2,"open\n3,b\n4,"\n')) == 2


def test_a_labelled_table_has_the_same_longest_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.data.labelled.files.FIELD_LIMIT", 200_000)
    (tmp_path / "a.csv").write_bytes(b'text,label\na,x\n"open,y\n' + b"more text,y\n" * 20_000)
    with pytest.raises(DataError, match=r"a\.csv:3: not valid CSV: field larger than field limit"):
        read_classify(tmp_path / "a.csv")
