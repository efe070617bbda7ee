"""Tokenizers from the files that came before tokenizer.json: vocab.txt, vocab.json with merges.txt, SentencePiece."""

from pathlib import Path
from typing import NamedTuple

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from trivium.core.errors import HubError
from trivium.data.frame import Frame, bare_frame
from trivium.hub.files import read_json
from trivium.hub.sentencepiece import PieceType, TextPiece, read_sentencepiece, sentencepiece_tokenizer
from trivium.hub.tokenizer_settings import (
    TokenizerSettings,
    begin_and_end_frame,
    bert_frame,
    plain_frame,
    roberta_frame,
)

SENTENCEPIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
_QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class BuiltTokenizer(NamedTuple):
    """A tokenizer made from its vocabulary."""

    library: tokenizers.Tokenizer
    frame: Frame
    special: tuple[str, ...] = ()  # names that are special besides those of the settings


def from_wordpiece(file: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Return BERT's WordPiece from a vocab.txt.

    Raises:
        HubError: it cannot be read, or lacks the tokens that BERT puts around a text.
    """
    lines = _read_text(file).split("\n")
    # Not `splitlines`: the vocabulary may hold other ends of a line, as U+2028.
    names = [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    vocabulary = {name: number for number, name in enumerate(names)}
    unk = settings.name("unk", "[UNK]")
    cls, sep = (_required(vocabulary, settings.name(role, f"[{role.upper()}]"), file) for role in ("cls", "sep"))
    _required(vocabulary, unk, file)
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.tokenizer.get("tokenize_chinese_chars", True)),
        strip_accents=settings.tokenizer.get("strip_accents"),
        lowercase=bool(settings.tokenizer.get("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return BuiltTokenizer(tokenizer, bert_frame(cls, sep), ("[PAD]", unk, "[CLS]", "[SEP]", "[MASK]"))


def from_merges(file: Path, merges: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Return byte-level BPE from a vocab.json and its merges.txt: GPT-2's, RoBERTa's, DeBERTa's or Qwen's.

    Raises:
        HubError: one of them cannot be read, or they do not fit each other.
    """
    vocabulary = read_json(file)
    lines = [line for line in _read_text(merges).split("\n") if line.strip() and not line.startswith("#version")]
    pairs = [tuple(line.rstrip("\r").split(" ")) for line in lines]
    try:
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("a line that is not a pair")
        tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, pairs))  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - the library raises plain Exception
        raise HubError(f"{merges}: does not fit {file.name}: {str(error).splitlines()[0]}.") from None
    spaced = bool(settings.tokenizer.get("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = decoders.ByteLevel()
    if settings.family.startswith("Qwen2") or settings.model_type.startswith("qwen"):
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(_QWEN_PIECES), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False),
            ]
        )
        return BuiltTokenizer(tokenizer, bare_frame(), ("<|endoftext|>",))
    bos, eos = settings.name("cls", "<s>"), settings.name("sep", "</s>")
    if settings.family in ("GPT2", "GPTNeoX") or settings.model_type in ("gpt2", "gpt_neo"):
        return BuiltTokenizer(tokenizer, bare_frame(), ("<|endoftext|>",))
    if "[CLS]" in vocabulary and "[SEP]" in vocabulary:
        special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        return BuiltTokenizer(tokenizer, bert_frame(vocabulary["[CLS]"], vocabulary["[SEP]"]), special)
    if bos in vocabulary and eos in vocabulary:
        special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
        return BuiltTokenizer(tokenizer, roberta_frame(vocabulary[bos], vocabulary[eos]), special)
    return BuiltTokenizer(tokenizer, bare_frame(), ("<|endoftext|>",))


