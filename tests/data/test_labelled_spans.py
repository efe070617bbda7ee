"""Spans and relations: what fits its text is read exactly, and what does not is listed."""

import json
import secrets

import numpy as np
import pytest
from labelled_support import anywhere

from trivium.core.errors import DataError
from trivium.data.labelled import (
    JointExample,
    Relation,
    RelationExample,
    Span,
    SpanExample,
    label_examples,
    read_joint,
    read_relations,
    read_spans,
    spans_of_tags,
    text_of,
    words_of,
    write_jsonl,
)

SIGNS = list("ab 漢字，.é😀\n")


def random_text(rng):
    return "x" + "".join(rng.choice(SIGNS, size=rng.integers(3, 25)))


def random_spans(rng, text):
    edges = sorted({int(edge) for edge in rng.integers(0, len(text) + 1, size=6)})
    return tuple(Span(a, b, str(rng.choice(["p", "q"]))) for a, b in zip(edges[::2], edges[1::2], strict=False))


def written(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_every_form_of_spans_is_read_as_written(tmp_path):
    rng = np.random.default_rng(secrets.randbits(64))
    examples = [SpanExample(text := random_text(rng), random_spans(rng, text)) for _ in range(60)]
    plain = [{"text": text, "spans": [span._asdict() for span in spans]} for text, spans, _ in examples]
    lists = [{"text": text, "labels": [list(span) for span in spans]} for text, spans, _ in examples]
    offsets = [
        {"text": t, "entities": [{"start_offset": s, "end_offset": e, "label": name, "id": 1} for s, e, name in spans]}
        for t, spans, _ in examples
    ]
    tasks = [
        {
            "data": {"text": text},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {
                    "result": [
                        {"type": "choices", "value": {"choices": ["x"]}},
                        *(
                            {"value": {"start": s, "end": e, "text": text[s:e], "labels": [name]}}
                            for s, e, name in spans
                            if text[s:e].strip()
                        ),
                    ]
                },
            ],
        }
        for text, spans, _ in examples
    ]
    for rows in (plain, lists, offsets):
        write_jsonl(tmp_path / "a.jsonl", rows)
        for path in (tmp_path / "a.jsonl", written(tmp_path / "a.json", rows)):
            found, problems = read_spans(path)
            assert anywhere(found) == examples and not problems
    visible = [e._replace(spans=tuple(s for s in e.spans if e.text[s.start : s.end].strip())) for e in examples]
    found, problems = read_spans(written(tmp_path / "a.json", tasks))
    assert anywhere(found) == visible and not problems


