"""Texts out of one column of a table: every byte accounted for, and what is no table is one clear line."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from trivium.core.errors import DataError
from trivium.data.prepare import PrepareOptions, prepare
from trivium.data.readers import Document, Dropped, read_documents


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
