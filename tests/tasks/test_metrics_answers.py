"""Answers that are text: against the numbers that the official scorers gave, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from answer_inputs import CHINESE, ENGLISH, questions

from trivium.tasks.metrics import Answers, cmrc_score, squad_score
from trivium.tasks.metrics.answer_text import cmrc_units, normal_answer

EXACT = 1e-9
KNOWN = json.loads((Path(__file__).parents[1] / "fixtures" / "answer_scores.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("seed", range(8))
def test_answers_score_as_squads_scorers_scored_them(seed: int) -> None:
    asked = questions(seed, ENGLISH, " ", unanswerable=0.3)
    halves = Answers(squad_score), Answers(squad_score)
    for number, ((given, right), known) in enumerate(zip(asked, KNOWN["squad_2"][seed], strict=True)):
        assert halves[number % 2].add(given, right) == pytest.approx(known, abs=EXACT)
    halves[0].merge(halves[1])
    known = np.array(KNOWN["squad_2"][seed])
    has_answer = np.array([bool(right) for _, right in asked])
    wanted = {"": known, "answerable_": known[has_answer], "unanswerable_": known[~has_answer]}
    assert halves[0].metrics() == pytest.approx(
        {
            f"{kind}{name}": rows[:, column].mean()
            for kind, rows in wanted.items()
            for column, name in enumerate(("exact_match", "f1"))
        },
        abs=EXACT,
    )


def test_answers_with_words_score_as_squad_1_scored_them() -> None:
    compared = 0
    for seed, scores in enumerate(KNOWN["squad_1"]):
        for (given, right), known in zip(questions(seed, ENGLISH, " "), scores, strict=True):
            # Right answers that are articles and punctuation only: see `squad_score`.
            if all(normal_answer(text) for text in right):
                assert squad_score(given, right) == pytest.approx(known, abs=EXACT)
                compared += 1
    assert compared > 200


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("joint", ["", " "])
def test_chinese_answers_score_as_cmrcs_scorer_scored_them(seed: int, joint: str) -> None:
    asked = questions(seed, CHINESE, joint)
    known = KNOWN["cmrc"][2 * seed + (joint == " ")]
    answers = Answers(cmrc_score)
    for (given, right), expected in zip(asked, known, strict=True):
        assert answers.add(given, right) == pytest.approx(expected, abs=EXACT), (given, right)
    assert list(answers.metrics().values()) == pytest.approx(np.mean(known, axis=0), abs=EXACT)


@pytest.mark.parametrize(
    ("given", "right", "exact_match", "f1"),
    [
        ("The  Cat!", ["a cat"], 1, 1),
        ("the black cat", ["cat", "black cat sat"], 0, 0.8),
        ("", [], 1, 1),
        ("", [""], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", ["a", "!"], 1, 1),  # no right answer has a word
        ("cat cat", ["cat"], 0, 2 / 3),
    ],
)
def test_squad_by_hand(given: str, right: list[str], exact_match: float, f1: float) -> None:
    assert squad_score(given, right) == pytest.approx((exact_match, f1))


@pytest.mark.parametrize(
    ("given", "right", "exact_match", "f1"),
    [
        ("《红楼梦》", ["红楼梦"], 1, 1),
        ("北京的大学", ["北京大学"], 0, 4 / 9),  # the longest run is two characters
        ("1898年", ["1898", "1898年。"], 1, 1),
        ("iPhone 手机", ["iphone手机"], 0, 1),  # exact match looks at white space, F1 does not
        ("。", ["。"], 1, 0),  # nothing is left to have in common
        ("", [], 1, 1),
        ("人", [], 0, 0),
    ],
)
def test_cmrc_by_hand(given: str, right: list[str], exact_match: float, f1: float) -> None:
    assert cmrc_score(given, right) == pytest.approx((exact_match, f1))


def test_units_are_characters_and_words() -> None:
    assert cmrc_units("我用iPhone 4S打给Dr. Li， don't！") == [
        *"我用",
        "iphone",
        "4s",
        *"打给",
        "dr.",
        "li",
        "do",
        "n't",
    ]


def test_no_questions_score_nothing() -> None:
    assert Answers(squad_score).metrics() == {"exact_match": 0.0, "f1": 0.0}