def test_offsets_in_utf_16_are_read_where_the_stated_text_says_so(tmp_path):
    rng = np.random.default_rng(8)
    shifted = 0
    for _ in range(100):
        text = random_text(rng) + "end"
        start, end = len(text) - 3, len(text)
        before = len(text[:start].encode("utf-16-le")) // 2
        row = {"text": text, "spans": [{"start": before, "end": before + 3, "label": "a", "text": "end"}]}
        path = written(tmp_path / "a.jsonl", row)
        assert read_spans(path) == ([SpanExample(text, (Span(start, end, "a"),), f"{path}:1")], [])
        shifted += before != start
    assert shifted > 20


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (
            [3, 9, "a"],
            r"a\.jsonl:1: left out: the span 3 to 9 \(`a`\) is not inside the text, which has 5 characters\.",
        ),
        ([-1, 2, "a"], r"the span -1 to 2 \(`a`\) is not inside"),
        ([4, 2, "a"], r"the span 4 to 2 \(`a`\) is not inside"),
        ([2, 2, "a"], r"the span 2 to 2 \(`a`\) is empty"),
        (
            {"start": 0, "end": 2, "label": "a", "text": "lo"},
            r"the span 0 to 2 \(`a`\) holds 'he', not 'lo' as stated",
        ),
    ],
)
def test_spans_that_do_not_fit_are_listed(tmp_path, span, message):
    rows = [{"text": "hello", "spans": [span, [0, 5, "b"]]}]
    examples, problems = read_spans(written(tmp_path / "a.jsonl", rows[0]))
    assert anywhere(examples) == [SpanExample("hello", (Span(0, 5, "b"),))]
    assert len(problems) == 1
    rows[0]["spans"] = [span]
    with pytest.raises(DataError, match=message):
        read_spans(written(tmp_path / "a.jsonl", rows[0]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, r"a\.jsonl:1: no column `spans`; found `text`"),
        ({"txt": "x", "spans": []}, r"a\.jsonl:1: no column `text`; found `txt`, `spans`\. Did you mean `txt`\?"),
        ({"text": "x", "spans": {}}, r"`spans` is an object; expected a list"),
        ({"text": "x", "spans": ["x"]}, r"an entry of `spans` is a string; expected a span"),
        ({"text": "x", "spans": [[0, 1]]}, r"an entry of `spans` has 2 items; expected start, end and label"),
        ({"text": "x", "spans": [[0, 1.0, "a"]]}, r"the end is a number; expected a whole number"),
        ({"text": "x", "spans": [[True, 1, "a"]]}, r"the start is true or false; expected a whole number"),
        ({"text": "x", "spans": [[0, 1, ""]]}, r"an entry of `spans` is empty"),
        ({"text": "x", "spans": []}, r"no label that is scored; expected at least 1 classes"),
        ({"text": "x", "label": {"a": {"x": [[0]]}}}, r"`a`: expected the first and the last character"),
        ({"text": "x", "label": {"a": []}}, r"`a` is a list; expected an object of surfaces"),
        ({"data": {"text": "x"}, "annotations": []}, r"no usable examples\. First: .*no annotation of this task"),
        ([], r"expected a JSON object, found a list"),
    ],
)
def test_mistakes_in_spans_are_one_clear_line(tmp_path, row, message):
    with pytest.raises(DataError, match=message) as caught:
        read_spans(written(tmp_path / "a.jsonl", row))
    assert "\n" not in str(caught.value)


def test_spans_become_words_and_none_is_lost(tmp_path):
    text = " Ada Lovelace 住在倫敦。"
    place = text.index("倫敦")
    spans = (Span(1, 14, "p"), Span(place, place + 2, "l"), Span(5, 9, "x"), Span(1, 4, "y"))
    words, left_out = words_of(SpanExample(text, spans))
    assert words.tokens == ("Ada", "Lovelace", "住", "在", "倫", "敦", "。")
    assert words.labels == ("B-p", "I-p", "O", "O", "B-l", "I-l", "O")
    assert text_of(words)[0] == text[1:]
    assert [(each.span, each.why) for each in left_out] == [
        (Span(1, 4, "y"), "overlaps another span, which only the task `nested` learns"),
        (Span(5, 9, "x"), "does not begin and end with a word"),
    ]
    words, left_out = words_of(
        SpanExample("a\x1c \u3000b\u0301 c", (Span(0, 2, "p"), Span(2, 6, "q"), Span(5, 6, "r")))
    )
    assert words.tokens == ("a", "\x1c", "b\u0301", "c")
    assert words.labels == ("B-p", "I-p", "B-q", "O")
    assert [each.span.label for each in left_out] == ["r"]
    rng = np.random.default_rng(secrets.randbits(64))
    kept = 0
    for _ in range(200):
        example = SpanExample(text := random_text(rng), random_spans(rng, text))
        (words,), problems = label_examples([example])
        full, starts = text_of(words)
        shift = len(text) - len(full)
        ends = [start + len(token) for start, token in zip(starts, words.tokens, strict=True)]
        found = [(text[starts[s] + shift : ends[e - 1] + shift], n) for s, e, n in spans_of_tags(words.labels)]
        expected = [(text[s:e].strip(), n) for s, e, n in example.spans]
        assert full == text[shift:]
        assert len(found) + len(problems) == len(expected)
        assert set(found) <= set(expected)
        kept += len(found)
    assert kept > 50


