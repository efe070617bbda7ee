"""SentencePiece models (Kudo & Richardson 2018): their protocol buffer read by hand, and the same cutting of text."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from trivium.core.errors import HubError

_MARK = "▁"


class PieceType(IntEnum):
    """What a piece is; numbers of `sentencepiece_model.proto`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class TextPiece(NamedTuple):
    """An entry of the vocabulary."""

    text: str
    score: float
    type: PieceType = PieceType.NORMAL


class SentencePieceModel(NamedTuple):
    """What a SentencePiece file says that bears on the cutting of text."""

    pieces: tuple[TextPiece, ...]
    is_bpe: bool  # else Unigram
    byte_fallback: bool
    unk_id: int
    bos_id: int  # -1 = there is none
    eos_id: int
    pad_id: int
    charsmap: bytes  # precompiled normalisation, empty = none
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


def read_sentencepiece(file: Path) -> SentencePieceModel:
    """Return what a SentencePiece file says.

    Raises:
        HubError: it cannot be read, is none, or is of a kind other than Unigram and BPE.
    """
    try:
        data = file.read_bytes()
        parts = list(_fields(data))
        pieces = tuple(_piece(value) for number, value in parts if number == 1 and isinstance(value, bytes))
        trainer = {number: value for part in _messages(parts, 2) for number, value in _fields(part)}
        normalizer = {number: value for part in _messages(parts, 3) for number, value in _fields(part)}
    except OSError as error:
        raise HubError(f"{file}: cannot be read: {error.strerror}.") from None
    except (ValueError, IndexError, struct.error):
        raise HubError(f"{file}: expected a SentencePiece model, found something else or a part of one.") from None
    if not pieces:
        raise HubError(f"{file}: expected a SentencePiece model, found no pieces in it.")
    kind = trainer.get(3, 1)
    if kind not in (1, 2) or trainer.get(24):
        raise HubError(f"{file}: expected a SentencePiece model of type unigram or bpe with spaces before words.")
    charsmap = normalizer.get(2, b"")
    return SentencePieceModel(
        pieces=pieces,
        is_bpe=kind == 2,
        byte_fallback=bool(trainer.get(35, 0)),
        unk_id=_signed(trainer.get(40), 0),
        bos_id=_signed(trainer.get(41), 1),
        eos_id=_signed(trainer.get(42), 2),
        pad_id=_signed(trainer.get(43), -1),
        charsmap=charsmap if isinstance(charsmap, bytes) else b"",
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
    )


def sentencepiece_tokenizer(
    model: SentencePieceModel, pieces: list[TextPiece], unk_id: int, before: list[normalizers.Normalizer]
) -> tokenizers.Tokenizer:
    """Return the library's tokenizer that cuts text as SentencePiece does.

    Differs from SentencePiece: where BPE can make the same piece from different neighbours at once, the library takes
    the pair that is first in its list, and not the leftmost; a BPE text with symbols of the user's own that begins
    with a space gets no second one before it.

    Args:
        model: how text is normalised and cut.
        pieces: the vocabulary, in the order of its ids, which may be other ones than the model's.
        unk_id: of the unknown token among them.
        before: what is done to text before SentencePiece sees it.
    """
    own_symbols = [piece.text for piece in pieces if piece.type == PieceType.USER_DEFINED]
    if model.is_bpe:
        tokenizer = tokenizers.Tokenizer(_bpe(pieces, unk_id, byte_fallback=model.byte_fallback))
        tokenizer.add_tokens([tokenizers.AddedToken(name, normalized=False) for name in own_symbols])
    else:
        scored = _unigram_scores(pieces)
        tokenizer = tokenizers.Tokenizer(models.Unigram(scored, unk_id, model.byte_fallback))
    steps = list(before)
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.remove_extra_whitespaces:
        steps.append(normalizers.Replace(tokenizers.Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(tokenizers.Regex(" {2,}"), " "))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="always" if model.add_dummy_prefix else "never", split=True
        )
    elif own_symbols and model.is_bpe:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="first" if model.add_dummy_prefix else "never", split=False
        )
    else:
        # Runs of spaces may be pieces, and a text that begins with a space gets another: no step that cuts at spaces.
        steps += [normalizers.Prepend(_MARK)] if model.add_dummy_prefix else []
        steps.append(normalizers.Replace(" ", _MARK))
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    decoding = [decoders.Replace(_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.add_dummy_prefix:
        decoding.append(decoders.Strip(content=" ", left=1))
    tokenizer.decoder = decoders.Sequence(decoding)
    return tokenizer


def _unigram_scores(pieces: list[TextPiece]) -> list[tuple[str, float]]:
    normal = [piece.score for piece in pieces if piece.type == PieceType.NORMAL]
    best = max(normal, default=0.0)
    # The user's own symbols are always chosen: the score that SentencePiece's Viterbi search gives them.
    return [
        (piece.text, len(piece.text.encode()) * best - 0.1 if piece.type == PieceType.USER_DEFINED else piece.score)
        for piece in pieces
    ]


def _bpe(pieces: list[TextPiece], unk_id: int, *, byte_fallback: bool) -> models.BPE:
    """Return a BPE model: SentencePiece keeps the merged pieces and no merges, so every way to make a piece is one."""
    vocabulary = {piece.text: number for number, piece in enumerate(pieces)}
    normal = {piece.text for piece in pieces if piece.type == PieceType.NORMAL}
    merges: list[tuple[float, int, int, str, str]] = []
    for piece in pieces:
        if piece.type != PieceType.NORMAL:
            continue
        for cut in range(1, len(piece.text)):
            left, right = piece.text[:cut], piece.text[cut:]
            if left in normal and right in normal:
                merges.append((-piece.score, vocabulary[left], vocabulary[right], left, right))
    merges.sort()
    return models.BPE(
        vocabulary,
        [(left, right) for *_, left, right in merges],
        unk_token=pieces[unk_id].text,
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )


def _piece(data: bytes) -> TextPiece:
    values = dict(_fields(data))
    text, score, kind = values.get(1, b""), values.get(2, b"\0\0\0\0"), values.get(3, 1)
    if not (isinstance(text, bytes) and isinstance(score, bytes) and isinstance(kind, int)):
        raise ValueError
    return TextPiece(text.decode(), struct.unpack("<f", score)[0], PieceType(kind))


def _messages(parts: list[tuple[int, int | bytes]], wanted: int) -> Iterator[bytes]:
    return (value for number, value in parts if number == wanted and isinstance(value, bytes))


def _signed(value: int | bytes | None, default: int) -> int:
    if not isinstance(value, int):
        return default
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field of a message: an integer, or the bytes of anything else.

    Source: the encoding of protocol buffers, wire types 0 (varint), 1 (8 bytes), 2 (with length), 5 (4 bytes).
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        wire = key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(wire)
        if place + size > len(data):
            raise ValueError(size)
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(place)
