"""Which token answers for a word."""

from itertools import accumulate

import numpy as np
import pytest
from task_support import CHINESE, CODE, ENGLISH, tokenizer

from trivium.data.labelled import LabelExample, cut_text, text_of, whole_text
from trivium.data.tokenizer_training import TokenizerKind
from trivium.tasks.words.label import Label, align

TEXTS = {
    "english": cut_text(ENGLISH)[:2],
    "code": cut_text(CODE)[:2],
    "code as it is written": (("def", "read", "(", "self", ",", "x", ")", ":"), (" ", "", "", "", " ", "", "", "\n")),
    "chinese": (tuple(CHINESE.split()), None),
    "chinese apart": cut_text(CHINESE)[:2],
}


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize("language", TEXTS)
def test_the_first_or_last_token_that_holds_a_character_of_the_word(
    kind: TokenizerKind, both_ways: bool, language: str
) -> None:
    words, spaces = TEXTS[language]
    text, begins = text_of(LabelExample(words, words, spaces))
    [spans] = tokenizer(kind).encode_batch([text])
    chosen = align(words, begins, spans.starts, spans.ends, both_ways=both_ways)
    for word, begin, token in zip(words, begins, chosen, strict=True):
        assert text[begin : begin + len(word)] == word
        own = set(range(begin, begin + len(word)))
        holding = [t for t, (a, b) in enumerate(zip(spans.starts, spans.ends, strict=True)) if own & set(range(a, b))]
        assert token == (holding[0] if both_ways else holding[-1])
    assert len(chosen) == len(words) > 7


def _align(words: list[str], starts: list[int], ends: list[int], *, both_ways: bool) -> list[int]:
    """For words apart by one space."""
    begins = [0, *accumulate(len(word) + 1 for word in words)][: len(words)]
    return align(words, begins, np.array(starts, np.int32), np.array(ends, np.int32), both_ways=both_ways).tolist()


def test_a_word_of_many_tokens_by_hand() -> None:
    # "ab cde f": the tokens are "a", "b", " ", "c", "de", " f"
    starts, ends = [0, 1, 2, 3, 4, 6], [1, 2, 3, 4, 6, 8]
    assert _align(["ab", "cde", "f"], starts, ends, both_ways=True) == [0, 3, 5]
    assert _align(["ab", "cde", "f"], starts, ends, both_ways=False) == [1, 4, 5]


def test_a_token_that_holds_only_the_space_before_a_word_does_not_label_it() -> None:
    # "a b": the tokens are "a", " ", "b"
    assert _align(["a", "b"], [0, 1, 2], [1, 2, 3], both_ways=True) == [0, 2]


def test_one_token_over_two_words_labels_both() -> None:
    assert _align(["a", "b"], [0], [3], both_ways=True) == [0, 0]


def test_tokens_without_characters_label_nothing() -> None:
    assert _align(["a", "b"], [0, 0, 2], [0, 1, 3], both_ways=True) == [1, 2]


@pytest.mark.parametrize("both_ways", [True, False])
def test_words_that_the_tokenizer_drops_are_still_answered(both_ways: bool) -> None:
    words = ["\u0001", "boat", "\u0002", "\u0003", "harbour", "\u0004"]
    [spans] = tokenizer("wordpiece").encode_batch([" ".join(words)])
    starts, ends = spans.starts.tolist(), spans.ends.tolist()
    chosen = _align(words, starts, ends, both_ways=both_ways)
    boat_last = _align(words, starts, ends, both_ways=False)[1]
    assert chosen[0] == -1 and 0 <= chosen[1] <= boat_last < chosen[4]
    assert chosen[2] == chosen[3] == boat_last
    assert chosen[5] == len(spans.ids) - 1
    assert _align([], [], [], both_ways=both_ways) == []


@pytest.mark.parametrize(
    ("text", "words", "spaces"),
    [
        ("It is  quiet.", ("It", "is", "quiet", "."), (" ", "  ", "", "")),
        (
            "we saw Paris, then home.",
            ("we", "saw", "Paris", ",", "then", "home", "."),
            (" ", " ", "", " ", " ", "", ""),
        ),
        ("我在北京", ("我", "在", "北", "京"), ("",) * 4),
        ("我在北京 hello", ("我", "在", "北", "京", "hello"), ("", "", "", " ", "")),
        ("f(x)\n", ("f", "(", "x", ")"), ("", "", "", "\n")),
        ("\u3000harbour", ("harbour",), ("",)),
        ("  ", (), ()),
        ("", (), ()),
    ],
)
def test_a_string_becomes_words(text: str, words: tuple[str, ...], spaces: tuple[str, ...]) -> None:
    example = Label(("a",)).unlabelled(text)
    assert (example.tokens, example.spaces) == (words, spaces)
    assert whole_text(example)[0] == text
