"""Pairs, mails and dialogues as examples; what a user writes as one; what is wrong is one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from write_inputs import CHINESE

from trivium.core.errors import DataError
from trivium.data.labelled import PairColumns, PairExample
from trivium.tasks.build import build_task, texts_of
from trivium.tasks.write.config import WriteConfig
from trivium.tasks.write.files import TurnExample, read_examples, unlabelled_example

TURNS = ["你好！", "Hello.", "How are you?", "Fine."]
HISTORIES = [("你好！", "Hello."), ("你好！\nHello.", "How are you?"), ("你好！\nHello.\nHow are you?", "Fine.")]


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines({"turns": TURNS})),
        ("a.jsonl", lines({"messages": [{"role": "x", "content": turn} for turn in TURNS]})),
        ("a.jsonl", lines(TURNS)),
        ("a.json", json.dumps([TURNS])),
        ("a.json", json.dumps({"tr_1": [[{"turn": 1, "utterance": turn} for turn in TURNS]]})),
        ("a.json", json.dumps({"tr_1": [[{"turn": 1, "utterance": turn} for turn in TURNS]]}, indent=1)),
        ("a.txt", " __eou__ ".join([*TURNS, "\n"])),
    ],
)
def test_every_form_of_dialogue_is_seen_to_be_one(name: str, content: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, content)
    examples = read_examples(path, WriteConfig())
    assert examples == [TurnExample(source, (target,)) for source, target in HISTORIES]
    assert all(isinstance(example, TurnExample) for example in examples)
    assert read_examples(path, WriteConfig(max_turns=1))[2].source == "How are you?"
    assert read_examples(path, WriteConfig(form="dialogues")) == examples


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines({"source": "a b", "target": "c"}, {"source": "d", "target": ["e", "f"]})),
        ("a.json", json.dumps([{"source": "a b", "target": "c"}, {"source": "d", "target": ["e", "f"]}])),
        ("a.csv", "id,source,target\n1,a b,c\n2,d,e\n"),
        ("a.tsv", "source\ttarget\na b\tc\nd\te\n"),
    ],
)
def test_every_form_of_pairs_is_seen_to_be_one(name: str, content: str, tmp_path: Path) -> None:
    found = read_examples(written(tmp_path / name, content), WriteConfig())
    assert [(example.source, example.targets[0]) for example in found] == [("a b", "c"), ("d", "e")]
    assert not any(isinstance(example, TurnExample) for example in found)


def test_columns_have_any_names(tmp_path: Path) -> None:
    settings = WriteConfig(columns=PairColumns(source="text", target="label"))
    path = written(tmp_path / "a.csv", "text,label\na b,c\n")
    assert read_examples(path, settings) == [PairExample("a b", ("c",))]
    path = written(tmp_path / "a.jsonl", lines({"text": "a", "label": "b"}))
    assert read_examples(path, settings) == [PairExample("a", ("b",))]


def test_a_folder_holds_mails(tmp_path: Path) -> None:
    written(tmp_path / "1.subject", "Hello Ann,\nsee you at noon.\n\n@subject\nNoon\n\n@ann0\nMeeting\n")
    assert read_examples(tmp_path, WriteConfig()) == [PairExample("Hello Ann,\nsee you at noon.", ("Noon", "Meeting"))]


def test_what_a_user_writes_is_a_text_or_the_turns_of_a_dialogue() -> None:
    def read(value: str | list[str], **settings: Any) -> tuple[str, bool]:
        example = unlabelled_example(value, WriteConfig(**settings))
        assert example.targets == ()
        return example.source, isinstance(example, TurnExample)

    assert read(CHINESE.source) == (CHINESE.source, False)
    assert read("{not JSON") == ("{not JSON", False)
    assert read('{"other": 1}') == ('{"other": 1}', False)
    assert read(lines({"text": "a\nb"})) == ("a\nb", False)
    assert read(TURNS) == ("\n".join(TURNS), True)
    assert read(lines({"turns": TURNS})) == ("\n".join(TURNS), True)
    assert read(TURNS, max_turns=2) == ("How are you?\nFine.", True)
    assert read("") == ("", False)
    assert read('{"text": "a \\ud83d\\ude00"}') == ("a \U0001f600", False)
    assert read('{"text": "\\ud83d b"}') == ("\ufffd b", False)
    assert read('{"turns": ["\\ude00", "c"]}') == ("\ufffd\nc", True)
    deep = '{"text": ' * 3_000
    assert read(deep) == (deep, False)
    for wrong in ([], '{"turns": []}', '{"turns": ["a", 3]}'):
        with pytest.raises(DataError, match="expected `turns` that are strings, at least one") as caught:
            read(wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "source,goal\na,b\n", "a.csv:1: no column `target`"),
        ("a.jsonl", lines({"source": "a", "goal": "b"}), "a.jsonl:1: no column `target`"),
        ("a.jsonl", lines({"turns": ["alone"]}), "no dialogue has two turns"),
        ("a.jsonl", lines({"source": "a", "target": " "}), "`target` is empty"),
        ("a.txt", "", "empty"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        build_task("write", ()).read(written(tmp_path / name, content), min_classes=2)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_is_made_of_sources_and_targets() -> None:
    assert texts_of([CHINESE, TurnExample("a", ("b",))]) == ["\n".join((CHINESE.source, *CHINESE.targets)), "a\nb"]
