"""Tokens that each hold characters of one word only, where a text's words are answered for one by one."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from trivium.data.tokenizer import Tokenizer, TokenSpans
from trivium.data.words import words_at


def encode_words(tokenizer: Tokenizer, texts: Sequence[str]) -> list[TokenSpans]:
    """Return the tokens of texts, none of which holds characters of two words of Unicode's (UAX #29).

    Each Chinese character and each punctuation sign is a word: what is read off a text can begin and end at any.
    """
    placed = [words_at(text) for text in texts]
    starts = [[start for start, _ in own] for own in placed]
    words = [[word for _, word in own] for own in placed]
    return encode_apart(tokenizer, texts, starts, words)


def encode_apart(
    tokenizer: Tokenizer, texts: Sequence[str], starts: Sequence[Sequence[int]], words: Sequence[Sequence[str]]
) -> list[TokenSpans]:
    """Return the tokens of texts, none of which holds characters of two words.

    Two words of one token would be read off one hidden state: their labels could never differ. Chinese, of which each
    character is a word and many tokens hold several, could not be labelled; nor could "don't" as "do" and "n't". A text
    is cut as it was in pretraining, but where a word begins inside a token that holds some of the one before it is
    parted, and both sides are cut by themselves. What puts a sign of its own before each text (SentencePiece) is left
    as it cuts.

    Args:
        tokenizer: that cuts.
        texts: as they are read.
        starts: where each text's words begin, in characters, increasing.
        words: of each text.
    """
    found = tokenizer.encode_batch(texts)
    if not tokenizer.adds_nothing:
        return found
    cuts: dict[int, np.ndarray] = {}
    unsure = list(range(len(texts)))
    # What is parted is cut anew, and words may begin inside its tokens too; each round parts at more of their starts.
    while unsure:
        inside = {number: _inside(starts[number], words[number], found[number]) for number in unsure}
        unsure = [number for number in unsure if len(inside[number])]
        edges: dict[int, np.ndarray] = {}
        for number in unsure:
            cuts[number] = np.union1d(cuts.get(number, _NONE), inside[number])
            edges[number] = np.concatenate(([0], cuts[number], [len(texts[number])]))
        encoded = iter(
            tokenizer.encode_batch([texts[number][a:b] for number in unsure for a, b in pairwise(edges[number])])
        )
        for number in unsure:
            found[number] = _together([next(encoded) for _ in edges[number][1:]], edges[number])
    return found


_NONE = np.zeros(0, dtype=np.int64)


def _inside(starts: Sequence[int], words: Sequence[str], spans: TokenSpans) -> np.ndarray:
    """Return the starts of those words that begin inside a token which holds characters of the word before."""
    start_W = np.asarray(starts, dtype=np.int64)
    end_W = start_W + np.array([len(word) for word in words], dtype=np.int64)
    later_W, before_W = start_W[1:], np.maximum.accumulate(end_W)[:-1]
    token_W = np.searchsorted(spans.ends, later_W, side="right")  # the first that ends behind the start
    held_W = token_W < len(spans.ends)
    begin_W = spans.starts[token_W[held_W]]
    return later_W[held_W][(begin_W < later_W[held_W]) & (begin_W < before_W[held_W])]


def _together(parts: Sequence[TokenSpans], edges: np.ndarray) -> TokenSpans:
    """Return the tokens of the parts of a text as those of the text."""
    shifts = np.repeat(edges[:-1], [len(part.ids) for part in parts]).astype(np.int32)
    ids, starts, ends = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return TokenSpans(ids, starts + shifts, ends + shifts)
