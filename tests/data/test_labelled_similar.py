"""Pairs of texts, with and without scores, from every kind of file; each mistake is one line that says where."""

import json
from pathlib import Path

import pytest

from trivium.core.errors import DataError
from trivium.data.labelled import SimilarExample, read_similar

PAIRS = [("a dog", "一只狗", 4.5), ("红楼梦", 'so "big"', -1.0), ("x", "y", 0.0)]


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv"])
def test_pairs_are_read_as_they_were_written(form: str, scored: bool, tmp_path: Path) -> None:
    path = tmp_path / f"pairs.{form}"
    names = ("text", "text_pair", "label")[: 3 if scored else 2]
    rows = [pair[: len(names)] for pair in PAIRS]
    if form == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        sign = {"csv": ",", "tsv": "\t"}[form]
        quoted = [['"' + str(cell).replace('"', '""') + '"' for cell in row] for row in [names, *rows]]
        path.write_text("\n".join(sign.join(row) for row in quoted) + "\n", encoding="utf-8")
    expected = [SimilarExample(a, b, score if scored else None) for a, b, score in PAIRS]
    assert [each._replace(where="") for each in read_similar(path)] == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}', r":1: no column `text_pair`"),
        ('{"text": "a", "text_pair": " "}', r":1: `text_pair` is empty"),
        ('{"text": "a", "text_pair": "b", "label": "near"}', r":1: `label` is a string; expected a number"),
        ('{"text": "a", "text_pair": "b", "label": NaN}', r":1: `label` is not finite"),
        ('{"text": "a", "text_pair": "b", "label": 1}\n{"text": "a", "text_pair": "b"}', r":2: `label` has no number"),
        ("text,text_pair,label\na,b,near\n", r":2: `label` is 'near'; expected a number"),
        ("text,text_pair,label\na,b,1_000\n", r":2: `label` is '1_000'; expected a number"),
        ("text,text_pair\n", r"no examples"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / ("pairs.csv" if content.startswith("text") else "pairs.jsonl")
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_similar(path)
    assert "\n" not in str(caught.value)
