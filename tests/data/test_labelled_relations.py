"""Pairs of spans whose relation is asked for, and how many problems a file has in one line."""

from pathlib import Path
from typing import Any

import pytest

from trivium.core.errors import DataError
from trivium.data.labelled import Problem, RelationExample, read_relations, summed_up, unlabelled_relation, write_jsonl
from trivium.data.labelled.spans import Span

ROW: dict[str, Any] = {
    "text": "Ada Lovelace 住在伦敦。",
    "head": {"start": 0, "end": 12, "label": "person"},
    "tail": [15, 17, "地点"],
}


def test_a_pair_is_read_as_files_are(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{**ROW, "relation": "lives in"}])
    [expected], _ = read_relations(tmp_path / "a.jsonl", min_classes=1)
    assert unlabelled_relation(ROW, "here") == expected._replace(relation="", where="")
    assert unlabelled_relation({**ROW, "relation": 7, "id": 3}, "here") == RelationExample(
        ROW["text"], Span(0, 12, "person"), Span(15, 17, "地点"), ""
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": ""}, r"here: `text` is empty\."),
        ({"text": 3}, r"here: `text` is a number; expected a string\."),
        ({"head": "Ada"}, r"here: `head` is a string; expected a span\."),
        ({"tail": [3, 3, "x"]}, r"here: `tail`: the span 3 to 3 \(`x`\) is empty\."),
        ({"head": {"start": 0, "end": 12}}, r"here: `head`: no column `label`; found `start`, `end`\."),
        (
            {"head": {"start": 0, "end": 3, "label": "x", "text": "Bob"}},
            r"here: `head`: the span 0 to 3 \(`x`\) holds 'Ada', not 'Bob' as stated\.",
        ),
    ],
)
def test_what_is_no_pair_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}$"):
        unlabelled_relation({**ROW, **change}, "here")


def test_problems_in_one_line() -> None:
    assert summed_up([]) == ""
    problems = [Problem(f"a:{n}", "left out: it is empty.") for n in range(1, 6)]
    assert summed_up(problems[:1]) == "1 problem in what is labelled: a:1: left out: it is empty."
    three = "a:1: left out: it is empty; a:2: left out: it is empty; a:3: left out: it is empty"
    assert summed_up(problems[:3]) == f"3 problems in what is labelled: {three}."
    assert summed_up(problems) == f"5 problems in what is labelled: {three}; and 2 more."
