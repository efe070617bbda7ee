"""Tokenizers, trained or loaded: text to ids with the characters each stands for, and back."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from unicodedata import category

import numpy as np
import regex
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from trivium.core.errors import ConfigError, nearest
from trivium.core.special import NUM_SENTINELS, SPECIAL_TOKENS, SpecialTokens

TokenizerKind = Literal["bpe", "wordpiece", "unigram"]
KINDS: tuple[TokenizerKind, ...] = get_args(TokenizerKind)
UNKNOWN = "[UNK]"

# Cuts text into the pieces that no token reaches over, and loses none of it. After GPT-4's, with two changes: marks
# count as letters (Hindi and Thai vowels are marks), and runs are bounded, since text without spaces would otherwise
# give "words" as long as its lines and training would need memory without limit. No piece holds a letter before `]`
# or `>`, so that training can never make "[MASK]" or "<extra_id_0>" from plain text.
_PIECES = (
    r"'(?:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]{1,64}|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]{1,64}[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Time and memory of training grow with the pieces that differ and not with the text: BPE takes about 100 bytes, Unigram
# about 40 microseconds, for each of their bytes.
_MAX_DISTINCT_BYTES = {"bpe": 8_000_000, "wordpiece": 8_000_000, "unigram": 1_000_000}
_PROBED_CHARACTERS = 1_000_000


class TokenSpans(NamedTuple):
    """The tokens of one text: ids, and the characters `starts` to `ends` each comes from; int32 [tokens]."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Tokenizer:
    """A vocabulary and how text is cut into it. Special tokens stand first and never come out of plain text.

    Args:
        serialised: a tokenizer.json (the format of the `tokenizers` library).
        source: where it comes from, for messages.

    Raises:
        ConfigError: not such a file; a special token that it lacks; a special token that plain text can become.
    """

    def __init__(self, serialised: bytes, source: str = "the tokenizer") -> None:
        self._plain = _load(serialised, source)
        self._plain.encode_special_tokens = True
        self._prompts = _load(serialised, source)
        self._vocabulary: dict[str, int] = self._plain.get_vocab(with_added_tokens=True)
        self._settings: dict[str, Any] = json.loads(self._plain.to_str())
        self.special = self._find_special(source)
        self.vocabulary_size = max(self._vocabulary.values()) + 1
        for name in SPECIAL_TOKENS:
            if not self.special.all().isdisjoint(self.encode(name)):
                raise ConfigError(f"{source}: the plain text {name!r} becomes a special token; mark it as special.")

    @classmethod
    def train(
        cls, texts: Iterable[str], kind: TokenizerKind, vocabulary_size: int, *, progress: bool = False
    ) -> "Tokenizer":
        """Return a tokenizer trained on a sample of text; the same one for the same texts in the same order.

        Byte-level BPE and byte-level Unigram give any text back exactly. WordPiece is BERT's, without lower-casing;
        it loses white space and writes [UNK] for what it cannot spell.

        Args:
            texts: the sample; it is held in memory. Of text whose pieces hardly recur (Chinese, proteins) only the
                first megabytes are used.
            kind: the way of cutting.
            vocabulary_size: ids, special tokens included; fewer come out where the sample has no more to give.
            progress: show the library's own progress bars.

        Raises:
            ConfigError: a vocabulary too small to hold the special tokens and all bytes.
        """
        check_vocabulary_size(kind, vocabulary_size)
        sample = _affordable(list(texts), kind)
        train = {"bpe": _train_bpe, "unigram": _train_unigram, "wordpiece": _train_wordpiece}[kind]
        return cls(train(sample, vocabulary_size, progress).to_str().encode())

    @classmethod
    def from_file(cls, path: Path) -> "Tokenizer":
        """Return the tokenizer of a tokenizer.json, or of a folder that holds one."""
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            return cls(file.read_bytes(), str(file))
        except FileNotFoundError:
            raise ConfigError(f"{file}: no such file; expected a tokenizer.json.") from None
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}.") from None

    @classmethod
    def from_bytes(cls, serialised: bytes) -> "Tokenizer":
        """Return the tokenizer that `to_bytes` gave."""
        return cls(serialised)

    def to_bytes(self) -> bytes:
        """Return the tokenizer.json; equal tokenizers give equal bytes."""
        return self._plain.to_str(pretty=True).encode() + b"\n"

    @property
    def kind(self) -> str:
        """How text is cut: "bpe", "wordpiece", "unigram", or what a loaded tokenizer calls it."""
        return str(self._settings["model"]["type"]).lower()

    @cached_property
    def num_bytes_V(self) -> np.ndarray:
        """UTF-8 bytes that each id stands for, int32 [vocabulary]; 0 for special ids and unknown text."""
        return np.array([len(piece) for piece in self._pieces], dtype=np.int32)

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text; no special token is added, and none is read out of it."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_with_special(self, text: str) -> list[int]:
        """Return the ids of a prompt in which "[MASK]", "<extra_id_0>" and so on stand for the special tokens."""
        return list(self._prompts.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[TokenSpans]:
        """Return the tokens of each text with the characters they come from, on all cores."""
        if self._byte_level:
            # Where each byte of the text is kept, the library's slower bookkeeping of offsets is not needed.
            encodings = self._plain.encode_batch_fast(texts, add_special_tokens=False)
            spans = self._byte_spans(texts, [np.array(encoding.ids, dtype=np.int32) for encoding in encodings])
            if spans is not None:
                return spans
        return [_spans(encoding) for encoding in self._plain.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of the ids; special tokens are left out."""
        special = self.special.all()
        return str(self._plain.decode([int(i) for i in ids if i not in special], skip_special_tokens=False))

    def token_texts(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Return each token as something to read: its name, "##ing", or its text (part of a character: "\\xe6")."""
        named = self.special.all() | {self._unknown}
        whole = self.kind == "wordpiece"
        return [
            self._names[i] if whole or i in named else self._pieces[i].decode("utf-8", "backslashreplace")
            for i in map(int, ids)
        ]

    def is_lossless(self, texts: Iterable[str]) -> bool:
        """Return whether each text comes back exactly as it was from its ids."""
        return all(self.decode(self.encode(text)) == text for text in texts)

    @cached_property
    def _names(self) -> dict[int, str]:
        return {number: name for name, number in self._vocabulary.items()}

    @cached_property
    def _unknown(self) -> int:
        """The id that stands for text the vocabulary cannot spell; -1 where there is none."""
        model = self._settings["model"]
        if model.get("unk_id") is not None:
            return int(model["unk_id"])
        return self._vocabulary.get(model.get("unk_token") or "", -1)

    @cached_property
    def _byte_level(self) -> bool:
        steps = _types(self._settings["pre_tokenizer"])
        return (
            "ByteLevel" in steps
            and set(steps) <= {"ByteLevel", "Split", "Digits", "Sequence"}
            and self._settings["normalizer"] is None
        )

    @cached_property
    def _pieces(self) -> list[bytes]:
        """The bytes that each id stands for; none for special ids and unknown text."""
        model = self._settings["model"]
        byte_level = "ByteLevel" in _types(self._settings["pre_tokenizer"])
        added = {number: token.content for number, token in self._plain.get_added_tokens_decoder().items()}
        nothing = self.special.all() | {self._unknown}
        prefix = str(model.get("continuing_subword_prefix") or "")
        pieces = [b""] * self.vocabulary_size
        for name, number in self._vocabulary.items():
            if number in nothing:
                continue
            if number in added:
                pieces[number] = added[number].encode()
            elif byte_level:
                pieces[number] = bytes(_BYTES[sign] for sign in name if sign in _BYTES)
            elif model.get("byte_fallback") and len(name) == 6 and name.startswith("<0x"):
                pieces[number] = bytes.fromhex(name[3:5])
            else:
                text = name.removeprefix(prefix)
                spaced = "Metaspace" in _types(self._settings["decoder"])
                pieces[number] = (text.replace("▁", " ") if spaced else text).encode()
        return pieces

    def _byte_spans(self, texts: Sequence[str], ids: list[np.ndarray]) -> list[TokenSpans] | None:
        """Return the tokens of each text by counting bytes; None when a vocabulary lacks some byte or adds a space."""
        if not ids:
            return []
        data = [text.encode() for text in texts]
        every_id = np.concatenate(ids)
        size_T = self.num_bytes_V[every_id]
        end_T = np.cumsum(size_T, dtype=np.int64)
        cuts = np.cumsum([len(part) for part in ids])
        text_ends = np.append(0, end_T)[cuts]
        if not (size_T.all() and np.array_equal(text_ends, np.cumsum([len(part) for part in data]))):
            return None
        begins_C = (np.frombuffer(b"".join(data), dtype=np.uint8) & 0xC0) != 0x80
        character_C = np.append(0, np.cumsum(begins_C, dtype=np.int64))  # characters begun before each byte
        shift_T = np.repeat(character_C[np.append(0, text_ends[:-1])], [len(part) for part in ids])
        ends = (character_C[end_T] - shift_T).astype(np.int32)
        starts = (character_C[end_T - size_T + 1] - 1 - shift_T).astype(np.int32)
        pairs = zip(np.split(starts, cuts[:-1]), np.split(ends, cuts[:-1]), strict=True)
        return [TokenSpans(part, start, end) for part, (start, end) in zip(ids, pairs, strict=True)]

    def _find_special(self, source: str) -> SpecialTokens:
        for name in SPECIAL_TOKENS:
            if name not in self._vocabulary:
                raise ConfigError(
                    f"{source}: expected the special token {name!r} in the vocabulary, which lacks it; add it or train "
                    f"a tokenizer (--tokenizer {'|'.join(KINDS)})."
                )
        pad, bos, eos, cls, sep, mask, *sentinels = (self._vocabulary[name] for name in SPECIAL_TOKENS)
        return SpecialTokens(pad, bos, eos, cls, sep, mask, tuple(sentinels))


def check_vocabulary_size(kind: TokenizerKind, vocabulary_size: int) -> None:
    """Raise ConfigError when a vocabulary cannot hold the special tokens and 256 bytes (or letters)."""
    if kind not in KINDS:
        raise ConfigError(f"tokenizer {kind!r}: not known.{nearest(kind, list(KINDS))}")
    # WordPiece has [UNK] too; the library's Unigram trainer takes no notice of a size that leaves it nothing to choose.
    least = len(SPECIAL_TOKENS) + 256 + (kind != "bpe")
    if vocabulary_size < least:
        raise ConfigError(
            f"`vocabulary_size` must be at least {least} for {kind} "
            f"({len(SPECIAL_TOKENS)} special tokens and 256 bytes or letters): found {vocabulary_size}."
        )


def _load(serialised: bytes, source: str) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_str(serialised.decode("utf-8"))
    except Exception as error:  # noqa: BLE001 - the library raises plain Exception
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{source}: expected a tokenizer.json, found something else: {reason}.") from None
    # A file may carry the settings of whoever saved it; they would cut documents without a word.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _types(part: Any) -> list[str]:
    """Return the names of the steps of a pre-tokenizer or decoder."""
    if part is None:
        return []
    inner = part.get("pretokenizers") or part.get("decoders") or []
    return [str(part["type"])] + [name for step in inner for name in _types(step)]


def _spans(encoding: Any) -> TokenSpans:
    offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
    return TokenSpans(np.array(encoding.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1])


def _byte_alphabet() -> dict[str, int]:
    """Return which byte each of the 256 signs of byte-level vocabularies stands for (GPT-2's table)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_BYTES = _byte_alphabet()


def _special_tokens(names: Sequence[str] = SPECIAL_TOKENS) -> list[tokenizers.AddedToken]:
    # In a prompt, "the [MASK] of" means the word there, and a word's token holds the space before it.
    fill = ("[MASK]", *SPECIAL_TOKENS[-NUM_SENTINELS:])
    return [tokenizers.AddedToken(name, special=True, normalized=False, lstrip=name in fill) for name in names]


def _byte_level_around(model: models.Model) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _affordable(texts: list[str], kind: TokenizerKind) -> list[str]:
    """Return the first texts, as many as training has memory and time for."""
    pieces: list[str] = []
    probed = 0
    for text in texts:
        found = regex.findall(_PIECES, text[: _PROBED_CHARACTERS - probed])
        pieces.extend(found)
        probed += len(text)
        if probed >= _PROBED_CHARACTERS:
            break
    distinct = sum(len(piece.encode()) for piece in set(pieces))
    whole = sum(len(piece.encode()) for piece in pieces)
    most = _MAX_DISTINCT_BYTES[kind] * max(whole, 1) / max(distinct, 1)
    ends = accumulate(len(text.encode()) for text in texts)
    return [text for number, (text, end) in enumerate(zip(texts, ends, strict=True)) if end <= most or number == 0]


def _train_bpe(texts: list[str], vocabulary_size: int, progress: bool) -> tokenizers.Tokenizer:
    tokenizer = _byte_level_around(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=_special_tokens(),
        initial_alphabet=sorted(_BYTES),
        show_progress=progress,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return tokenizer


def _train_unigram(texts: list[str], vocabulary_size: int, progress: bool) -> tokenizers.Tokenizer:
    tokenizer = _byte_level_around(models.Unigram())
    trainer = trainers.UnigramTrainer(  # type: ignore[call-arg]  # the library's stub lacks `seed_size`
        vocab_size=vocabulary_size,
        special_tokens=_special_tokens(),
        initial_alphabet=sorted(_BYTES),
        seed_size=max(100_000, 12 * vocabulary_size),  # a million, the default, takes most of the time
        max_piece_length=32,  # bytes, so that ten Chinese characters fit
        n_sub_iterations=4,  # 2, the default, gives 10 % more tokens
        show_progress=progress,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    trained = _byte_level_around(models.Unigram(_in_order(pieces), None, False))
    trained.add_special_tokens(_special_tokens())
    return trained


def _in_order(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return a Unigram vocabulary in an order, and with scores, that do not depend on the run.

    The library adds up in the order of its hash tables, which differs in the last digits from run to run, and hands
    out the scores of bytes that the sample lacks in that order too.
    """
    special, learned = pieces[: len(SPECIAL_TOKENS)], pieces[len(SPECIAL_TOKENS) :]
    scores = {piece: round(score, 3) for piece, score in learned}
    lowest = min(scores.values())
    spare = sorted(piece for piece, score in scores.items() if len(piece) == 1 and score <= lowest + 0.05)
    scores.update(dict.fromkeys(spare, lowest))
    return [(piece, score) for piece, score in special] + sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def _train_wordpiece(texts: list[str], vocabulary_size: int, progress: bool) -> tokenizers.Tokenizer:
    names = [*SPECIAL_TOKENS, UNKNOWN]
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    letters = sorted(sign for sign in counts if not sign.isspace() and category(sign)[0] != "C")
    letters.sort(key=lambda sign: -counts[sign])
    letters = sorted(letters[: (vocabulary_size - len(names)) // 2])  # each may come twice: "a", "##a"

    def train(size: int, first: list[str], show: bool) -> dict[str, int]:
        tokenizer = _wordpiece_around(models.WordPiece(unk_token=UNKNOWN))
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=[*names, *first],
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            show_progress=show,
        )
        tokenizer.train_from_iterator(texts, trainer, length=len(texts))
        return dict(tokenizer.get_vocab())

    # The library numbers "##a" as its hash tables meet it, and breaks ties by number: name those first, in order.
    continued = sorted(piece for piece in train(0, [], False) if piece.startswith("##") and len(piece) == 3)
    vocabulary = train(vocabulary_size, continued, progress)
    trained = _wordpiece_around(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    trained.add_special_tokens(_special_tokens(names))
    return trained


def _wordpiece_around(model: models.Model) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
