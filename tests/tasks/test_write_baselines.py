"""What is written without a network: beginnings of sources, the usual target, the nearest source's."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from write_inputs import pairs

from trivium.data.labelled import PairExample
from trivium.tasks.build import learned_task
from trivium.tasks.write.baselines import (
    FIRST_WORDS,
    LEAD,
    MOST_FREQUENT,
    NEAREST,
    first_sentence,
    first_words,
    nearest,
    write_baselines,
)
from trivium.tasks.write.files import TurnExample
from trivium.tasks.write.task import Write


def learned(examples: list[PairExample]) -> Write:
    task = learned_task("write", examples)
    assert isinstance(task, Write)
    return task


def test_beginnings_of_texts_in_both_languages() -> None:
    assert first_sentence("Dr. Smith came in. He sat down.") == "Dr. Smith came in."
    assert first_sentence("  他来了。他坐下了。") == "他来了。"
    assert first_sentence("no end at all") == "no end at all"
    assert first_words("The old, quiet harbour", 4) == "The old, quiet"
    assert first_words("我喜欢古典小说。", 3) == "我喜欢"
    assert first_words("two words", 9) == "two words" and first_words("", 2) == first_sentence("") == ""


def test_the_nearest_source_is_that_of_the_highest_cosine() -> None:
    train, test = pairs(40, seed=1), pairs(15, seed=2)

    def grams(text: str) -> list[str]:
        words = text.split()
        return words + [" ".join(pair) for pair in pairwise(words)]

    documents = Counter(gram for example in train for gram in set(grams(example.source)))

    def vector(text: str) -> np.ndarray:
        counts = Counter(grams(text))
        return np.array(
            [
                (1 + math.log(counts[gram])) * (1 + math.log(41 / (1 + documents[gram]))) if counts[gram] else 0.0
                for gram in sorted(documents)
            ]
        )

    known = np.array([vector(example.source) for example in train])
    lengths = np.linalg.norm(known, axis=1)
    places = list(nearest(train, [example.source for example in test]))
    assert len(places) == 15
    for place, example in zip(places, test, strict=True):
        cosines = known @ vector(example.source) / lengths
        assert cosines[place] == pytest.approx(cosines.max())


def test_baselines_of_pairs_and_of_dialogues() -> None:
    train = [
        PairExample("Fish is cheap today. Buy some.", ("cheap fish",)),
        PairExample("Boats are late. Wait here.", ("late boats",)),
        PairExample("The sun is out. Swim now.", ("late boats",)),
    ]
    test = [
        PairExample("Fish is cheap. Buy now.", ("Fish is cheap.",)),
        PairExample("Boats are late.", ("none", "late boats")),
    ]
    rows = write_baselines(learned(train), train, test)
    assert list(rows) == [LEAD, FIRST_WORDS, MOST_FREQUENT, NEAREST]
    assert [rows[name]["exact"] for name in rows] == [0.5, 0.0, 0.5, 0.5]
    # Two words are a target's mean: "Fish is" has two of three words in common, "Boats are" one of two.
    assert rows[FIRST_WORDS]["rouge_1"] == pytest.approx((2 * 2 / 5 + 2 * 1 / 4) / 2)
    turns = [TurnExample(*example) for example in train]
    assert list(write_baselines(learned([*turns]), turns, [TurnExample(*test[0])])) == [MOST_FREQUENT, NEAREST]
