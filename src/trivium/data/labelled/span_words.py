"""Spans of characters as BIO tags or spans of words; a span that does not fall on words is reported."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import regex

from trivium.data.labelled.checks import shown
from trivium.data.labelled.label import LabelExample
from trivium.data.labelled.problems import Labelled, Problem
from trivium.data.labelled.spans import NestedExample, Span, SpanExample
from trivium.data.labelled.tags import tags_of_spans
from trivium.data.words import word_starts

# What `word_starts` takes for white space, all of it below U+3001; Python's own strip() takes more signs.
_SPACE = "".join(regex.findall(r"\p{White_Space}", "".join(map(chr, range(0x3001)))))


_INSIDE = "does not begin and end with a word"


class LeftOut(NamedTuple):
    """A span of a text that its words cannot say, and why."""

    span: Span
    why: str


class CutText(NamedTuple):
    """The words of a text (UAX #29, each Han character a word), and where they are."""

    tokens: tuple[str, ...]
    spaces: tuple[str, ...]  # the white space after each
    before: str  # the white space before the first
    firsts: dict[int, int]  # which word begins at a character
    lasts: dict[int, int]  # which word follows on the one that ends before a character


def cut_text(text: str) -> CutText:
    """Return the words of a text, and the white space around them; together they are all of it."""
    starts = [int(start) for start in np.flatnonzero(word_starts(text))]
    tokens, spaces = [], []
    for start, stop in pairwise([*starts, len(text)]):
        token = text[start:stop].rstrip(_SPACE)
        tokens.append(token)
        spaces.append(text[start + len(token) : stop])
    firsts = {start: word for word, start in enumerate(starts)}
    lasts = {start + len(token): word + 1 for word, (start, token) in enumerate(zip(starts, tokens, strict=True))}
    return CutText(tuple(tokens), tuple(spaces), text[: starts[0] if starts else None], firsts, lasts)


def in_words(text: str, cut: CutText, span: Span) -> Span | None:
    """Return a span of characters in words; None when it begins or ends inside one. White space around it is naught."""
    begin, end = _without_space(text, span)
    first, last = cut.firsts.get(begin), cut.lasts.get(end)
    return None if first is None or last is None or first >= last else Span(first, last, span.label)


def words_of(example: SpanExample) -> tuple[LabelExample, list[LeftOut]]:
    """Return a text's words (UAX #29, each Han character a word) with BIO tags, and the spans these cannot say.

    White space around a span does not count. A span that begins or ends inside a word is left out; so is one that
    overlaps an earlier one; of those with the same start the longest stays.

    Args:
        example: a text with at least one word, and spans in characters.
    """
    cut = cut_text(example.text)
    free = [True] * len(cut.tokens)
    kept, left_out = [], []
    for span in sorted(example.spans, key=lambda each: (each.start, -each.end)):
        found = in_words(example.text, cut, span)
        if found is None:
            left_out.append(LeftOut(span, _INSIDE))
        elif found in kept:
            continue  # named twice, or with the white space around it
        elif not all(free[found.start : found.end]):
            left_out.append(LeftOut(span, "overlaps another span, which only the task `nested` learns"))
        else:
            free[found.start : found.end] = [False] * (found.end - found.start)
            kept.append(found)
    tags = tags_of_spans(kept, len(cut.tokens))
    lost = tuple(each.span.label for each in left_out)
    return LabelExample(cut.tokens, tags, cut.spaces, cut.before, example.where, lost), left_out


def nested_words(example: SpanExample) -> tuple[NestedExample, list[LeftOut]]:
    """Return a text's words as `words_of` cuts them, its spans in words, and those that begin or end inside a word."""
    cut = cut_text(example.text)
    kept, left_out = [], []
    for span in example.spans:
        found = in_words(example.text, cut, span)
        if found is None:
            left_out.append(LeftOut(span, _INSIDE))
        else:
            kept.append(found)
    lost, spans = tuple(each.span.label for each in left_out), tuple(dict.fromkeys(kept))
    return NestedExample(cut.tokens, spans, cut.spaces, example.where, cut.before, lost), left_out


def label_examples(examples: Iterable[SpanExample]) -> Labelled[LabelExample]:
    """Return texts with spans as words with BIO tags, and a problem for each span that words cannot say."""
    found, problems = [], []
    for example in examples:
        words, left_out = words_of(example)
        found.append(words)
        problems += [_problem(example, each) for each in left_out]
    return Labelled(found, problems)


def nested_examples(examples: Iterable[SpanExample]) -> Labelled[NestedExample]:
    """Return texts with spans as words with spans of words, and a problem for each span that words cannot say."""
    found, problems = [], []
    for example in examples:
        words, left_out = nested_words(example)
        found.append(words)
        problems += [_problem(example, each) for each in left_out]
    return Labelled(found, problems)


def _problem(example: SpanExample, left_out: LeftOut) -> Problem:
    span, why = left_out
    held = shown(example.text[span.start : span.end])
    named = f"the span {span.start} to {span.end} (`{shown(span.label)}`, {held!r})"
    return Problem(example.where, f"left out: {named} {why}; it counts as missed.")


def _without_space(text: str, span: Span) -> tuple[int, int]:
    held = text[span.start : span.end]
    return span.end - len(held.lstrip(_SPACE)), span.start + len(held.rstrip(_SPACE))
