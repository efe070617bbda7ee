"""Spans, relations and answers: what fits its text is read exactly, and what does not is listed."""

import json
import secrets

import numpy as np
import pytest

from trivium.core.errors import ConfigError, DataError
from trivium.data.labelled import (
    ABSENT,
    UNSCORED,
    Answer,
    AnswerExample,
    DialogueExample,
    JointExample,
    PairExample,
    Relation,
    RelationExample,
    Span,
    SpanExample,
    label_examples,
    read_answers,
    read_conllu,
    read_dialogues,
    read_joint,
    read_mails,
    read_pairs,
    read_relations,
    read_spans,
    spans_of_tags,
    text_of,
    turn_pairs,
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
    plain = [{"text": text, "spans": [span._asdict() for span in spans]} for text, spans in examples]
    lists = [{"text": text, "labels": [list(span) for span in spans]} for text, spans in examples]
    offsets = [
        {"text": t, "entities": [{"start_offset": s, "end_offset": e, "label": name, "id": 1} for s, e, name in spans]}
        for t, spans in examples
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
        for text, spans in examples
    ]
    for rows in (plain, lists, offsets):
        write_jsonl(tmp_path / "a.jsonl", rows)
        assert read_spans(tmp_path / "a.jsonl") == (examples, [])
        assert read_spans(written(tmp_path / "a.json", rows)) == (examples, [])
    visible = [e._replace(spans=tuple(s for s in e.spans if e.text[s.start : s.end].strip())) for e in examples]
    assert read_spans(written(tmp_path / "a.json", tasks)) == (visible, [])


def test_offsets_in_utf_16_are_read_where_the_stated_text_says_so(tmp_path):
    rng = np.random.default_rng(8)
    shifted = 0
    for _ in range(100):
        text = random_text(rng) + "end"
        start, end = len(text) - 3, len(text)
        before = len(text[:start].encode("utf-16-le")) // 2
        row = {"text": text, "spans": [{"start": before, "end": before + 3, "label": "a", "text": "end"}]}
        assert read_spans(written(tmp_path / "a.jsonl", row)) == ([SpanExample(text, (Span(start, end, "a"),))], [])
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
    assert examples == [SpanExample("hello", (Span(0, 5, "b"),))]
    assert len(problems) == 1
    for strict in (True, False):
        rows[0]["spans"] = [span, [0, 5, "b"]] if strict else [span]
        with pytest.raises(DataError, match=message):
            read_spans(written(tmp_path / "a.jsonl", rows[0]), strict=strict)


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
        (Span(1, 4, "y"), "overlaps another span"),
        (Span(5, 9, "x"), "does not begin and end with a word"),
    ]
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
    assert read_relations(tmp_path / "a.jsonl") == (pairs, [])
    rows = (
        {"text": e.text, "spans": [list(s) for s in e.spans], "relations": [r._asdict() for r in e.relations]}
        for e in joints
    )
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_joint(tmp_path / "a.jsonl") == (joints, [])
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
    assert read_joint(tmp_path / "a.jsonl") == (joints, [])


def test_a_relation_of_a_span_that_does_not_fit_is_listed(tmp_path):
    row = {
        "text": "a b c",
        "spans": [[0, 9, "x"], [2, 3, "x"], [4, 5, "x"]],
        "relations": [{"head": 0, "tail": 1, "label": "r"}, {"head": 2, "tail": 1, "label": "s"}],
    }
    examples, problems = read_joint(written(tmp_path / "a.jsonl", row))
    assert examples == [JointExample("a b c", (Span(2, 3, "x"), Span(4, 5, "x")), (Relation(1, 0, "s"),))]
    assert [problem.message[:9] for problem in problems] == ["left out:"] * 2
    row["relations"][0]["head"] = 3
    with pytest.raises(DataError, match=r"a\.jsonl:1: an entry of `relations`: no span 3; the row has 3"):
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


