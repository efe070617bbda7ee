"""Several labels, numbers, files without a header; and files that are large or not what they should be."""

import gzip
import json
import secrets

import numpy as np
import pytest
from labelled_support import anywhere
from pydantic import ValidationError

from trivium.core.config import parse
from trivium.core.errors import ConfigError, DataError
from trivium.data.labelled import (
    ClassifyColumns,
    ClassifyExample,
    MultiLabelExample,
    PairColumns,
    PairExample,
    RegressionExample,
    read_classify,
    read_label,
    read_multi_label,
    read_pairs,
    read_regression,
    read_similar,
    write_jsonl,
)


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv"])
def test_several_labels_are_read_as_written(tmp_path, form):
    rng = np.random.default_rng(secrets.randbits(64))
    examples = [
        MultiLabelExample(
            f"text {number}",
            tuple(sorted({f"c{n}" for n in rng.integers(0, 6, size=rng.integers(0, 4))})),
            "p" if number % 2 else None,
        )
        for number in range(50)
    ]
    path = tmp_path / f"a.{form}"
    if form == "jsonl":
        write_jsonl(path, ({"text": e.text, "label": list(e.labels), "text_pair": e.text_pair} for e in examples))
        assert anywhere(read_multi_label(path)) == examples
    else:
        sign = "," if form == "csv" else "\t"
        rows = [sign.join((e.text, ";".join(e.labels), e.text_pair or "")) for e in examples]
        written(path, sign.join(("text", "label", "text_pair")) + "\n" + "\n".join(rows) + "\n")
        assert anywhere(read_multi_label(path, columns=ClassifyColumns(separator=";"))) == examples


@pytest.mark.parametrize("form", ["jsonl", "tsv"])
def test_numbers_are_read_as_written(tmp_path, form):
    rng = np.random.default_rng(secrets.randbits(64))
    examples = [RegressionExample(f"t{n}", float(value), None) for n, value in enumerate(rng.normal(0, 1e5, size=50))]
    path = tmp_path / f"a.{form}"
    if form == "jsonl":
        write_jsonl(path, ({"text": e.text, "score": e.value} for e in examples))
    else:
        written(path, "text\tscore\n" + "".join(f"{e.text}\t{e.value!r}\n" for e in examples))
    assert read_regression(path, columns=ClassifyColumns(label="score")) == examples


def test_files_without_a_header(tmp_path):
    path = written(tmp_path / "a.tsv", 'gj04\t1\t\tFine.\r\ngj04\t0\t*\t"Bad" it.\r\n')
    columns = ClassifyColumns(text=4, label=2, header=False)
    expected = [ClassifyExample("Fine.", "1", None), ClassifyExample('"Bad" it.', "0", None)]
    assert anywhere(read_classify(path, columns=columns)) == expected
    path = written(tmp_path / "a.csv", '"3","A, b","x ""y"""\n"4","T","z"\n')
    columns = ClassifyColumns(text=2, text_pair=3, label=1, header=False)
    assert read_classify(path, columns=columns)[0] == ClassifyExample("A, b", "3", 'x "y"', f"{path}:1")
    with pytest.raises(DataError, match=r"a\.csv:1: no column `4`; found `1`, `2`, `3`"):
        read_classify(path, columns=ClassifyColumns(text=4, label=1, header=False))
    path = written(tmp_path / "a.jsonl", '{"text": "x", "label": "y"}\n')
    with pytest.raises(DataError, match=r"columns by number \(`header=False`\) are for CSV and TSV"):
        read_classify(path, columns=columns)
    path = written(tmp_path / "b.tsv", "a\tb\nc\td\n")
    assert read_pairs(path, columns=PairColumns(source=2, target=1, header=False))[1] == PairExample("d", ("c",))


