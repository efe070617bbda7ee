"""Tags of words that mark spans, in the schemes people have, to spans and back to BIO."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from trivium.core.errors import DataError
from trivium.data.labelled.checks import shown
from trivium.data.labelled.spans import Span

Scheme = Literal["BIO", "IOB1", "BIOES", "BMES", "BILOU"]
UNSCORED = "_"
"""The label of a word that is context only: it is neither learned nor counted."""

_TAG = re.compile(r"([BIEMSWLU])(?:[-_](.+))?", re.DOTALL)
# What each letter does, in the letters of BIOES: begin, inside, end, single.
_DOES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "W": "S", "U": "S"}


class _Tag(NamedTuple):
    letter: str  # as the file has it; "O" outside
    does: str
    label: str


_OUTSIDE = _Tag("O", "O", "")


def spans_of_tags(tags: Sequence[str]) -> list[Span]:
    """Return the spans of words that tags of any scheme mark; a malformed sequence is read as conlleval does.

    The spans do not depend on the scheme, only whether a sequence is malformed does. A span begins at B or S, at I
    or E when the word before is outside, ended a span or has another label; it ends after E or S, and before B, S, O
    or another label. M is I; L is E; W and U are S. `UNSCORED` is outside. A tag without a label (word segmentation
    has B, M, E, S) gives the label "".

    Args:
        tags: of one sentence.

    Raises:
        DataError: a tag of no scheme.

    Source: conlleval.pl, `startOfChunk` and `endOfChunk` (CoNLL-2000); for S, which it does not know, seqeval.
    """
    spans: list[Span] = []
    before, start = _OUTSIDE, 0
    for place, tag in enumerate([*map(_parsed, tags), _OUTSIDE]):
        inside = before.does != "O"
        if inside and not _goes_on(before, tag):
            spans.append(Span(start, place, before.label))
        if tag.does != "O" and not (inside and _goes_on(before, tag)):
            start = place
        before = tag
    return spans


def tags_of_spans(spans: Iterable[Span], length: int) -> tuple[str, ...]:
    """Return the BIO tags of spans of words.

    Args:
        spans: in any order.
        length: words of the sentence.

    Raises:
        DataError: a span outside the sentence, or over a word of another one.
    """
    tags = ["O"] * length
    for span in spans:
        if not 0 <= span.start < span.end <= length:
            raise DataError(f"the span {span.start} to {span.end} is not inside a sentence of {length} words.")
        if any(tag != "O" for tag in tags[span.start : span.end]):
            raise DataError(f"the span {span.start} to {span.end} overlaps another: BIO tags cannot say so.")
        suffix = f"-{span.label}" if span.label else ""
        tags[span.start : span.end] = [f"B{suffix}", *[f"I{suffix}"] * (span.end - span.start - 1)]
    return tuple(tags)


def is_tag(tag: str) -> bool:
    """Say whether a label is a tag of any scheme."""
    return tag in ("O", UNSCORED) or _TAG.fullmatch(tag) is not None


def to_bio(tags: Sequence[str]) -> tuple[str, ...]:
    """Return tags of any scheme as BIO tags; `UNSCORED` stays."""
    bio = tags_of_spans(spans_of_tags(tags), len(tags))
    return tuple(UNSCORED if old == UNSCORED else new for old, new in zip(tags, bio, strict=True))


def detect_scheme(sentences: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme that the tags of a file are in.

    Letters that only one scheme has decide: M or W is BMES (BMEWO), L or U is BILOU, E or S is BIOES. With B, I and O
    alone, every first span of a sentence begins with B in BIO and with I in IOB1, so that a file with spans can be
    free of malformed sequences in one of them only; where it is in neither, the one with fewer is meant, and BIO if
    both have as many, or there is no span.

    Args:
        sentences: the tags of each.

    Raises:
        DataError: a tag of no scheme.
    """
    letters: set[str] = set()
    wrong: Counter[Scheme] = Counter()
    for tags in sentences:
        letters.update(_parsed(tag).letter for tag in tags)
        if letters <= set("BIO"):
            for scheme in ("BIO", "IOB1"):
                wrong[scheme] += len(malformed(tags, scheme))
    if letters & set("MW"):
        return "BMES"
    if letters & set("LU"):
        return "BILOU"
    if letters & set("ES"):
        return "BIOES"
    return "IOB1" if wrong["IOB1"] < wrong["BIO"] else "BIO"


def malformed(tags: Sequence[str], scheme: Scheme) -> list[int]:
    """Return the words at which a sequence breaks the rules of its scheme.

    A span that is not ended (BIOES, BMES, BILOU) is found at its last word, all else where a tag stands wrongly.

    Raises:
        DataError: a tag of no scheme.
    """
    parsed = [_OUTSIDE, *map(_parsed, tags), _OUTSIDE]
    letters = {"BIO": "BIO", "IOB1": "BIO", "BIOES": "BIOES", "BMES": "BMESWO", "BILOU": "BILOU"}[scheme]
    places = set()
    for place in range(1, len(parsed)):
        before, tag = parsed[place - 1], parsed[place]
        same = before.does != "O" and before.label == tag.label
        if tag.letter not in letters:
            places.add(place - 1)
        elif scheme == "BIO":
            if tag.does == "I" and not same:
                places.add(place - 1)
        elif scheme == "IOB1":
            if tag.does == "B" and not same:
                places.add(place - 1)
        else:
            is_open = before.does in "BI"
            if tag.does in "IE" and not (is_open and same):
                places.add(place - 1)
            elif is_open and tag.does in "BSO":
                places.add(place - 2)
    return sorted(places)


def _goes_on(before: _Tag, tag: _Tag) -> bool:
    """Say whether a tag goes on the span that the tag before it, which is inside one, is in."""
    return before.does in "BI" and tag.does in "IE" and before.label == tag.label


@lru_cache(maxsize=1 << 12)  # a file has few different tags, and many of each
def _parsed(tag: str) -> _Tag:
    if tag in ("O", UNSCORED):
        return _OUTSIDE
    match = _TAG.fullmatch(tag)
    if match is None:
        raise DataError(
            f"`{shown(tag)}` is no tag of a span; expected O or a letter of BIO, BIOES, BMES or BILOU and a label, "
            "such as B-PER."
        )
    return _Tag(match[1], _DOES[match[1]], match[2] or "")