def from_sentencepiece(file: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Return the tokenizer of a SentencePiece model as T5, mT5, ALBERT, XLM-R or Llama uses it.

    Raises:
        HubError: it cannot be read, or is used by a family that is not known here.
    """
    model = read_sentencepiece(file)
    pieces, unk_id = list(model.pieces), model.unk_id
    place = {piece.text: number for number, piece in enumerate(pieces)}
    controls = tuple(piece.text for piece in pieces if piece.type in (PieceType.CONTROL, PieceType.UNKNOWN))
    before: list[normalizers.Normalizer] = []
    frame: Frame
    match _sentencepiece_family(file, settings, place, is_bpe=model.is_bpe):
        case "albert":
            pieces = [_without_number_commas(piece) for piece in pieces]
            before = _albert_steps(settings)
            frame = bert_frame(_required(place, "[CLS]", file), _required(place, "[SEP]", file))
        case "xlm-roberta":
            # fairseq's order of the first ids, so that all others are one higher; <mask> comes last.
            first = [TextPiece(name, 0.0, PieceType.CONTROL) for name in ("<s>", "<pad>", "</s>", "<unk>")]
            pieces = [*first, *pieces[3:], TextPiece("<mask>", 0.0, PieceType.CONTROL)]
            unk_id, frame, controls = 3, roberta_frame(0, 2), (*controls, "<pad>", "<mask>")
        case "t5":
            count = 0 if "▁<extra_id_0>" in place else int(settings.tokenizer.get("extra_ids", 100))
            names = [f"<extra_id_{number}>" for number in reversed(range(count))]
            pieces += [TextPiece(name, 0.0, PieceType.CONTROL) for name in names if name not in place]
            eos = _required(place, settings.name("eos", "</s>"), file)
            frame, controls = plain_frame((), (eos,), (), (eos,), (eos,)), (*controls, *names)
        case _:
            bos, eos = model.bos_id, model.eos_id
            with_bos = bool(settings.tokenizer.get("add_bos_token", True)) and bos >= 0
            with_eos = bool(settings.tokenizer.get("add_eos_token", False)) and eos >= 0
            frame = begin_and_end_frame(bos if with_bos else None, eos if with_eos else None)
    return BuiltTokenizer(sentencepiece_tokenizer(model, pieces, unk_id, before), frame, controls)


def _sentencepiece_family(file: Path, settings: TokenizerSettings, place: dict[str, int], *, is_bpe: bool) -> str:
    name = settings.family.lower() or settings.model_type
    known = {
        **dict.fromkeys(("albert",), "albert"),
        **dict.fromkeys(("xlmroberta", "xlm-roberta"), "xlm-roberta"),
        **dict.fromkeys(("t5", "mt5", "umt5"), "t5"),
        **dict.fromkeys(("llama", "mistral", "gemma", "gemma2", "codellama"), "llama"),
    }
    if name in known:
        return known[name]
    if name and not name.startswith(("pretrained", "tokenizersbackend")):
        raise HubError(
            f"{file}: expected the SentencePiece model of T5, mT5, ALBERT, XLM-R or Llama, found that of {name!r}; "
            "save its fast tokenizer (tokenizer.json) beside it."
        )
    if file.name == "sentencepiece.bpe.model":
        return "xlm-roberta"
    if "[CLS]" in place:
        return "albert"
    return "llama" if is_bpe or "<s>" in place else "t5"


def _without_number_commas(piece: TextPiece) -> TextPiece:
    """Make pieces as "9," so costly that "9" and "," are cut apart, as ALBERT does."""
    text = piece.text
    return piece._replace(score=piece.score - 100) if text[-1:] == "," and text[-2:-1].isdigit() else piece


def _albert_steps(settings: TokenizerSettings) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.tokenizer.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.tokenizer.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    return steps


def _required(vocabulary: dict[str, int], name: str, file: Path) -> int:
    if name not in vocabulary:
        raise HubError(f"{file}: expected the token {name!r} in the vocabulary, which lacks it.")
    return vocabulary[name]


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise HubError(f"{file}: cannot be read: {error.strerror}.") from None
    except ValueError:
        raise HubError(f"{file}: expected text in UTF-8, found something else.") from None