def test_columns_that_make_no_sense(tmp_path):
    cases = (
        {"header": False},
        {"header": False, "text": 1, "label": 0},
        {"header": False, "text": 1, "label": 2, "text_pair": "x"},
        {"separator": ""},
        {"txt": 1},
    )
    for tree in cases:
        with pytest.raises(ConfigError):
            parse(ClassifyColumns, tree, "columns")
    with pytest.raises(ValidationError, match="counted from 1"):
        PairColumns(header=False)
    path = written(tmp_path / "a.csv", "text,label\nx,a\n")
    for read in (read_classify, read_regression):
        with pytest.raises(ConfigError, match="`separator` is for several labels"):
            read(path, columns=ClassifyColumns(separator="|"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x", "label": "a"}', r"a\.jsonl:1: `label` is a string; expected a list of strings"),
        ("a.jsonl", '{"text": "x", "label": ["a", 1]}', r"`label`: an entry is a number; expected a string"),
        ("a.jsonl", '{"text": "x", "label": ["a", "a "]}', r"`label`: the label `a` is there twice"),
        ("a.jsonl", '{"text": "x", "label": []}', r"no label that is scored; expected at least 1 classes"),
        ("a.csv", "text,label\nx,a|b\n", r"a\.csv:2: `label`: labels in CSV and TSV need `separator`"),
    ],
)
def test_mistakes_of_several_labels(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_multi_label(written(tmp_path / name, content))


def test_an_empty_entry_among_labels(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\nx,a||b\n")
    with pytest.raises(DataError, match=r"a\.csv:2: `label`: an entry is empty"):
        read_multi_label(path, columns=ClassifyColumns(separator="|"))


@pytest.mark.parametrize("value", ["true", '"3"', "null", "NaN", "1e999", "Infinity", "1" + "0" * 400, "[1]"])
def test_what_is_no_number(tmp_path, value):
    with pytest.raises(DataError, match=r"a\.jsonl:1: `label` is .*; expected a number"):
        read_regression(written(tmp_path / "a.jsonl", f'{{"text": "x", "label": {value}}}\n'))


@pytest.mark.parametrize("value", ["nan", "1_000", "three", "1e999", "1,5", "٣", ""])
def test_what_is_no_number_in_a_table(tmp_path, value):
    with pytest.raises(DataError, match=r"a\.tsv:2: `label` is .*; expected a number"):
        read_regression(written(tmp_path / "a.tsv", f"text\tlabel\nx\t{value}\n"))


@pytest.mark.parametrize("blank", ["", " ", "\x1c", "\u3000", "\u00a0"])
def test_blanks_around_a_number_in_a_table(tmp_path, blank):
    path = written(tmp_path / "a.tsv", f"text\ttext_pair\tlabel\nx\ty\t{blank}.5{blank}\n")
    assert [example.value for example in read_regression(path)] == [0.5]
    assert [example.score for example in read_similar(path)] == [0.5]


def test_one_json_list_and_half_a_surrogate_pair(tmp_path):
    rows = [{"text": "cut \ud83d", "label": "a"}, {"text": "漢", "label": "b"}]
    path = written(tmp_path / "a.json", json.dumps(rows, indent=1))
    assert [e.text for e in read_classify(path)] == ["cut \ufffd", "漢"]
    with pytest.raises(DataError, match=r"a\.json:3: not valid JSON"):
        read_classify(written(tmp_path / "a.json", '[\n{"text": "x",\n"label" "a"}]'))
    with pytest.raises(DataError, match=r"too deep"):
        read_classify(written(tmp_path / "a.jsonl", "[" * 100_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n \n", "empty"),
        (b"\x89PNG\r\n\0\0", r"a:2: expected text, found binary data"),
        ("text,label\n文,a\n".encode("gb18030"), r"a:2: not valid UTF-8"),
        ("text,label\nx,a\n".encode("utf-16"), r"a:1: .*binary|a:1: not valid UTF-8"),
        (gzip.compress(b"text,label\n", mtime=0)[:-3], "cannot be read"),
    ],
)
def test_what_is_not_text(tmp_path, content, message):
    for read in (read_classify, read_multi_label, read_regression, read_label, read_pairs):
        with pytest.raises(DataError, match=message):
            read(written(tmp_path / "a", content))
    with pytest.raises(DataError, match="a folder; expected one file"):
        read_classify(tmp_path)


def test_ten_thousand_classes_and_a_document_of_100_000_tokens(tmp_path):
    path = tmp_path / "a.csv"
    written(path, "text,label\r\n" + "".join(f"t {n},c{n % 10_000}\r\n" for n in range(20_000)))
    assert len({example.label for example in read_classify(path)}) == 10_000
    with pytest.raises(DataError, match=r"only 10000 labels; expected at least 10001 classes"):
        read_classify(path, min_classes=10_001)
    path = tmp_path / "a.txt"
    written(path, "".join(f"w{n}\tB-{n % 7}\n" for n in range(100_000)))
    (example,) = read_label(path)
    assert len(example.tokens) == 100_000


def test_a_message_stays_short_and_on_one_line(tmp_path):
    header = ",".join(f'"c{n}\nx"' for n in range(500))
    with pytest.raises(DataError, match=r"found `c0 x`, .* and 488 more") as caught:
        read_classify(written(tmp_path / "a.csv", header + "\n"))
    assert len(str(caught.value).splitlines()) == 1