def squad(*questions, context="one two one three"):
    rows = [{"id": str(n), "question": "q?", **question} for n, question in enumerate(questions)]
    return {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": rows}]}]}


def test_answers_are_placed_moved_or_listed(tmp_path):
    def answer(text, start):
        return {"text": text, "answer_start": start}

    document = squad(
        {"answers": [answer("one", 8), answer("one", 7), answer("one", 3), answer("four", 2), answer("two", -1)]},
        {"answers": []},
        {"answers": [answer("one", 0)], "is_impossible": True},
        {"answers": [answer("four", 0)]},
        {"answers": [], "is_impossible": False},
        {"answers": [answer("", 0)]},
        {"question": " ", "answers": [answer("one", 0)]},
    )
    path = written(tmp_path / "a.json", document)
    examples, problems = read_answers(path)
    context = "one two one three"
    placed = (Answer(8, "one"), Answer(8, "one"), Answer(0, "one"), Answer(4, "two"))
    assert examples == [
        AnswerExample("0", "t", context, "q?", placed, ("four",)),
        AnswerExample("1", "t", context, "q?", ()),
        AnswerExample("2", "t", context, "q?", ()),
    ]
    assert [str(problem) for problem in problems[:2]] == [
        f"{path}: question 0: the answer 'one' is not at 7; moved to its nearest occurrence, 8.",
        f"{path}: question 0: the answer 'one' is not at 3; moved to its nearest occurrence, 0.",
    ]
    assert sum("left out" in problem.message for problem in problems) == 5
    with pytest.raises(DataError, match=r"question 0: the answer 'one' is not at 7; .* And \d+ more"):
        read_answers(path, strict=True)


def test_an_answer_moves_to_the_nearest_of_all_occurrences(tmp_path):
    rng = np.random.default_rng(secrets.randbits(64))
    moved = 0
    for _ in range(200):
        context = "".join(rng.choice(list("ab"), size=20))
        text = "".join(rng.choice(list("ab"), size=2))
        start = int(rng.integers(0, 22))
        places = [place for place in range(19) if context[place : place + 2] == text]
        if not places:
            continue
        path = written(
            tmp_path / "a.json", squad({"answers": [{"text": text, "answer_start": start}]}, context=context)
        )
        (example,), problems = read_answers(path)
        assert abs(example.answers[0].start - start) == min(abs(place - start) for place in places)
        moved += len(problems)
    assert moved > 30


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("7", r"expected SQuAD's JSON object or CMRC's list, found a number"),
        ({}, r"no column `data`"),
        ([], r"no usable examples"),
        ({"data": [{"paragraphs": {}}]}, r"data\[0\]: `paragraphs` is an object; expected a list"),
        (squad({}), r"question 0: no column `answers`"),
        (squad({"answers": [{"text": "one"}]}), r"no column `answer_start`"),
        (squad({"answers": [{"text": "one", "answer_start": "0"}]}), r"`answer_start` is a string; expected a whole"),
        (squad({"answers": [], "is_impossible": 1}), r"`is_impossible` is a number; expected true or false"),
        (squad({"answers": []}, {"id": "0", "answers": []}), r"the question 0 is there twice"),
        ([{"context_text": "x", "qas": [{"query_id": "a"}]}], r"question a: no column `query_text`"),
    ],
)
def test_mistakes_in_questions(tmp_path, value, message):
    with pytest.raises(DataError, match=message):
        read_answers(written(tmp_path / "a.json", value))


CONLLU = """# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\t_\tVERB\t_\tNumber=Plur|Person=1\t0\t_\t_\t_
2\tnos\t_\tPRON\t_\t_\t1\t_\t_\t_
2.1\tx\t_\tX\t_\t_\t_\t_\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\tSpacesAfter=\\u00A0
3\ta\t_\tADP\t_\t_\t5\t_\t_\t_
4\tl\t_\t_\t_\t_\t5\t_\t_\t_
5\tmar\t_\tNOUN\t_\tNumber=Sing\t1\t_\t_\tSpaceAfter=No
"""


def test_conllu_words_labels_and_spaces(tmp_path):
    path = written(tmp_path / "a.conllu", CONLLU)
    (example,) = read_conllu(path)
    assert example.tokens == ("Vamos", "nos", "a", "l", "mar")
    assert example.labels == ("VERB", "PRON", "ADP", UNSCORED, "NOUN")
    assert text_of(example)[0] == "Vamos nos al\u00a0mar"
    assert read_conllu(path, column="feats.Number")[0].labels == ("Plur", ABSENT, ABSENT, ABSENT, "Sing")
    with pytest.raises(ConfigError, match=r"column 'head': expected upos, xpos or feats\.NAME"):
        read_conllu(path, column="head")
    for old, new, message in (
        ("\n3\t", "\n4\t", r"a\.conllu:7: expected word 3, found '4'"),
        ("\n3-4", "\n4-5", r"a\.conllu:6: the words 4-5 are not those that follow"),
        ("\n1\tVamos\t_", "\n1 Vamos _", r"a\.conllu:3: expected the 10 columns of CoNLL-U apart by tabs, found 8"),
        ("5\tmar", "5\t ", r"a\.conllu:9: the word's form is empty"),
        ("\n3-4", "\n3-6", r"a\.conllu:9: a multiword token without all of its words"),
    ):
        with pytest.raises(DataError, match=message):
            read_conllu(written(path, CONLLU.replace(old, new)))


