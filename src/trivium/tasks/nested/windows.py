"""Spans that may overlap, as numbers: which window looks at a candidate, and which class is right for it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trivium.data.labelled import NestedExample, Problem, summed_up, text_of
from trivium.data.labelled.checks import shown
from trivium.tasks.pieces import Encoded, Piece, Reading, best_windows, window_starts
from trivium.tasks.words.apart import encode_apart
from trivium.tasks.words.label import align

ELSEWHERE = -1  # the class of a candidate that a window does not look at, or that is none


class _Text(NamedTuple):
    """An example as a model reads it."""

    ids: np.ndarray
    token_N: np.ndarray  # which token answers for each word; never decreases
    classes_NW: np.ndarray  # int64, the right class of the span from word n to word n + w, 0 = it is none


class _Windows(NamedTuple):
    """The windows over a text, and which of them looks at each candidate."""

    size: int  # tokens
    starts_W: np.ndarray  # where each begins
    window_NW: np.ndarray  # int64, -1 = none


def encode_spans(
    examples: Sequence[NestedExample], reading: Reading, *, classes: Mapping[str, int], max_words: int, known: bool
) -> Encoded:
    """Return examples as pieces in which each word is a place, and each candidate is looked at once.

    A candidate is a span of at most `max_words` words. A piece's `targets_NC` has for each of its words the classes of
    the spans that begin there, of 1, 2, ... `max_words` words; `ELSEWHERE` for those that another window shows with
    more around them, and for those that the text or the window has not. Of the answers in `gold` each is first word,
    end (one past the last) and class of a right span. What can never be given is among what is `said`.

    Args:
        examples: words and spans.
        reading: how they are read.
        classes: the number of each label, from 1 on; 0 is that of no span.
        max_words: W.
        known: whether the spans are; else there are no right ones.
    """
    texts, starts = zip(*map(text_of, examples), strict=True) if examples else ((), ())
    encodings = encode_apart(reading.tokenizer, texts, starts, [example.tokens for example in examples])
    pieces: list[Piece] = []
    gold: list[np.ndarray] = []
    problems: list[Problem] = []
    for number, (example, start_N, tokens) in enumerate(zip(examples, starts, encodings, strict=True)):
        token_N = align(example.tokens, start_N, tokens.starts, tokens.ends, both_ways=reading.both_ways)
        spans = example.spans if known else ()
        given = [(span.start, span.end, classes[span.label]) for span in spans]
        gold.append(np.array(given, dtype=np.int64).reshape(-1, 3))
        classes_NW, taken_S = _classes(len(token_N), gold[-1], max_words)
        text = _Text(tokens.ids, np.maximum(token_N, 0), classes_NW)
        windows = _windows(text, reading)
        pieces += _pieces(text, windows, number, reading)
        problems += _missed(example, gold[-1], taken_S, windows)
    said = (summed_up(problems),) if problems else ()
    return Encoded(pieces, gold, reading, said=said, lost=[example.lost for example in examples])


def _classes(num_words: int, gold_S3: np.ndarray, max_words: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of each candidate, and which right spans have theirs there; of equal places the first one."""
    classes_NW = np.zeros((num_words, max_words), dtype=np.int64)
    taken_S = np.zeros(len(gold_S3), dtype=bool)
    for number, (first, end, class_) in enumerate(gold_S3):
        width = end - first - 1
        if width < max_words and not classes_NW[first, width]:
            classes_NW[first, width], taken_S[number] = class_, True
    past_end_NW = np.arange(num_words)[:, None] + np.arange(max_words) >= num_words
    classes_NW[past_end_NW] = ELSEWHERE
    return classes_NW, taken_S


def _windows(text: _Text, reading: Reading) -> _Windows:
    """Return the windows over a text; they share half, or as much as the longest candidate, at most three quarters."""
    size = reading.row_length - reading.tokenizer.frame.size(1)
    token_N, (num_words, max_words) = text.token_N, text.classes_NW.shape
    last_NW = token_N[np.minimum(np.arange(num_words)[:, None] + np.arange(max_words), num_words - 1)]
    longest = int((last_NW - token_N[:, None]).max(initial=0)) + 1
    starts_W = window_starts(len(text.ids), size, overlap=max(size // 2, min(longest, 3 * size // 4)))
    window_NW = best_windows(token_N[:, None], last_NW, starts_W, size=size, both_ways=reading.both_ways)
    return _Windows(size, starts_W, np.where(text.classes_NW == ELSEWHERE, -1, window_NW))


def _pieces(text: _Text, windows: _Windows, example: int, reading: Reading) -> Iterator[Piece]:
    """Yield what each window shows that looks at a candidate, places being the words from first to last of any."""
    frame = reading.tokenizer.frame
    for window, start in enumerate(windows.starts_W):
        stop = start + windows.size
        shown_N = slice(*np.searchsorted(text.token_N, (start, stop)))
        looked_at_NW = windows.window_NW[shown_N] == window
        begins = np.flatnonzero(looked_at_NW.any(axis=1))
        if not len(begins):
            continue
        ends = begins + looked_at_NW.shape[1] - looked_at_NW[begins, ::-1].argmax(axis=1)
        used = slice(int(begins[0]), int(ends.max()))
        words_N = np.arange(shown_N.start + used.start, shown_N.start + used.stop)
        targets_NW = np.where(looked_at_NW[used], text.classes_NW[words_N], ELSEWHERE).astype(np.float32)
        tokens_L, segments_L = frame.around([text.ids[start:stop]])
        if not len(tokens_L):  # nothing is left of the words, and nothing is put around them
            tokens_L, segments_L = np.array([reading.tokenizer.special.bos]), np.zeros(1, dtype=np.int64)
        places_N = text.token_N[words_N] - start + len(frame.before)
        no_labels_N = np.zeros(len(words_N), dtype=np.int64)
        yield Piece(tokens_L, places_N, no_labels_N, words_N, example, 1.0, segments_L, targets_NW)


def _missed(example: NestedExample, gold_S3: np.ndarray, taken_S: np.ndarray, windows: _Windows) -> Iterator[Problem]:
    """Yield a problem for each right span that can never be given."""
    max_words = windows.window_NW.shape[1]
    for (first, end, _), taken, span in zip(gold_S3, taken_S, example.spans, strict=False):
        if end - first > max_words:
            why = f"has {end - first} words, more than settings.max_words={max_words}"
        elif not taken:
            why = "has two labels, of which one can be found"
        elif windows.window_NW[first, end - first - 1] < 0:
            why = "is longer than a row shows"
        else:
            continue
        name = f"the span {shown(' '.join(example.tokens[first:end]))!r} (`{shown(span.label)}`)"
        yield Problem(example.where or "an example", f"{name} {why}: it counts as missed.")
