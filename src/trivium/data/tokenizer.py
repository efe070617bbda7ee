"""Tokenizers, trained or loaded: text to ids with the characters each stands for, and back."""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tiktoken
import tokenizers

from trivium.core.errors import ConfigError
from trivium.core.special import SpecialTokens
from trivium.data.frame import Frame, own_frame, usual_frame
from trivium.data.ranked_bpe import can_encode, encode_all, ranked_bpe
from trivium.data.special_names import find_special, own_special
from trivium.data.tokenizer_training import KINDS, TokenizerKind, train_tokenizer

# The library's format has no place for roles and refuses what it does not know: taken out before it reads.
_EXTRA = "trivium"
_AT_ONCE = 1024  # texts that are encoded and decoded together, to be compared


class TokenSpans(NamedTuple):
    """The tokens of one text: ids, and the characters `starts` to `ends` each comes from; int32 [tokens]."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


_NONE = np.zeros(0, dtype=np.int32)


class TokenBatch(NamedTuple):
    """The tokens of several texts, one text after another: as `TokenSpans`, and how many each text has, int64."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    counts: np.ndarray

    def texts(self) -> list[TokenSpans]:
        """Return the tokens of each text."""
        edges = [0, *np.cumsum(self.counts).tolist()]
        columns = (self.ids, self.starts, self.ends)
        return [TokenSpans(*(each[first:stop] for each in columns)) for first, stop in pairwise(edges)]


