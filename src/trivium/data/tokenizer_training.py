"""Training tokenizers on a sample of text: byte-level BPE and Unigram, and BERT's WordPiece."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Literal, get_args
from unicodedata import category

import regex
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from trivium.core.errors import ConfigError, nearest
from trivium.core.special import NUM_SENTINELS, SPECIAL_TOKENS

TokenizerKind = Literal["bpe", "wordpiece", "unigram"]
KINDS: tuple[TokenizerKind, ...] = get_args(TokenizerKind)
UNKNOWN = "[UNK]"

# Cuts text into the pieces that no token reaches over, and loses none of it. After GPT-4's, with two changes: marks
# count as letters (Hindi and Thai vowels are marks), and runs are bounded, since text without spaces would otherwise
# give "words" as long as its lines and training would need memory without limit. No piece holds a letter before `]`
# or `>`, so that training can never make "[MASK]" or "<extra_id_0>" from plain text.
PIECES = (
    r"'(?:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]{1,64}|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]{1,64}[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Time and memory of training grow with the pieces that differ and not with the text: BPE takes about 100 bytes, Unigram
# about 40 microseconds, for each of their bytes.
_MAX_DISTINCT_BYTES = {"bpe": 8_000_000, "wordpiece": 8_000_000, "unigram": 1_000_000}
_PROBED_CHARACTERS = 1_000_000
_LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def train_tokenizer(
    texts: Iterable[str], kind: TokenizerKind, vocabulary_size: int, *, progress: bool = False
) -> tokenizers.Tokenizer:
    """Return the library's tokenizer trained on a sample of text; see `Tokenizer.train`.

    Raises:
        ConfigError: a vocabulary too small to hold the special tokens and all bytes.
    """
    check_vocabulary_size(kind, vocabulary_size)
    sample = _affordable(list(texts), kind)
    train = {"bpe": _train_bpe, "unigram": _train_unigram, "wordpiece": _train_wordpiece}[kind]
    tokenizer = train(sample, vocabulary_size, progress)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]",
        pair="[BOS] $A [SEP] $B [EOS]",
        special_tokens=[(name, SPECIAL_TOKENS.index(name)) for name in ("[BOS]", "[EOS]", "[SEP]")],
    )
    return tokenizer


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


def _special_tokens(names: Sequence[str] = SPECIAL_TOKENS) -> list[tokenizers.AddedToken]:
    # In a prompt, "the [MASK] of" means the word there, and a word's token holds the space before it.
    fill = ("[MASK]", *SPECIAL_TOKENS[-NUM_SENTINELS:])
    return [tokenizers.AddedToken(name, special=True, normalized=False, lstrip=name in fill) for name in names]


def _byte_level_around(model: models.Model) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PIECES), "isolated"),
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
        found = regex.findall(PIECES, text[: _PROBED_CHARACTERS - probed])
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
        initial_alphabet=_LETTERS,
        show_progress=progress,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return tokenizer


def _train_unigram(texts: list[str], vocabulary_size: int, progress: bool) -> tokenizers.Tokenizer:
    tokenizer = _byte_level_around(models.Unigram())
    trainer = trainers.UnigramTrainer(  # type: ignore[call-arg]  # the library's stub lacks `seed_size`
        vocab_size=vocabulary_size,
        special_tokens=_special_tokens(),
        initial_alphabet=_LETTERS,
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
