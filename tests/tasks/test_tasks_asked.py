"""What a line of input asks: a text, or what its JSON says."""

from typing import Any

import numpy as np
import pytest
from answer_support import answer_model, answer_reading
from task_support import SYLLABLES, classify_examples, lively_model, reading
from test_tasks_spans import span_examples

from trivium.tasks.answer.task import Answer
from trivium.tasks.base import Task
from trivium.tasks.build import build_task, learned_task
from trivium.tasks.class_answers import class_answers
from trivium.tasks.folder import TunedModel
from trivium.tasks.predict import asked, predict_texts
from trivium.tasks.relate.joint import predict_joint


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("a text", "a text"),
        ('["a", "b"]', ["a", "b"]),
        ('{"text": "a"}', "a"),
        ('{"text": "a", "text_pair": "b", "label": "x"}', ["a", "b"]),
        ('{"tokens": ["a", "."], "labels": ["X", "O"]}', ["a", "."]),
        ("[1, 2]", "[1, 2]"),
        ("[not JSON", "[not JSON"),
        ('{"other": "a"}', '{"other": "a"}'),
        ("[]", "[]"),
        ("", ""),
    ],
)
def test_a_line_is_its_json_or_itself(line: str, value: object) -> None:
    assert asked(line) == value


def test_pairs_and_words_are_answered_from_lines_as_from_lists() -> None:
    examples = classify_examples(30, seed=1)
    task = learned_task("classify", examples)
    tuned = TunedModel(lively_model("encoder", task), None, task, reading("encoder"))  # type: ignore[arg-type]
    lines, lists = ['["ba", "ke ba"]', '{"text": "ba"}'], [["ba", "ke ba"], "ba"]
    mine = list(predict_texts(tuned, lines))
    assert mine == list(predict_texts(tuned, lists)) and mine[0]["text_pair"] == "ke ba"


def test_spans_are_found_in_words_as_texts_of_files_are_cut() -> None:
    task = learned_task("spans", span_examples(30, seed=1))
    tuned = TunedModel(lively_model("encoder", task), None, task, reading("encoder"))  # type: ignore[arg-type]
    text = "Marie lived in Rome. 我 在 London 读书，鲁迅。"
    (answer,) = predict_texts(tuned, [text])
    assert answer["text"] == text
    assert answer["tokens"][:5] == ["Marie", "lived", "in", "Rome", "."]
    assert answer["tokens"][5:9] == ["我", "在", "London", "读"]
    (words,) = predict_texts(tuned, ['{"tokens": ["Marie", "lived", "in", "New-York"]}'])
    assert words["tokens"] == ["Marie", "lived", "in", "New-York"]


def spaced_texts(count: int, *, seed: int) -> list[str]:
    """Texts in two scripts with white space of any kind before, between and after the words, and some without words."""
    rng = np.random.default_rng(seed)
    words, spaces = (
        (*SYLLABLES, "Paris,", "我在北京。", "👍🏽"),
        (" ", "  ", "\t", "\n", "\u3000", "\u00a0", "\r\n", ""),
    )
    texts = [" ", "\u3000\n", ""]
    for _ in range(count):
        own = [*rng.choice(words, int(rng.integers(1, 9)))]
        texts.append(str(rng.choice(spaces)) + "".join(str(each) + str(rng.choice(spaces)) for each in own))
    return texts


def tuned_of(task: Task) -> TunedModel:
    return TunedModel(lively_model("encoder", task), None, task, reading("encoder", row_length=128))  # type: ignore[arg-type]


SPAN_TASKS: dict[str, tuple[str, ...]] = {"spans": ("O", "B-A", "I-A", "B-B", "I-B"), "nested": ("A", "B")}


@pytest.mark.parametrize("name", SPAN_TASKS)
def test_spans_are_characters_of_the_text_as_it_was_asked(name: str) -> None:
    texts, tuned = spaced_texts(60, seed=1), tuned_of(build_task(name, SPAN_TASKS[name]))
    relater = tuned_of(build_task("relate", ("knows", "none"), settings={"none": "none"}))
    rows, joint = list(predict_texts(tuned, texts)), list(predict_joint(tuned, relater, texts))
    moved = 0
    for text, row, both in zip(texts, rows, joint, strict=True):
        assert row["text"] == both["text"] == text
        for span in row["spans"]:
            held = text[span["start"] : span["end"]]
            assert held == span["text"] == held.strip() != ""
            moved += text[:1].isspace()
        places = [{key: span[key] for key in ("start", "end", "label")} for span in row["spans"]]
        assert both["spans"] == places
        for one in places[:2]:
            asked_for: dict[str, Any] = {"text": text, "head": one, "tail": places[0]}
            [related] = predict_texts(relater, [asked_for])
            assert {key: related[key] for key in ("text", "head", "tail")} == asked_for
    assert moved > 20


def test_labels_are_of_the_words_that_spans_are_cut_into_and_have_their_characters_and_probabilities() -> None:
    texts, tuned, labels = spaced_texts(60, seed=2), tuned_of(build_task("label", ("low", "high", "top"))), set()
    cut = predict_texts(tuned_of(build_task("spans", SPAN_TASKS["spans"])), texts)
    for text, row, other in zip(texts, predict_texts(tuned, texts), cut, strict=True):
        assert row["text"] == text and row["tokens"] == other["tokens"]
        assert [text[word["start"] : word["end"]] for word in row["words"]] == row["tokens"]
        assert [word["label"] for word in row["words"]] == row["labels"]
        assert "".join(row["tokens"]) == "".join(text.split())
        example = tuned.task.unlabelled(text)
        encoded = tuned.task.encode([example], tuned.reading, known=False)
        [answer] = class_answers(tuned.model, encoded, num_classes=3)
        likely = np.exp(answer.outputs_AC).max(axis=1, initial=0.0)
        np.testing.assert_allclose([word["probability"] for word in row["words"]], likely, atol=2e-5)
        assert all(1 / 3 < word["probability"] <= 1 for word in row["words"])
        labels |= set(row["labels"])
    assert len(labels) > 1
    [words] = predict_texts(tuned, [["Paris,", "ba"]])
    assert words["text"] == "Paris, ba" and [word["end"] for word in words["words"]] == [6, 9]


def test_answers_are_characters_of_the_context_as_it_was_asked() -> None:
    texts = spaced_texts(30, seed=3)
    tuned = TunedModel(answer_model("encoder"), None, Answer(), answer_reading(row_length=64))  # type: ignore[arg-type]
    rows = list(predict_texts(tuned, [{"question": "ba ke", "context": text} for text in texts]))
    given = 0
    for text, row in zip(texts, rows, strict=True):
        for found in (row, *row["others"]):
            if found["start"] is not None:
                held = text[found["start"] : found["end"]]
                assert held == found["answer"] == held.strip() != ""
                given += 1
    assert given > 30