class Tokenizer:
    """A vocabulary and how text is cut into it. Special tokens never come out of plain text.

    In a vocabulary that was trained here they stand first, see `core.special`. Of a foreign one their roles are kept
    beside what the library serialises.

    Args:
        serialised: a tokenizer.json (the format of the `tokenizers` library), or what `to_bytes` gave.
        source: where it comes from, for messages.
        special: the roles of a foreign vocabulary; None = as `to_bytes` kept them, else by well-known names.

    Raises:
        ConfigError: not such a file; no special token is known; a special token that plain text can become.
    """

    def __init__(
        self, serialised: bytes, source: str = "the tokenizer", *, special: SpecialTokens | None = None
    ) -> None:
        serialised, kept = _take_roles(serialised)
        self._plain = _load(serialised, source)
        self._plain.encode_special_tokens = True
        self._prompts = _load(serialised, source)
        self._vocabulary: dict[str, int] = self._plain.get_vocab(with_added_tokens=True)
        self._settings: dict[str, Any] = json.loads(self._plain.to_str())
        self.special = special or kept or self._find_special(source)
        self.vocabulary_size = max(self._vocabulary.values()) + 1
        names = [self._names[number] for number in sorted(self.special.all()) if number in self._names]
        if self._trained_here:
            self._refuse(names, source)
        elif any(self._becomes_special(name) for name in names):
            # In Unigram text is also matched with the names of special tokens: under other names it is not.
            unknown = {token["content"] for token in self._settings["added_tokens"] if token["id"] == self._unknown}
            self._plain = _load(_renamed(self._settings, unknown.union(names)), source)
            self._plain.encode_special_tokens = True
            self._refuse(names, source)

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
        return cls(train_tokenizer(texts, kind, vocabulary_size, progress=progress).to_str().encode())

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
        """Return the tokenizer.json, with the roles of a foreign vocabulary; equal tokenizers give equal bytes."""
        if self._trained_here:
            return self.to_library_bytes()
        roles = {**self.special._asdict(), "others": sorted(self.special.others)}
        roles["stops"] = sorted(self.special.stops)
        tree = {_EXTRA: {"special": roles}, **json.loads(self._prompts.to_str())}
        return json.dumps(tree, ensure_ascii=False, indent=2).encode() + b"\n"

    def to_library_bytes(self) -> bytes:
        """Return the tokenizer.json as the `tokenizers` library reads it, without the roles."""
        return self._prompts.to_str(pretty=True).encode() + b"\n"

    @property
    def kind(self) -> str:
        """How text is cut: "bpe", "wordpiece", "unigram", or what a loaded tokenizer calls it."""
        return str(self._settings["model"]["type"]).lower()

    @cached_property
    def frame(self) -> Frame:
        """What is put around a text and a pair: as its post-processor says.

        A vocabulary that was trained here and has none puts bos before, sep between, eos after.
        """
        if self._trained_here and self._prompts.post_processor is None:
            return usual_frame(self.special)
        return own_frame(self._prompts)

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
        return self.encode_together(texts).texts()

    def encode_together(self, texts: Sequence[str]) -> TokenBatch:
        """Return what `encode_batch` does, in one piece: many short texts cost no more than a long one."""
        if self._byte_level:
            # Where each byte of the text is kept, the library's slower bookkeeping of offsets is not needed.
            found = self._byte_spans(texts, *self._ids(texts))
            if found is not None:
                return found
        spans = [_spans(encoding) for encoding in self._plain.encode_batch(texts, add_special_tokens=False)]
        ids, starts, ends = (np.concatenate([_NONE, *(each[part] for each in spans)]) for part in range(3))
        return TokenBatch(ids, starts, ends, np.array([len(each.ids) for each in spans], dtype=np.int64))

    def _ids(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts, one after another, and how many each has."""
        if self._ranked is not None and can_encode(texts):
            return encode_all(self._ranked, texts)
        encodings = self._plain.encode_batch_fast(texts, add_special_tokens=False)
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return np.concatenate([_NONE, *ids]), np.array([len(each) for each in ids], dtype=np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of the ids; special tokens are left out."""
        special = self.special.all()
        return str(self._prompts.decode([int(i) for i in ids if i not in special], skip_special_tokens=False))

    def token_texts(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Return each token as something to read: its name, "##ing", or its text (part of a character: "\\xe6")."""
        named = self.special.all() | {self._unknown}
        whole = self.kind == "wordpiece"
        return [
            self._names[i] if whole or i in named else self._pieces[i].decode("utf-8", "backslashreplace")
            for i in map(int, ids)
        ]

    @cached_property
    def adds_nothing(self) -> bool:
        """Whether the tokens of any text are its bytes and nothing more, no space before it either."""
        return self._byte_level and b"".join(self._pieces[number] for number in self.encode("a")) == b"a"

    def is_lossless(self, texts: Iterable[str]) -> bool:
        """Return whether each text comes back exactly as it was from its ids."""
        left, special = iter(texts), self.special.all()
        while some := list(islice(left, _AT_ONCE)):
            together, counts = self._ids(some)
            apart = np.split(together, np.cumsum(counts)[:-1])
            ids = [[number for number in each.tolist() if number not in special] for each in apart]
            if self._prompts.decode_batch(ids, skip_special_tokens=False) != some:
                return False
        return True

    @property
    def unknown(self) -> int | None:
        """The id that stands for text the vocabulary cannot spell; None where it spells all."""
        return None if self._unknown < 0 else self._unknown

    def token_name(self, number: int) -> str:
        """Return the name of an id in the vocabulary, as "[MASK]" or "Ġthe"."""
        return self._names[number]

    @cached_property
    def _trained_here(self) -> bool:
        return self.special == own_special(self._vocabulary)

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
    def _ranked(self) -> tiktoken.Encoding | None:
        return ranked_bpe(self._plain, self._settings, self._pieces, self.special.all())

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
                spaced = "▁" in json.dumps(self._settings["decoder"], ensure_ascii=False)
                pieces[number] = (text.replace("▁", " ") if spaced else text).encode()
        return pieces

    def _byte_spans(self, texts: Sequence[str], ids: np.ndarray, counts: np.ndarray) -> TokenBatch | None:
        """Return the tokens of the texts by counting bytes; None when a vocabulary lacks some byte or adds a space."""
        sizes = np.array([len(text.encode()) for text in texts], dtype=np.int64)
        size_T = self.num_bytes_V[ids]
        end_T = np.cumsum(size_T, dtype=np.int64)
        text_ends = np.append(0, end_T)[np.cumsum(counts)]
        if not (size_T.all() and np.array_equal(text_ends, np.cumsum(sizes))):
            return None
        begins_C = (np.frombuffer("".join(texts).encode(), dtype=np.uint8) & 0xC0) != 0x80
        character_C = np.append(0, np.cumsum(begins_C, dtype=np.int64))  # characters begun before each byte
        shift_T = np.repeat(character_C[text_ends - sizes], counts)
        ends = (character_C[end_T] - shift_T).astype(np.int32)
        starts = (character_C[end_T - size_T + 1] - 1 - shift_T).astype(np.int32)
        return TokenBatch(ids, starts, ends, counts)

    def _find_special(self, source: str) -> SpecialTokens:
        added = self._plain.get_added_tokens_decoder()
        marked = {number for number, token in added.items() if token.special} - {self._unknown}
        special = find_special(self._vocabulary, marked)
        if special is None:
            raise ConfigError(
                f"{source}: expected special tokens in the vocabulary ([CLS] and [SEP], <s> and </s>, <|endoftext|>), "
                f"found none of them; add them or train a tokenizer (--tokenizer {'|'.join(KINDS)})."
            )
        return special

    def _becomes_special(self, text: str) -> bool:
        return not self.special.all().isdisjoint(self.encode(text))

    def _refuse(self, names: Sequence[str], source: str) -> None:
        for name in names:
            if self._becomes_special(name):
                raise ConfigError(f"{source}: the plain text {name!r} becomes a special token; mark it as special.")


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


def _take_roles(serialised: bytes) -> tuple[bytes, SpecialTokens | None]:
    """Return a tokenizer.json without the roles that `to_bytes` wrote into it, and these."""
    if not serialised.lstrip().startswith(b"{") or f'"{_EXTRA}"'.encode() not in serialised[:64]:
        return serialised, None
    try:
        tree = json.loads(serialised)
        roles = tree.pop(_EXTRA)["special"]
        roles = {**roles, "sentinels": tuple(roles["sentinels"]), "others": frozenset(roles["others"])}
        roles["stops"] = frozenset(roles.get("stops", ()))
        return json.dumps(tree, ensure_ascii=False).encode(), SpecialTokens(**roles)
    except (ValueError, KeyError, TypeError):
        return serialised, None


def _renamed(settings: dict[str, Any], names: set[str]) -> bytes:
    """Return a tokenizer.json in which the named tokens have names that no text holds."""

    def hidden(name: str) -> str:
        return f"\ufdd0{name}\ufdd1" if name in names else name

    model = dict(settings["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {hidden(name): number for name, number in model["vocab"].items()}
    else:
        model["vocab"] = [[hidden(name), score] for name, score in model["vocab"]]
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if names.isdisjoint((*pair, "".join(pair)))]
    if model.get("unk_token"):
        model["unk_token"] = hidden(model["unk_token"])
    added = [{**token, "content": hidden(token["content"])} for token in settings["added_tokens"]]
    return json.dumps({**settings, "model": model, "added_tokens": added}).encode()


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
