"""Which token answers for a word."""

import numpy as np
import pytest
from task_support import CHINESE, CODE, ENGLISH, tokenizer

from trivium.data.tokenizer import TokenizerKind
from trivium.tasks.label import align, split_words

TEXTS = {"english": ENGLISH, "code": CODE, "chinese": CHINESE}


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize("language", TEXTS)
def test_the_first_or_last_token_that_holds_a_character_of_the_word(
    kind: TokenizerKind, both_ways: bool, language: str
) -> None:
    words = TEXTS[language].split()
    [spans] = tokenizer(kind).encode_batch([" ".join(words)])
    chosen = align(words, spans.starts, spans.ends, both_ways=both_ways)
    begin = 0
    for word, token in zip(words, chosen, strict=True):
        own = set(range(begin, begin + len(word)))
        holding = [t for t, (a, b) in enumerate(zip(spans.starts, spans.ends, strict=True)) if own & set(range(a, b))]
        assert token == (holding[0] if both_ways else holding[-1])
        begin += len(word) + 1
    assert len(chosen) == len(words) > 10


def test_a_word_of_many_tokens_by_hand() -> None:
    # "ab cde f": the tokens are "a", "b", " ", "c", "de", " f"
    starts, ends = np.array([0, 1, 2, 3, 4, 6]), np.array([1, 2, 3, 4, 6, 8])
    assert align(["ab", "cde", "f"], starts, ends, both_ways=True).tolist() == [0, 3, 5]
    assert align(["ab", "cde", "f"], starts, ends, both_ways=False).tolist() == [1, 4, 5]


def test_a_token_that_holds_only_the_space_before_a_word_does_not_label_it() -> None:
    # "a b": the tokens are "a", " ", "b"
    assert align(["a", "b"], np.array([0, 1, 2]), np.array([1, 2, 3]), both_ways=True).tolist() == [0, 2]


def test_one_token_over_two_words_labels_both() -> None:
    assert align(["a", "b"], np.array([0]), np.array([3]), both_ways=True).tolist() == [0, 0]


def test_tokens_without_characters_label_nothing() -> None:
    starts, ends = np.array([0, 0, 2]), np.array([0, 1, 3])
    assert align(["a", "b"], starts, ends, both_ways=True).tolist() == [1, 2]


@pytest.mark.parametrize("both_ways", [True, False])
def test_words_that_the_tokenizer_drops_are_still_answered(both_ways: bool) -> None:
    words = ["\u0001", "boat", "\u0002", "\u0003", "harbour", "\u0004"]
    [spans] = tokenizer("wordpiece").encode_batch([" ".join(words)])
    chosen = align(words, spans.starts, spans.ends, both_ways=both_ways)
    boat, harbour = int(chosen[1]), int(chosen[4])
    boat_last = int(align(words, spans.starts, spans.ends, both_ways=False)[1])
    assert chosen[0] == -1 and 0 <= boat < harbour
    assert chosen[2] == chosen[3] == boat_last
    assert chosen[5] == len(spans.ids) - 1
    assert align([], np.array([], np.int32), np.array([], np.int32), both_ways=both_ways).tolist() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It is  quiet .", ["It", "is", "quiet", "."]),
        ("我喜欢读书。", ["我", "喜", "欢", "读", "书", "。"]),
        ("f(x)", ["f", "(", "x", ")"]),
        ("harbour", ["harbour"]),
        ("  ", []),
        ("", []),
    ],
)
def test_a_string_becomes_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words
