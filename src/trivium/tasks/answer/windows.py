"""Questions and their contexts as pieces of tokens: windows over the context, each read after the whole question."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from trivium.data.labelled import Answer, AnswerExample
from trivium.data.tokenizer import TokenSpans
from trivium.tasks.pieces import Encoded, Piece, Reading, window_starts
from trivium.tasks.settings import AnswerSettings
from trivium.tasks.words.apart import encode_words

STARTS, ENDS = 1, 2
"""Bits of a place's class: a right answer starts with its token, or ends with it."""

_HAN = re.compile("[\u3400-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")
_JUDGED = 2000  # characters of a context, whose script is asked
_SHOWN = 3  # questions that are named


class Asked(NamedTuple):
    """A question, and the characters of its context that each token of it comes from."""

    example: AnswerExample
    starts_T: np.ndarray  # int32
    ends_T: np.ndarray  # int32
    is_chinese: bool
    is_held: bool  # some window holds a right answer that is not too long to be given, or there is none


def encode_questions(
    examples: Sequence[AnswerExample], reading: Reading, settings: AnswerSettings, *, known: bool
) -> Encoded:
    """Return questions as pieces, one for each window over their contexts.

    The places of a piece are its candidates: first that of "no answer", then the tokens of the context in the window.
    The classes are bits, see `STARTS`: those of the first answer that the window holds whole, else of "no answer".

    Args:
        examples: questions about contexts.
        reading: how the model reads.
        settings: how far apart windows are, and how long an answer may be.
        known: False: the answers are not looked at.
    """
    # Several questions share a context. Its answers begin and end at tokens, which therefore hold one word only.
    contexts = _each(partial(encode_words, reading.tokenizer), [example.context for example in examples])
    questions = _each(reading.tokenizer.encode_batch, [example.question for example in examples])
    chinese = {context: is_chinese(context) for context in contexts}
    numbers_T = np.arange(-1, max((len(spans.ids) for spans in contexts.values()), default=0), dtype=np.int32)
    pieces: list[Piece] = []
    gold: list[np.ndarray] = []
    asked: list[Asked] = []
    for number, example in enumerate(examples):
        spans, question = contexts[example.context], questions[example.question].ids
        found = [token_span(answer, spans) for answer in example.answers] if known else []
        right_A2 = np.array([each for each in found if each is not None], dtype=np.int64).reshape(-1, 2)
        windows = _windows(question, spans.ids, reading, settings.stride)
        for window in windows:
            classes_N = _classes(right_A2, window) if known else np.zeros(len(window.places_N), dtype=np.int8)
            answers_N = numbers_T[window.start : window.start + len(window.places_N)]
            places = window.tokens_L, window.places_N, classes_N, answers_N
            pieces.append(Piece(*places, number, 1.0, segments_L=window.segments_L))
        gold.append(right_A2)
        short_A2 = right_A2[right_A2[:, 1] - right_A2[:, 0] < settings.max_answer_tokens]
        is_held = not (known and example.answers) or any(len(_inside(short_A2, window)) for window in windows)
        asked.append(Asked(example, spans.starts, spans.ends, chinese[example.context], is_held))
    return Encoded(pieces, gold, reading, asked=asked, said=_said(asked))


def token_span(answer: Answer, spans: TokenSpans) -> tuple[int, int] | None:
    """Return the first and the last token that hold a character of an answer; None when none does."""
    text = answer.text.strip()
    begin = answer.start + answer.text.find(text)
    holds = np.flatnonzero(spans.ends > spans.starts)  # tokens without characters hold none of any answer
    first = int(np.searchsorted(spans.ends[holds], begin, side="right"))
    last = int(np.searchsorted(spans.starts[holds], begin + len(text), side="left")) - 1
    return (int(holds[first]), int(holds[last])) if first <= last else None


