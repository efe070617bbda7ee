"""Fill in the middle: the published layouts, the text comes back, the rest is causal."""

import numpy as np
import pytest

from support import SPECIAL, random_rows
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.objectives.causal import Causal
from trivium.objectives.fill_in import FillIn, FillInConfig, Marks, arrange, marks_of

LENGTH = 64
PRE, SUF, MID = MARKS = marks_of(SPECIAL)


def test_the_layouts_are_those_of_the_paper() -> None:
    text = np.arange(1000, 1010)
    assert arrange(text, 3, 5, Marks(-1, -2, -3), suffix_first=False).tolist() == [
        *(-1, 1000, 1001, 1002),
        *(-2, 1005, 1006, 1007, 1008, 1009),
        *(-3, 1003, 1004),
    ]
    assert arrange(text, 3, 5, Marks(-1, -2, -3), suffix_first=True).tolist() == [
        *(-1, -2, 1005, 1006, 1007, 1008, 1009),
        *(-3, 1000, 1001, 1002, 1003, 1004),
    ]


def restored(tokens: list[int]) -> tuple[list[int], bool]:
    """The text of a rearranged document, and whether nothing stands before the suffix's mark."""
    first, second, third = (tokens.index(mark) for mark in MARKS)
    assert first < second < third
    before, suffix, rest = tokens[first + 1 : second], tokens[second + 1 : third], tokens[third + 1 :]
    return [*before, *rest, *suffix], not before


def test_a_document_comes_back_but_for_its_last_three_tokens() -> None:
    rows = random_rows([[30, 5, 30], [65], [20, 20, 25]] * 60, LENGTH)
    rows.tokens_BL[:, 0] = SPECIAL.bos
    tokens_BL = FillIn(FillInConfig(rate=1.0), SPECIAL).make(rows, Key(0)).tokens_BL.numpy()
    checked = suffix_first = 0
    for b in range(len(tokens_BL)):
        for number in range(rows.document_BL[b, :-1].max() + 1):
            mine = rows.document_BL[b, :-1] == number
            # The batch shows all tokens of a row but the last; documents that end there are looked at without it.
            if rows.document_BL[b, -1] == number:
                continue
            before, now = rows.tokens_BL[b, :-1][mine].tolist(), tokens_BL[b][mine].tolist()
            if len(before) < 9:
                assert now == before
                continue
            assert now[-1] == before[-1] == SPECIAL.eos
            begin = int(before[0] == SPECIAL.bos)
            assert now[:begin] == before[:begin]
            text, first = restored(now[begin:-1])
            assert text == before[begin:-4]
            suffix_first += first
            checked += 1
    assert checked >= 100
    assert 0.3 * checked < suffix_first < 0.75 * checked  # half of them, and those with an empty prefix


def test_the_rate_of_documents_is_rearranged() -> None:
    rows = random_rows([[LENGTH + 1]] * 2000, LENGTH)
    tokens_BL = FillIn(FillInConfig(rate=0.3), SPECIAL).make(rows, Key(0)).tokens_BL
    assert float((tokens_BL == MID).any(1).double().mean()) == pytest.approx(0.3, abs=0.05)


def test_all_that_is_not_rearranged_is_as_causal_as_ever() -> None:
    rows = random_rows([[7, 7, 7, 7, 7, 7, 7, 7, 7]], LENGTH)
    ours, causal = FillIn(FillInConfig(rate=1.0), SPECIAL).make(rows, Key(0)), Causal().make(rows, Key(0))
    assert ours.tokens_BL.equal(causal.tokens_BL)
    assert ours.weights_BN.equal(causal.weights_BN)
    assert ours.layout.kind == "past"


def test_three_sentinels_are_needed() -> None:
    with pytest.raises(ConfigError, match="three sentinels, the tokenizer has 2"):
        FillIn(FillInConfig(), SPECIAL._replace(sentinels=SPECIAL.sentinels[:2]))
