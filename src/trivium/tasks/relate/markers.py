"""Two spans of a text marked by tokens around them, which say what they are; and what a row shows of a longer text."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from trivium.data.tokenizer import Tokenizer

Ids = tuple[int, ...]
TextSpan = tuple[int, int]  # from the first up to but not including the second: characters of a text, or its tokens
_MOST_GAPS = 3  # inside either span, and between them
_ENDS = 4  # tokens that are always shown: the first and the last of both spans


class Marker(NamedTuple):
    """The tokens around one span: `open`, then its type between `before` and `after`; `close` behind it."""

    open: Ids
    before: Ids
    after: Ids
    close: Ids

    def start(self, type_ids: Ids) -> Ids:
        """Return what stands before a span of this type; of a type that has no tokens nothing is said."""
        return (*self.open, *self.before, *type_ids, *self.after) if type_ids else self.open

    @property
    def size(self) -> int:
        """Number of tokens at most, but for those of the type."""
        return sum(map(len, self))


class Markers(NamedTuple):
    """How the head and the tail of a pair are marked in texts of one vocabulary, and text that is left out."""

    head: Marker
    tail: Marker
    gap: Ids

    @property
    def size(self) -> int:
        """Number of tokens that mark both spans at most, but for those of the types."""
        return self.head.size + self.tail.size

    @property
    def least(self) -> int:
        """Number of tokens that must be left for a text to be shown at all: the ends of both spans, and gaps."""
        return _ENDS + _MOST_GAPS * len(self.gap)


class Marked(NamedTuple):
    """A text with two spans marked, as tokens."""

    tokens_L: np.ndarray  # int64
    opens: tuple[int, int]  # where the marker before the head, and before the tail, begins
    closes: tuple[int, int]  # where the marker behind the head, and behind the tail, ends
    whole: bool  # the spans are shown, and all of the text between them


def markers_of(tokenizer: Tokenizer) -> Markers:
    """Return the markers of a vocabulary: its sentinels, which no text holds, or punctuation where it has too few.

    Punctuation is that of Zhou & Chen (2022): `@ * type * head @` and `# ^ type ^ tail #`.
    """
    sentinels = tokenizer.special.sentinels
    if len(sentinels) >= 6:
        head, head_end, tail, tail_end, typed, gap = ((each,) for each in sentinels[:6])
        return Markers(Marker(head, (), typed, head_end), Marker(tail, (), typed, tail_end), gap)
    at, star, hash_, caret, dots = (tuple(tokenizer.encode(sign)) for sign in ("@", "*", "#", "^", "..."))
    return Markers(Marker(at, star, star, at), Marker(hash_, caret, caret, hash_), dots)


def cut_at_spans(text: str, head: TextSpan, tail: TextSpan) -> tuple[list[str], tuple[TextSpan, TextSpan]]:
    """Return the parts of a text between the ends of two spans, and from which part up to which each span reaches.

    A blank before a span goes with it, as it does in the vocabularies of most tokenizers; the parts are the text.
    """
    moved = [
        (start - 1 if start and text[start - 1].isspace() and start != other else start, end)
        for (start, end), other in ((head, tail[1]), (tail, head[1]))
    ]
    cuts = sorted({0, len(text), *moved[0], *moved[1]})
    parts = [text[begin:end] for begin, end in pairwise(cuts)]
    first, second = ((cuts.index(start), cuts.index(end)) for start, end in moved)
    return parts, (first, second)


def shown_tokens(length: int, head: TextSpan, tail: TextSpan, room: int, *, gap: int) -> np.ndarray:
    """Return which tokens of a text are shown, int64, increasing: as many as there is room for.

    Where both spans and what is between them fit, they are shown with those tokens around them that are nearest to a
    span, as many on one side as on the other unless the text ends there. Where they do not fit, both spans are shown
    with what is nearest to them, so that the middle of the text between them is left out; and where the spans alone do
    not fit, their middles are.

    Args:
        length: tokens of the text.
        head, tail: tokens of the spans; they may overlap.
        room: tokens that can be shown.
        gap: tokens that stand for each stretch that is left out between others that are shown.
    """
    place_T = np.arange(length, dtype=np.int64)
    if length <= room:
        return place_T
    first_S1, last_S1 = (np.array(edges)[:, None] for edges in ((head[0], tail[0]), (head[1] - 1, tail[1] - 1)))
    into_ST, left_ST = place_T - first_S1, last_S1 - place_T
    inside_ST = (into_ST >= 0) & (left_ST >= 0)
    away_T = np.maximum(-into_ST, -left_ST).min(axis=0)  # from the nearer span, outside both
    depth_T = np.where(inside_ST, np.minimum(into_ST, left_ST), length).min(axis=0)  # from the nearest end of a span
    rank_T = np.where(inside_ST.any(axis=0), depth_T - length, away_T)
    begin, end = min(head[0], tail[0]), max(head[1], tail[1])
    if end - begin <= room:
        rank_T[begin:end] = -length
    else:
        room -= _MOST_GAPS * gap
    shown_K: np.ndarray = np.sort(np.argsort(rank_T, kind="stable")[:room])
    return shown_K


def mark_spans(
    ids_T: np.ndarray,
    spans: tuple[TextSpan, TextSpan],
    types: tuple[Ids, Ids],
    markers: Markers,
    room: int,
) -> Marked:
    """Return the tokens of a text with its two spans marked, cut to the room there is (see `shown_tokens`).

    Args:
        ids_T: tokens of the text.
        spans: tokens of head and tail; where they overlap, the markers of one stand inside the other.
        types: tokens of the head's and the tail's type.
        markers: of the vocabulary.
        room: tokens that markers, types and text may have together, at least those of markers and types and
            `markers.least`.
    """
    both = (markers.head, markers.tail)
    starts = [marker.start(type_ids) for marker, type_ids in zip(both, types, strict=True)]
    room -= sum(map(len, starts)) + sum(len(marker.close) for marker in both)
    shown_K = shown_tokens(len(ids_T), *spans, room, gap=len(markers.gap))
    # What stands before the shown token of that number: the ends of spans, a gap, the starts of spans.
    events: list[tuple[int, int, int, int, Ids]] = [
        (int(number), 1, 0, 0, markers.gap) for number in np.flatnonzero(np.diff(shown_K) > 1) + 1
    ]
    for which, ((first, stop), start) in enumerate(zip(spans, starts, strict=True)):
        before, after = (int(number) for number in np.searchsorted(shown_K, (first, stop)))
        if first == stop:  # of which the tokenizer keeps nothing
            events.append((before, 2, -stop, which, start + both[which].close))
            continue
        # Of spans that begin together the longer is outside; of those that end together the one that began earlier.
        events += [(before, 2, -stop, which, start), (after, 0, -first, -which, both[which].close)]
    parts: list[np.ndarray] = []
    opens, closes = [0, 0], [0, 0]
    filled = done = 0
    for number, order, _, which, ids in sorted(events):
        begin = filled + number - done
        parts += [ids_T[shown_K[done:number]], np.array(ids, dtype=np.int64)]
        filled, done = begin + len(ids), number
        if order == 2:
            opens[which] = begin
        if order != 1:  # a marker behind comes later than that before it, or with it
            closes[abs(which)] = filled - 1
    tokens_L = np.concatenate([*parts, ids_T[shown_K[done:]]]).astype(np.int64)
    begin, end = min(spans)[0], max(stop for _, stop in spans)
    between = np.searchsorted(shown_K, end) - np.searchsorted(shown_K, begin)
    return Marked(tokens_L, (opens[0], opens[1]), (closes[0], closes[1]), int(between) == end - begin)