def test_dialogues_in_every_form(tmp_path):
    turns = [["Hi.", "你好。"], ["a", "b", "c"]]
    expected = [DialogueExample(tuple(each)) for each in turns]
    objects = [[{"speaker": "A", "utterance": turn} for turn in each] for each in turns]
    forms = {
        "a.jsonl": "\n".join(json.dumps(each) for each in turns),
        "b.jsonl": "\n".join(json.dumps({"messages": each}) for each in objects),
        "c.json": json.dumps([{"turns": each} for each in turns]),
        "d.json": json.dumps({"x": [objects[0]], "y": [objects[1]]}),
        "e.json": json.dumps({"x": [objects[0]], "y": [objects[1]]}, indent=1),
        "f.txt": "Hi. __eou__ 你好。 __eou__\r\n\r\na __eou__ b __eou__ c __eou__\r\n",
    }
    for name, content in forms.items():
        assert read_dialogues(written(tmp_path / name, content)) == expected, name
    assert turn_pairs(expected[1], separator=" | ") == [PairExample("a", ("b",)), PairExample("a | b", ("c",))]
    assert turn_pairs(expected[1], max_turns=1)[1] == PairExample("b", ("c",))
    with pytest.raises(DataError, match="`max_turns` must be at least 1: found 0"):
        turn_pairs(expected[1], max_turns=0)
    for content, message in (
        ("hello\n", r"a\.txt:1: expected JSON, or turns that end with __eou__"),
        ("a __eou__ __eou__\n", r"a\.txt:1: turn 2 is empty"),
        ('{"turns": []}\n', r"a\.txt:1: no turns"),
        ('{"turns": [{"words": "x"}]}\n{}', r"a\.txt:1: a turn: no column `text`; found `words`"),
        ('{"turns": 1}\n{}', r"a\.txt:1: `turns` is a number; expected a list"),
    ):
        with pytest.raises(DataError, match=message):
            read_dialogues(written(tmp_path / "a.txt", content))


def test_pairs_and_mails(tmp_path):
    rows = [{"source": "a", "target": "b"}, {"source": "漢", "target": ["c", "d"]}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_pairs(tmp_path / "a.jsonl") == [PairExample("a", ("b",)), PairExample("漢", ("c", "d"))]
    with pytest.raises(DataError, match=r"a\.jsonl:1: `target` is an empty list"):
        read_pairs(written(tmp_path / "a.jsonl", {"source": "a", "target": []}))
    folder = tmp_path / "mails"
    with pytest.raises(DataError, match="expected a folder of mails, found nothing"):
        read_mails(folder)
    folder.mkdir()
    with pytest.raises(DataError, match=r"expected mails in files named `\*\.subject`, found none"):
        read_mails(folder)
    written(folder / "b.subject", "Dear\r\n\r\nall\r\n\r\n@subject\r\nHello\r\n\r\n@ann0\r\nHi\r\n")
    written(folder / "a.subject", "One\n\n@subject\nTwo")
    assert read_mails(folder) == [PairExample("One", ("Two",)), PairExample("Dear\r\n\r\nall", ("Hello", "Hi"))]
    for content, message in (
        ("One", r"a\.subject: expected one line `@subject` after the mail, found 0"),
        ("\n@subject\nx", r"a\.subject: the mail before `@subject` is empty"),
        ("x\n@subject\n\n", r"a\.subject: `@subject` is empty"),
        ("x\n@subject\ny\n@ann0\na\n@ann0\nb", r"a\.subject: `@ann0` is there twice"),
    ):
        with pytest.raises(DataError, match=message):
            read_mails(written(folder / "a.subject", content).parent)
