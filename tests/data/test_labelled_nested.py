"""Spans that lie inside each other and cross are read in every form, and left out where tags are to say them."""

import json
import secrets

import numpy as np
import pytest

from trivium.core.errors import DataError
from trivium.data.labelled import (
    LabelExample,
    NestedExample,
    Span,
    SpanExample,
    label_examples,
    read_nested,
    read_spans,
    text_of,
    words_of,
)
from trivium.data.labelled.span_words import nested_examples, nested_words

TEXT = "The Bank of England chairman spoke."
SPANS = [(0, 28, "person"), (0, 19, "org"), (12, 19, "place"), (9, 28, "odd")]  # the last crosses the second


def forms():
    """Return the same text and spans as each tool writes them."""
    surfaces = {label: {TEXT[a:b]: [[a, b - 1]]} for a, b, label in SPANS}
    marks = [{"value": {"start": a, "end": b, "text": TEXT[a:b], "labels": [n]}} for a, b, n in SPANS]
    return {
        "trivium": {"text": TEXT, "spans": [{"start": a, "end": b, "label": n} for a, b, n in SPANS]},
        "doccano": {"text": TEXT, "label": [list(span) for span in SPANS]},
        "doccano-new": {
            "text": TEXT,
            "entities": [{"start_offset": a, "end_offset": b, "label": n} for a, b, n in SPANS],
        },
        "label-studio": {"data": {"text": TEXT}, "annotations": [{"result": marks}]},
        "cluener": {"text": TEXT, "label": surfaces},
    }


@pytest.mark.parametrize("form", sorted(forms()))
def test_every_form_keeps_all_spans_where_tags_keep_the_longest(tmp_path, form):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Nobody came.", "spans": []}\n\n' + json.dumps(forms()[form]) + "\n", encoding="utf-8")
    examples, problems = read_nested(path)
    assert problems == []
    assert [example.where for example in examples] == [f"{path}:1", f"{path}:3"]
    assert examples[1].tokens == ("The", "Bank", "of", "England", "chairman", "spoke", ".")
    in_words = {(0, 5, "person"), (0, 4, "org"), (3, 4, "place"), (2, 5, "odd")}
    assert set(examples[1].spans) == in_words and len(examples[1].spans) == 4
    _, left_out = label_examples(read_spans(path).examples)
    assert len(left_out) == 3 and all("overlaps another span" in problem.message for problem in left_out)


def test_words_with_tags_are_read_and_a_word_without_one_is_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ba B-x\nke I-x\nlo O\n\nze S-y\n", encoding="utf-8")
    examples, problems = read_nested(path, scheme="BIO")
    assert [example.spans for example in examples] == [(Span(0, 2, "x"),), (Span(0, 1, "y"),)]
    assert len(problems) == 1 and "is not BIO" in problems[0].message
    path.write_text("ba B-x\n\nlo O\nke _\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.txt:3: the word 'ke' has no tag \(`_`\)"):
        read_nested(path)


def test_spans_that_do_not_fall_on_words_are_listed_by_line_and_a_file_without_spans_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "ba ke", "spans": [[0, 1, "x"], [0, 2, "x"], [0, 3, "x"]]}\n', encoding="utf-8")
    examples, problems = read_nested(path)
    assert examples == [NestedExample(("ba", "ke"), (Span(0, 1, "x"),), (" ", ""), f"{path}:1", lost=("x",))]
    assert [str(problem) for problem in problems] == [
        f"{path}:1: left out: the span 0 to 1 (`x`, 'b') does not begin and end with a word; it counts as missed."
    ]
    path.write_text('{"text": "ba ke", "spans": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match="no label that is scored; expected at least 1 classes"):
        read_nested(path)


def test_without_overlaps_both_ways_to_words_say_the_same():
    rng, compared = np.random.default_rng(secrets.randbits(64)), 0
    for _ in range(100):
        words = ["".join(rng.choice(list("ab\u6211. "), int(rng.integers(1, 5)))) for _ in range(8)]
        text = " ".join(words)
        cuts = sorted(rng.choice(len(text) + 1, 4, replace=False).tolist())
        example = SpanExample(text, tuple(Span(a, b, "x") for a, b in (cuts[:2], cuts[2:]) if text[a:b].strip()), "a:7")
        flat, left_out = words_of(example)
        nested, missed = nested_words(example)
        assert (nested.tokens, nested.spaces, nested.where) == (flat.tokens, flat.spaces, "a:7")
        assert flat.where == "a:7"
        assert text_of(nested) == text_of(flat) == text_of(LabelExample(flat.tokens, flat.labels, flat.spaces))
        assert missed == left_out
        compared += len(nested.spans)
    assert compared > 20


def test_a_span_that_is_listed_twice_is_one(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "ba ke lo", "spans": [[0, 2, "x"], [0, 2, "x"], [0, 3, "x"], [3, 5, "y"]]}\n')
    texts, _ = read_spans(path)
    for read in (label_examples, nested_examples):
        [example], problems = read(texts)
        assert example.lost == () and not problems
