"""What a tokenizer puts around a text and around a pair of texts."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import models

from trivium.core.special import SpecialTokens


class Framed(NamedTuple):
    """Texts with what stands around them; both int64 [tokens]."""

    tokens_L: np.ndarray
    segments_L: np.ndarray  # the segment (token type) of each token


class Surround(NamedTuple):
    """What stands around T texts, and the segment of everything.

    Args:
        ids: T + 1 groups of special tokens: before the first text, between two, after the last; any may be empty.
        segments: of each of these tokens.
        text_segments: of each text.
    """

    ids: tuple[tuple[int, ...], ...]
    segments: tuple[tuple[int, ...], ...]
    text_segments: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return sum(map(len, self.ids))


class Frame(NamedTuple):
    """What stands around a single text and around a pair; may be nothing."""

    text: Surround
    pair: Surround

    @property
    def before(self) -> tuple[int, ...]:
        """Ids before a single text."""
        return self.text.ids[0]

    @property
    def after(self) -> tuple[int, ...]:
        """Ids after a single text."""
        return self.text.ids[1]

    @property
    def has_segments(self) -> bool:
        """Whether anything is of another segment than 0, as BERT's second text is."""
        return any(any(map(any, side.segments)) or any(side.text_segments) for side in self)

    def size(self, num_texts: int) -> int:
        """Return the number of special tokens around one text or two."""
        return self._of(num_texts).size

    def around(self, texts: Sequence[np.ndarray]) -> Framed:
        """Return one text or two, as ids, with what stands around them."""
        side = self._of(len(texts))
        tokens_L = np.empty(side.size + sum(map(len, texts)), dtype=np.int64)
        segments_L = np.zeros_like(tokens_L)
        end = 0
        special, own = zip(side.ids, side.segments, strict=True), zip(texts, side.text_segments, strict=True)
        for between, text in zip_longest(special, own, fillvalue=((), ())):
            for tokens, segments in (between, text):
                stop = end + len(tokens)
                tokens_L[end:stop], segments_L[end:stop] = tokens, segments
                end = stop
        return Framed(tokens_L, segments_L)

    def _of(self, num_texts: int) -> Surround:
        return self.text if num_texts == 1 else self.pair


def own_frame(tokenizer: tokenizers.Tokenizer) -> Frame:
    """Return what a tokenizer's post-processor puts around texts; nothing where it has none."""
    if tokenizer.post_processor is None:
        return bare_frame()
    # A post-processor holds its ids itself, so that it does the same to a tokenizer that knows one letter.
    probe = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    probe.post_processor = tokenizer.post_processor
    frame = Frame(_surround(probe.encode("a"), 1), _surround(probe.encode("a", "a"), 2))
    # Without a template the library calls a second text segment 1, which no model was told.
    return frame if frame.text.size or frame.pair.size else bare_frame()


def bare_frame() -> Frame:
    """Return the frame that puts nothing around texts, as GPT-2's and Qwen's tokenizers do."""
    return Frame(Surround(((), ()), ((), ()), (0,)), Surround(((), (), ()), ((), (), ()), (0, 0)))


def usual_frame(special: SpecialTokens) -> Frame:
    """Return bos before, sep between and eos after, all of segment 0."""
    text = Surround(((special.bos,), (special.eos,)), ((0,), (0,)), (0,))
    pair = Surround(((special.bos,), (special.sep,), (special.eos,)), ((0,), (0,), (0,)), (0, 0))
    return Frame(text, pair)


def _surround(encoding: Any, num_texts: int) -> Surround:
    ids: list[list[int]] = [[]]
    segments: list[list[int]] = [[]]
    text_segments = [0] * num_texts
    for number, segment, text in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        if text is None:
            ids[-1].append(number)
            segments[-1].append(segment)
        else:
            text_segments[text] = segment
            ids.append([])
            segments.append([])
    return Surround(tuple(map(tuple, ids)), tuple(map(tuple, segments)), tuple(text_segments))
