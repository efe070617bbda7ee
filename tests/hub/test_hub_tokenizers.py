"""Tokenizers of other houses: the same ids as transformers and sentencepiece give, read, stored and written."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers, trainers

from trivium.core.errors import HubError
from trivium.data.tokenizer import Tokenizer
from trivium.data.words import WORD_BIT, token_bits
from trivium.hub.sentencepiece import read_sentencepiece
from trivium.hub.tokenizers import read_tokenizer, write_tokenizer

CORPUS = [
    "The quick brown fox jumped over the lazy dog, and the cat sat on the mat.",
    'He said: "I don\'t know 3,141.59 times 12,000"; she asked (twice) why-not?',
    "我喜欢阅读中国古典小说，真的好吗？今天天气不错。",
    "Café naïve résumé Ångström Straße żółć",
    "def f(self):\n    return   self.value\n",
    "emoji \U0001f916 \U0001f600 and tabs\tand ½ ﬁ",
] * 20
TEXTS = [
    "",
    "The cat sat on the lazy dog.",
    "我喜欢阅读。The fox说“好”！",
    "CAFÉ résumé naïve Åå Straße cafe\u0301",
    "a robot \U0001f916, a family \U0001f469‍\U0001f469‍\U0001f467 and ☃",
    "  two  spaces   and\ttabs \n\n lines  ",
    "numbers 3,141.59, 12,000, (in brackets) \"quoted\" ''x'' ﬁ ½",
    " leading",
    "ünknöwn ɷ ᚠ 한국어 نص",
]
PAIRS = [("The cat sat.", "Why not?"), ("", "the fox"), ("我喜欢", "阅读 cafe")]


def save(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        file = folder / name.replace("__", ".")
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def wordpiece_folder(folder: Path, **config: Any) -> Path:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=config.get("do_lower_case", True))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    names = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    settings = {"tokenizer_class": "BertTokenizer", **config}
    model = {"model_type": "bert", "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    lines = "".join(f"{name}\n" for name, _ in names)
    return save(folder, vocab__txt=lines, tokenizer_config__json=settings, config__json=model)


def byte_level_folder(folder: Path, name: str, special: list[str], **config: Any) -> Path:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.model.save(str(folder))
    words = json.loads((folder / "vocab.json").read_text())
    first = special if name == "Roberta" else []
    last = [token for token in special if token not in first]
    words = {word: number + len(first) for word, number in words.items()}
    table = {token: number for number, token in enumerate(first)} | words
    table |= {token: len(table) + number for number, token in enumerate(last)}
    model_type = {"Roberta": "roberta", "GPT2": "gpt2", "Qwen2": "qwen2"}[name]
    settings = {"tokenizer_class": f"{name}Tokenizer", **config}
    return save(folder, vocab__json=table, tokenizer_config__json=settings, config__json={"model_type": model_type})


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "bert": wordpiece_folder,
    "bert cased": lambda folder: wordpiece_folder(folder, do_lower_case=False),
    "bert with accents": lambda folder: wordpiece_folder(folder, strip_accents=False, tokenize_chinese_chars=False),
    "gpt2": lambda folder: byte_level_folder(folder, "GPT2", ["<|endoftext|>"]),
    "roberta": lambda folder: byte_level_folder(folder, "Roberta", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
    "roberta with a space": lambda folder: byte_level_folder(
        folder, "Roberta", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], add_prefix_space=True
    ),
    "qwen2": lambda folder: byte_level_folder(folder, "Qwen2", ["<|endoftext|>"]),
}


@pytest.fixture(scope="module", params=list(FOLDERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FOLDERS[request.param](tmp_path_factory.mktemp("folder"))


def require_same(tokenizer: Tokenizer, theirs: Any, *, framed: bool = True) -> None:
    """Compare ids, frames, token types and decoded text with a tokenizer of transformers."""
    for text, spans in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.encode(text) == ids == spans.ids.tolist(), text
        assert tokenizer.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)
    if not framed:
        return
    for texts in [(text,) for text in TEXTS] + PAIRS:
        expected = theirs(*texts)
        found = tokenizer.frame.around([np.array(tokenizer.encode(text), dtype=np.int64) for text in texts])
        assert found.tokens_L.tolist() == expected["input_ids"], texts
        if "token_type_ids" in expected:
            assert found.segments_L.tolist() == expected["token_type_ids"]
        else:
            assert not found.segments_L.any()


def require_roles(tokenizer: Tokenizer, theirs: Any) -> None:
    special = tokenizer.special
    for role in ("pad", "bos", "eos", "cls", "sep", "mask"):
        number = getattr(theirs, f"{role}_token_id")
        assert number is None or number == getattr(special, role), role
    assert special.mask == theirs.mask_token_id


def require_stored_and_written(tokenizer: Tokenizer, folder: Path, model_type: str | None) -> None:
    again = Tokenizer.from_bytes(tokenizer.to_bytes())
    assert (again.special, again.frame) == (tokenizer.special, tokenizer.frame)
    assert again.to_bytes() == tokenizer.to_bytes()
    folder.mkdir()
    if model_type:
        save(folder, config__json={"model_type": model_type})
    write_tokenizer(again, folder, max_length=77)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs.is_fast and theirs.model_max_length == 77
    require_same(tokenizer, theirs)
    require_roles(tokenizer, theirs)
    back = read_tokenizer(folder)
    assert (back.special, back.frame) == (tokenizer.special, tokenizer.frame)
    assert [back.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_vocabulary_files_are_read_as_transformers_reads_them(folder: Path, tmp_path: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer = read_tokenizer(folder)
    own_frame = theirs("the")["input_ids"] != theirs("the", add_special_tokens=False)["input_ids"]
    require_same(tokenizer, theirs, framed=own_frame)
    require_roles(tokenizer, theirs)
    if not own_frame:
        assert (tokenizer.frame.before, tokenizer.frame.after) == ((), ())
    # The same from the tokenizer.json that transformers makes of it.
    theirs.save_pretrained(tmp_path / "fast")
    save(tmp_path / "fast", config__json=json.loads((folder / "config.json").read_text()))
    fast = read_tokenizer(tmp_path / "fast")
    require_same(fast, transformers.AutoTokenizer.from_pretrained(tmp_path / "fast"), framed=own_frame)
    assert (fast.special, fast.frame) == (tokenizer.special, tokenizer.frame)
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    require_stored_and_written(tokenizer, tmp_path / "written", model_type)


def test_roles_of_families(tmp_path: Path) -> None:
    found = {}
    for name, make in FOLDERS.items():
        place = tmp_path / name.replace(" ", "-")
        place.mkdir()
        found[name] = read_tokenizer(make(place))
    bert, gpt2, roberta = (found[name].special for name in ("bert", "gpt2", "roberta"))
    assert (bert.pad, bert.bos, bert.eos, bert.cls, bert.sep, bert.mask) == (0, 3, 4, 3, 4, 5)
    assert bert.others == frozenset()
    assert (roberta.pad, roberta.bos, roberta.eos, roberta.cls, roberta.sep) == (1, 0, 2, 0, 2)
    assert roberta.others == {3}
    assert len(gpt2.all()) == 1 and gpt2.mask is None and gpt2.sentinels == ()
    assert found["bert"].frame.has_segments and not found["roberta"].frame.has_segments
    assert [i for i in found["roberta"].encode_with_special("the <mask> sat") if i in roberta.all()] == [roberta.mask]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize("model_type", [None, "bert", "gpt2", "t5", "llama", "modernbert"])
def test_trained_tokenizers_are_written(kind: Any, model_type: str | None, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(CORPUS, kind, 500)
    require_stored_and_written(tokenizer, tmp_path / "written", model_type)
    assert read_tokenizer(tmp_path / "written").to_bytes() == tokenizer.to_bytes()
    write_tokenizer(tokenizer, tmp_path, max_length=9, for_prompts=True)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("the")["input_ids"] == [1, *tokenizer.encode("the")]


def sentencepiece_file(folder: Path, name: str, **options: Any) -> sentencepiece.SentencePieceProcessor:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=written, minloglevel=2, **{"vocab_size": 300, **options}
    )
    (folder / name).write_bytes(written.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "hard_vocab_limit": False}
ALBERT = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "hard_vocab_limit": False}
ALBERT |= {"control_symbols": "[CLS],[SEP],[MASK]", "user_defined_symbols": '(,),",-,.,–', "pad_piece": "<pad>"}
LLAMA: dict[str, Any] = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 600, "split_digits": True}
LLAMA |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
LLAMA |= {"allow_whitespace_only_pieces": True}


def offset(ids: list[int], by: int) -> list[int]:
    return [i + by if i > 2 else {0: 3, 1: 0, 2: 2}[i] for i in ids]


@pytest.mark.parametrize(
    ("name", "family", "options", "shift"),
    [
        ("spiece.model", "T5", T5, 0),
        ("spiece.model", "MT5", T5 | {"byte_fallback": True, "vocab_size": 600}, 0),
        ("sentencepiece.bpe.model", "XLMRoberta", {"hard_vocab_limit": False}, 1),
        ("tokenizer.model", "Llama", LLAMA, 0),
        ("tokenizer.model", "Gemma", LLAMA | {"add_dummy_prefix": False, "user_defined_symbols": "\t\t,<b>"}, 0),
        ("tokenizer.model", "", LLAMA | {"remove_extra_whitespaces": True}, 0),
        ("tokenizer.model", "", {"model_type": "unigram", "remove_extra_whitespaces": False, "byte_fallback": True}, 0),
    ],
)
def test_sentencepiece_models_cut_as_the_library(
    name: str, family: str, options: dict[str, Any], shift: int, tmp_path: Path
) -> None:
    if options.get("byte_fallback"):
        options = {"vocab_size": 600, "hard_vocab_limit": False, **options}
    if options.get("model_type") == "bpe":
        options = {key: value for key, value in options.items() if key != "hard_vocab_limit"} | {"vocab_size": 500}
    library = sentencepiece_file(tmp_path, name, **options)
    if family:
        save(tmp_path, tokenizer_config__json={"tokenizer_class": f"{family}Tokenizer"})
    model = read_sentencepiece(tmp_path / name)
    assert [piece.text for piece in model.pieces] == [library.id_to_piece(i) for i in range(library.get_piece_size())]
    assert (model.unk_id, model.bos_id, model.eos_id, model.pad_id) == (
        *(library.unk_id(), library.bos_id(), library.eos_id()),
        library.pad_id(),
    )
    tokenizer = read_tokenizer(tmp_path)
    texts = [*TEXTS, *CORPUS[:6], "<b> x\t\ty", "a</s>b <s> <unk>"]
    for text in texts:
        expected = library.encode(text)
        assert tokenizer.encode(text) == (offset(expected, 1) if shift else expected), text
    require_stored_and_written(tokenizer, tmp_path / "written", None)
    for text in CORPUS[:6]:
        (spans,) = tokenizer.encode_batch([text])
        assert (np.diff(spans.starts) >= 0).all() and (np.diff(spans.ends) >= 0).all()
        # Of a character that is cut into bytes, only the first token begins a word.
        words = int((token_bits(text, spans.starts, spans.ends) & WORD_BIT).sum())
        assert 0 < words <= int((token_bits(text, np.arange(len(text)), np.arange(len(text)) + 1) & WORD_BIT).sum())


def test_t5_and_llama_frames_and_roles(tmp_path: Path) -> None:
    sentencepiece_file(tmp_path, "spiece.model", **T5)
    t5 = read_tokenizer(save(tmp_path, config__json={"model_type": "t5"}))
    size = t5.vocabulary_size
    assert (t5.special.pad, t5.special.bos, t5.special.cls, t5.special.eos, t5.special.sep) == (0, 0, 0, 1, 1)
    assert t5.special.mask is None and t5.special.sentinels == tuple(range(size - 1, size - 101, -1))
    assert (t5.frame.before, t5.frame.after, t5.frame.pair.ids) == ((), (1,), ((), (1,), (1,)))
    assert t5.encode_with_special("the <extra_id_1>")[-1] == t5.special.sentinels[1]
    # CodeT5 puts <s> before its encoder's texts; its decoder begins with the padding.
    roles = {"cls_token": "<extra_id_1>", "bos_token": "<extra_id_0>"}
    first = size - 1
    for start, bos in ((None, first), (0, 0), (first, first), (size + 9, first)):
        model = {"model_type": "t5", "decoder_start_token_id": start}
        special = read_tokenizer(save(tmp_path, config__json=model, tokenizer_config__json=roles)).special
        assert (special.bos, special.cls, special.pad) == (bos, first - 1, 0)
    llama_folder = tmp_path / "llama"
    llama_folder.mkdir()
    options = {key: value for key, value in LLAMA.items() if key != "vocab_size"} | {"vocab_size": 500}
    sentencepiece_file(llama_folder, "tokenizer.model", **options)
    llama = read_tokenizer(save(llama_folder, tokenizer_config__json={"tokenizer_class": "LlamaTokenizer"}))
    assert (llama.special.bos, llama.special.eos, llama.special.pad, llama.special.mask) == (1, 2, 2, None)
    assert (llama.frame.before, llama.frame.after, llama.frame.pair.ids) == ((1,), (), ((1,), (1,), ()))
    save(llama_folder, tokenizer_config__json={"add_bos_token": False, "add_eos_token": True})
    assert read_tokenizer(llama_folder).frame.text.ids == ((), (2,))


def test_albert_is_sentencepiece_after_its_own_normalisation(tmp_path: Path) -> None:
    library = sentencepiece_file(tmp_path, "spiece.model", **ALBERT)
    save(tmp_path, tokenizer_config__json={"tokenizer_class": "AlbertTokenizer"})
    tokenizer = read_tokenizer(tmp_path)
    for text in ["the cat sat (twice) on the mat - why-not.", 'she asked "why"', "我喜欢阅读"]:
        assert tokenizer.encode(text) == library.encode(text), text
    assert tokenizer.encode("CAFÉ ``x''") == tokenizer.encode('cafe "x"')
    model = read_sentencepiece(tmp_path / "spiece.model")
    theirs = transformers.AlbertTokenizer(
        vocab=[(piece.text, piece.score) for piece in model.pieces], _spm_precompiled_charsmap=model.charsmap
    )
    compared = 0
    for texts in [("the cat sat (twice) on the mat",), ("CAFÉ ``x''",), *PAIRS]:
        found = tokenizer.frame.around([np.array(tokenizer.encode(text), dtype=np.int64) for text in texts])
        expected = theirs(*texts, return_token_type_ids=True)
        assert found.tokens_L.tolist() == expected["input_ids"], texts
        assert found.segments_L.tolist() == expected["token_type_ids"], texts
        compared += 1
    assert compared == 5
    special = tokenizer.special
    assert (special.pad, special.bos, special.cls, special.eos, special.sep) == (0, 2, 2, 3, 3)
    require_stored_and_written(tokenizer, tmp_path / "written", "albert")


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    def fails(pattern: str) -> None:
        with pytest.raises(HubError, match=pattern) as caught:
            read_tokenizer(tmp_path)
        assert "\n" not in str(caught.value)

    fails("expected a tokenizer .*found none")
    for content in (b"", b"\x0a\xff\xff", b"plain text", b"\x08\x01"):
        (tmp_path / "spiece.model").write_bytes(content)
        fails("spiece.model: expected a SentencePiece model")
    sentencepiece_file(tmp_path, "spiece.model", **T5)
    whole = (tmp_path / "spiece.model").read_bytes()
    (tmp_path / "spiece.model").write_bytes(whole[: len(whole) // 2])
    fails("expected a SentencePiece model")
    (tmp_path / "spiece.model").write_bytes(whole)
    save(tmp_path, tokenizer_config__json={"tokenizer_class": "CamembertTokenizer"})
    fails("found that of 'camembert'")
    save(tmp_path, vocab__json={"a": 0}, merges__txt="a b c\n")
    fails("merges.txt: does not fit vocab.json")
    save(tmp_path, merges__txt="#version\na b\n")
    fails("merges.txt: does not fit vocab.json")
    save(tmp_path, vocab__txt="a\nb\n")
    fails(r"vocab.txt: expected the token '\[CLS\]'")
    save(tmp_path, tokenizer__json="{}")
    fails("tokenizer.json: expected a tokenizer.json")
    save(tmp_path, tokenizer_config__json="[1]")
    fails("tokenizer_config.json: expected a JSON object")
    save(tmp_path, tokenizer_config__json="{")
    fails("tokenizer_config.json: expected a JSON object")