def test_relations_are_read_as_written(tmp_path):
    rng = np.random.default_rng(secrets.randbits(64))
    pairs, joints = [], []
    for number in range(40):
        text = "a" + random_text(rng)
        spans = (Span(0, 1, "s"), *random_spans(rng, text))
        pairs.append(RelationExample(text, spans[0], spans[-1], f"r{number % 3}"))
        joints.append(JointExample(text, spans, (Relation(len(spans) - 1, 0, f"r{number % 3}"),)))
    head_tail = ({**e._asdict(), "head": e.head._asdict(), "tail": e.tail._asdict()} for e in pairs)
    write_jsonl(tmp_path / "a.jsonl", head_tail)
    examples, problems = read_relations(tmp_path / "a.jsonl")
    assert anywhere(examples) == pairs and not problems
    rows = (
        {"text": e.text, "spans": [list(s) for s in e.spans], "relations": [r._asdict() for r in e.relations]}
        for e in joints
    )
    write_jsonl(tmp_path / "a.jsonl", rows)
    examples, problems = read_joint(tmp_path / "a.jsonl")
    assert anywhere(examples) == joints and not problems
    rows = (
        {
            "text": e.text,
            "entities": [
                {"id": 7 + k, "start_offset": s.start, "end_offset": s.end, "label": s.label}
                for k, s in enumerate(e.spans)
            ],
            "relations": [{"id": 1, "from_id": 7 + r.head, "to_id": 7 + r.tail, "type": r.label} for r in e.relations],
        }
        for e in joints
    )
    write_jsonl(tmp_path / "a.jsonl", rows)
    examples, problems = read_joint(tmp_path / "a.jsonl")
    assert anywhere(examples) == joints and not problems


def test_a_relation_of_a_span_that_does_not_fit_is_listed(tmp_path):
    row = {
        "text": "a b c",
        "spans": [[0, 9, "x"], [2, 3, "x"], [4, 5, "x"]],
        "relations": [{"head": 0, "tail": 1, "label": "r"}, {"head": 2, "tail": 1, "label": "s"}],
    }
    examples, problems = read_joint(written(tmp_path / "a.jsonl", row))
    assert anywhere(examples) == [JointExample("a b c", (Span(2, 3, "x"), Span(4, 5, "x")), (Relation(1, 0, "s"),))]
    assert [problem.message[:9] for problem in problems] == ["left out:"] * 2
    for head in (3, -1, True, "0", None, [0]):
        row["relations"][0]["head"] = head
        with pytest.raises(DataError, match=r"a\.jsonl:1: an entry of `relations`: no span .*; the row has 3"):
            read_joint(written(tmp_path / "a.jsonl", row))
    row = {"text": "a b", "relations": [{"from_id": 1, "to_id": 2, "type": "r"}]}
    row["entities"] = [{"id": 1, "start_offset": n, "end_offset": n + 1, "label": "x"} for n in (0, 2)]
    with pytest.raises(DataError, match=r"a\.jsonl:1: two spans have the id 1"):
        read_joint(written(tmp_path / "a.jsonl", row))
    pair = {"text": "a b", "head": [0, 1, "x"], "tail": [2, 9, "x"], "relation": "r"}
    with pytest.raises(DataError, match=r"no usable examples\. First: .*the span 2 to 9"):
        read_relations(written(tmp_path / "a.jsonl", pair))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('1\t"<e1>a</e1> b"\nOther\n', r"a\.txt:1: expected a span between <e2> and </e2>, found none"),
        ('1\t"<e1>a</e1> <e1>b</e1>"\nOther\n', r"a\.txt:1: the mark <e1> is there twice"),
        ('1\t"<e1>a</e1> <e2>b</e2>"\n\n', r"a\.txt:1: expected a relation on the next line, found the end"),
        ("1\tno quotes\nOther\n", r"a\.txt:1: expected JSON, or a number and a sentence in quotes"),
        ('1\t"<e1>a</e1> <e2>b</e2>"\nOther\n', r"only the label `Other`; expected at least 2"),
    ],
)
def test_mistakes_in_semeval_files(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_relations(written(tmp_path / "a.txt", content))


def test_a_name_of_two_lines_is_shown_on_one(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: `a`: `x y` is a string; expected a list\.$"):
        read_spans(written(tmp_path / "a.jsonl", {"text": "x", "label": {"a": {"x\ny": "z"}}}))