def is_chinese(text: str) -> bool:
    """Return whether most letters of a text, judged by its beginning, are Chinese characters."""
    beginning = text[:_JUDGED]
    return 2 * len(_HAN.findall(beginning)) > len(_LETTER.findall(beginning))


class _Window(NamedTuple):
    """What a piece shows: the question, and the context from a token on."""

    start: int
    tokens_L: np.ndarray  # int32
    segments_L: np.ndarray  # int8
    places_N: np.ndarray  # int32


def _windows(question: np.ndarray, context: np.ndarray, reading: Reading, stride: int | None) -> list[_Window]:
    frame, closing = reading.tokenizer.frame, _closing(reading)
    room = reading.row_length - frame.size(2) - len(closing)
    question = question[: room // 2]
    size = room - len(question)
    overlap = size // 2 if stride is None else max(0, size - stride)
    return [
        _window(question, context[start : start + size], int(start), closing, reading)
        for start in window_starts(len(context), size, overlap=overlap)
    ]


def _closing(reading: Reading) -> tuple[int, ...]:
    """Return the end token, for who reads from left to right and has a tokenizer that puts nothing after the texts.

    There "no answer" is read, which so depends on question and context; at the first token it would be a constant.
    """
    tokenizer = reading.tokenizer
    return () if reading.both_ways or tokenizer.frame.pair.ids[2] else (tokenizer.special.eos,)


def _window(question: np.ndarray, shown: np.ndarray, start: int, closing: tuple[int, ...], reading: Reading) -> _Window:
    frame = reading.tokenizer.frame
    tokens_L, segments_L = frame.around([question, shown])
    tokens_L = np.append(tokens_L, closing).astype(np.int64)
    segments_L = np.append(segments_L, [frame.pair.text_segments[1]] * len(closing)).astype(np.int64)
    if not len(tokens_L):  # nothing is left of the texts, and nothing is put around them
        tokens_L, segments_L = np.array([reading.tokenizer.special.bos]), np.zeros(1, dtype=np.int64)
    before, between, _ = map(len, frame.pair.ids)
    first = before + len(question) + between
    # Who reads from left to right knows nothing yet at the first token; what comes after the texts has seen them all.
    nothing = 0 if reading.both_ways else len(tokens_L) - 1
    places_N = np.append(nothing, np.arange(first, first + len(shown))).astype(np.int32)
    # Small types: a set of questions is held in memory, and so are their windows.
    return _Window(start, tokens_L.astype(np.int32), segments_L.astype(np.int8), places_N)


def _inside(right_A2: np.ndarray, window: _Window) -> np.ndarray:
    """Return which answers a window holds whole."""
    stop = window.start + len(window.places_N) - 1
    inside: np.ndarray = np.flatnonzero((right_A2[:, 0] >= window.start) & (right_A2[:, 1] < stop))
    return inside


def _classes(right_A2: np.ndarray, window: _Window) -> np.ndarray:
    classes_N = np.zeros(len(window.places_N), dtype=np.int8)
    held = _inside(right_A2, window)
    first, last = right_A2[held[0]] - window.start + 1 if len(held) else (0, 0)
    classes_N[first] |= STARTS
    classes_N[last] |= ENDS
    return classes_N


def _each(encode: Callable[[Sequence[str]], list[TokenSpans]], texts: Sequence[str]) -> dict[str, TokenSpans]:
    """Return the tokens of each text, all encoded once."""
    different = list(dict.fromkeys(texts))
    return dict(zip(different, encode(different), strict=True))


def _said(asked: Sequence[Asked]) -> tuple[str, ...]:
    lost = [each.example.id for each in asked if not each.is_held]
    if not lost:
        return ()
    more = ", ..." if len(lost) > _SHOWN else ""
    return (
        f"{len(lost)} of {len(asked)} questions have no right answer that a window holds whole, or that is no longer "
        f"than `settings.max_answer_tokens`: {', '.join(lost[:_SHOWN])}{more}; coverage counts them as missed.",
    )
