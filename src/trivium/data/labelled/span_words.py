"""Spans of characters as BIO tags of words; a span that does not fall on words is reported."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import regex

from trivium.data.labelled.checks import shown
from trivium.data.labelled.label import LabelExample
from trivium.data.labelled.problems import Labelled, Problem
from trivium.data.labelled.spans import Span, SpanExample
from trivium.data.labelled.tags import tags_of_spans
from trivium.data.words import word_starts

# What `word_starts` takes for white space, all of it below U+3001; Python's own strip() takes more signs.
_SPACE = "".join(regex.findall(r"\p{White_Space}", "".join(map(chr, range(0x3001)))))


class LeftOut(NamedTuple):
    """A span of a text that its words cannot be tagged with, and why."""

    span: Span
    why: str


def words_of(example: SpanExample) -> tuple[LabelExample, list[LeftOut]]:
    """Return a text's words (UAX #29, each Han character a word) with BIO tags, and the spans these cannot say.

    White space around a span does not count. A span that begins or ends inside a word is left out; so is one that
    overlaps an earlier one; of those with the same start the longest stays.

    Args:
        example: a text with at least one word, and spans in characters.
    """
    text = example.text
    starts = [int(start) for start in np.flatnonzero(word_starts(text))]
    tokens, spaces = [], []
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=True):
        token = text[start:stop].rstrip(_SPACE)
        tokens.append(token)
        spaces.append(text[start + len(token) : stop])
    firsts = {start: word for word, start in enumerate(starts)}
    lasts = {start + len(token): word + 1 for word, (start, token) in enumerate(zip(starts, tokens, strict=True))}
    free = [True] * len(tokens)
    kept, left_out = [], []
    for span in sorted(example.spans, key=lambda each: (each.start, -each.end)):
        begin, end = _without_space(text, span)
        first, last = firsts.get(begin), lasts.get(end)
        if first is None or last is None or first >= last:
            left_out.append(LeftOut(span, "does not begin and end with a word"))
        elif not all(free[first:last]):
            left_out.append(LeftOut(span, "overlaps another span"))
        else:
            free[first:last] = [False] * (last - first)
            kept.append(Span(first, last, span.label))
    return LabelExample(tuple(tokens), tags_of_spans(kept, len(tokens)), tuple(spaces)), left_out


def label_examples(examples: Iterable[SpanExample]) -> Labelled[LabelExample]:
    """Return texts with spans as words with BIO tags, and a problem for each span that words cannot say."""
    found, problems = [], []
    for number, example in enumerate(examples, start=1):
        words, left_out = words_of(example)
        found.append(words)
        for span, why in left_out:
            held = shown(example.text[span.start : span.end])
            place = f"the span {span.start} to {span.end} (`{shown(span.label)}`, {held!r})"
            problems.append(Problem(f"example {number}", f"left out: {place} {why}."))
    return Labelled(found, problems)


def _without_space(text: str, span: Span) -> tuple[int, int]:
    held = text[span.start : span.end]
    return span.end - len(held.lstrip(_SPACE)), span.start + len(held.rstrip(_SPACE))
