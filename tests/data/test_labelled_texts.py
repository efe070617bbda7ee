"""Answers, treebanks, dialogues, pairs and mails: every form is read as written, each mistake one clear line."""

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
    PairExample,
    read_answers,
    read_conllu,
    read_dialogues,
    read_mails,
    read_pairs,
    text_of,
    turn_pairs,
    write_jsonl,
)


def written(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


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
    assert turn_pairs(expected[1]) == [PairExample("a", ("b",)), PairExample("a\nb", ("c",))]
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
