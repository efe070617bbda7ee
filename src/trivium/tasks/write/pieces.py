"""Sources and targets as pieces of tokens: beside each other, or one after the other in a document."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trivium.core.errors import ConfigError
from trivium.data.labelled import PairExample
from trivium.data.tokenizer import TokenSpans
from trivium.tasks.pieces import Encoded, Piece, Reading, Written
from trivium.tasks.write.config import WriteConfig

_USUAL_TARGET = 128


class Room(NamedTuple):
    """How many tokens of a text are read and written at most; special ones and the instruction are not counted."""

    source: int
    target: int


def room(settings: WriteConfig, reading: Reading) -> Room:
    """Return how much of each example a row has room for; raise ConfigError when nothing of a source has."""
    frame, row_length = reading.tokenizer.frame, reading.row_length
    target = settings.max_target or min(_USUAL_TARGET, row_length // 2)
    around = frame.size(1) if reading.source else len(frame.before) + 1 + target
    told = len(_instruction(settings, reading))
    source = row_length - around - told
    if source < 1 or target >= row_length:
        taken = [f"`settings.max_target` {target}"] * (not reading.source or target >= row_length)
        taken += [f"`settings.instruction` of {told} tokens"] * bool(told)
        raise ConfigError(
            f"{', '.join(taken)}{' and ' * bool(taken)}special tokens leave no room in rows of {row_length} tokens; "
            "shorten what takes it, or make `row_length` larger."
        )
    return Room(min(source, settings.max_source or source), target)


def encode_pairs(examples: Sequence[PairExample], settings: WriteConfig, reading: Reading, *, known: bool) -> Encoded:
    """Return examples as a piece each.

    A decoder's piece is the begin token, the source, the separator and the target; an encoder-decoder's is the begin
    token and the target, with the source beside it. Asked for are the tokens of the target and, of one that is whole,
    its end token.

    Args:
        examples: the pairs.
        settings: how much is read, and of which end.
        reading: the model's.
        known: False: the targets are not looked at.
    """
    space, tokenizer, instruction_L = room(settings, reading), reading.tokenizer, _instruction(settings, reading)
    sources = tokenizer.encode_batch([example.source for example in examples])
    firsts = [example.targets[0] for example in examples] if known else []
    targets = tokenizer.encode_batch(firsts) if known else [None] * len(examples)
    pieces: list[Piece] = []
    sources_cut = targets_cut = cut = 0
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        kept = np.concatenate([instruction_L, _kept(source.ids, space.source, last=settings.keep == "last")])
        labels_A = _labels(target, space.target, tokenizer.special.eos)
        pieces.append(_piece(kept, labels_A, number, reading))
        longer = len(source.ids) > space.source, target is not None and len(target.ids) > space.target
        sources_cut, targets_cut, cut = sources_cut + longer[0], targets_cut + longer[1], cut + any(longer)
    learned = (
        [_shown(text, target, space.target) for text, target in zip(firsts, targets, strict=True) if target]
        if known
        else []
    )
    written = Written([example.targets for example in examples], learned, sources_cut, targets_cut, cut)
    said = _cut_words(written, len(examples), reading.row_length)
    return Encoded(pieces, [piece.classes_N for piece in pieces], reading, said=said, written=written)


def _instruction(settings: WriteConfig, reading: Reading) -> np.ndarray:
    """Return the tokens before every source, int64; cut by themselves, they are the same before all of them."""
    return np.array(reading.tokenizer.encode(settings.instruction), dtype=np.int64)


def _cut_words(written: Written, count: int, row_length: int) -> tuple[str, ...]:
    """Return in words how many examples were shortened; nothing if none was."""
    if not written.cut:
        return ()
    parts = [f"{written.sources_cut:,} sources"] * bool(written.sources_cut)
    parts += [f"{written.targets_cut:,} targets"] * bool(written.targets_cut)
    return (
        f"{' and '.join(parts)} of {count:,} examples are longer than their room in rows of {row_length} tokens and "
        "were cut; `row_length`, `settings.max_source` and `settings.max_target` change that.",
    )


def _piece(source_L: np.ndarray, labels_A: np.ndarray, number: int, reading: Reading) -> Piece:
    special, frame = reading.tokenizer.special, reading.tokenizer.frame
    if reading.source:
        given, beside = np.array([special.bos]), frame.around([source_L]).tokens_L
        # Of an empty text around which nothing is put something must be left to look at.
        beside = beside if len(beside) else given
    else:
        given, beside = np.concatenate([np.array(frame.before, dtype=np.int64), source_L, [special.sep]]), None
    count = len(labels_A)
    return Piece(
        tokens_L=np.concatenate([given, labels_A[:-1]]).astype(np.int64),
        places_N=np.arange(count, dtype=np.int64) + len(given) - 1,
        classes_N=labels_A,
        answers_N=np.arange(count, dtype=np.int64),
        example=number,
        weight=1.0,
        source_L=beside,
        given=len(given),
    )


def _labels(target: TokenSpans | None, most: int, eos: int) -> np.ndarray:
    """Return what is to be written: a target that is cut does not end."""
    if target is None:
        return np.zeros(0, dtype=np.int64)
    ids = target.ids.astype(np.int64)
    return np.append(ids, eos) if len(ids) <= most else ids[:most]


def _kept(ids: np.ndarray, most: int, *, last: bool) -> np.ndarray:
    ids = ids.astype(np.int64)
    if len(ids) <= most:
        return ids
    return ids[-most:] if last else ids[:most]


def _shown(text: str, target: TokenSpans, most: int) -> str:
    """Return what of a text is learned."""
    return text if len(target.ids) <= most else text[: int(target.ends[most - 1])]
