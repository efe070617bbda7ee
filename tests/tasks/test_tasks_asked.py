"""What a line of input asks: a text, or what its JSON says."""

import pytest
from task_support import classify_examples, lively_model, reading
from test_tasks_spans import span_examples

from trivium.tasks.build import learned_task
from trivium.tasks.folder import TunedModel
from trivium.tasks.predict import asked, predict_texts


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
