"""Tokenizers: text comes back, special tokens never come out of text, spans are right, training is repeatable."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from trivium.core.errors import ConfigError
from trivium.core.special import SPECIAL_TOKENS
from trivium.data import tokenizer_training as module
from trivium.data.tokenizer import Tokenizer
from trivium.data.tokenizer_training import KINDS, TokenizerKind

WORDS = (  # white space too is to be chosen among the words
    "the|cat|sat|on|mat,|and|dog|don't|know|why;|None|of|them|said|[MASK]|or|<extra_id_0>|3,141.59|times.|def|"
    "snake_case(self)|->|None:\n|return|   |self._value||#|[MASK]|<extra_id_0>\n"
)
ENGLISH = WORDS.split("|")
CHINESE = "我喜欢阅读中国古典小说真的好吗天气今日不错人生若只如初见"


def sample(size: int = 300, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(size):
        words = rng.choice(ENGLISH, size=rng.integers(1, 60))
        chinese = "".join(rng.choice(list(CHINESE), size=rng.integers(0, 20)))
        texts.append(" ".join(words) + chinese)
    return texts


def random_texts(count: int, seed: int) -> list[str]:
    """Any Unicode at all, and more of what is known to make trouble."""
    rng = np.random.default_rng(seed)
    pools = [
        [chr(point) for point in range(0x250)],
        list("我們的“中文”，。！👩‍👩‍👧🇩🇪e\u0301\u200d\ufe0f नमस्ते สวัสดี ▁ĠĊ"),
        [*SPECIAL_TOKENS[:8], " ", "  ", "\n", "\t", "\r\n", "<0x41>", "\0", "\ufeff", "\u2028", "##ing", "[UNK]"],
    ]
    texts = []
    for number in range(count):
        if number % 4 == 3:
            points = rng.integers(0, 0x110000, size=20)
            texts.append("".join(chr(point) for point in points if not 0xD800 <= point < 0xE000))
        else:
            texts.append("".join(rng.choice(pools[number % 4], size=rng.integers(0, 40))))
    return texts


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {kind: Tokenizer.train(sample(), kind, 500) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_in_order(trained: dict[str, Tokenizer], kind: TokenizerKind) -> None:
    tokenizer = trained[kind]
    special = tokenizer.special
    assert (special.pad, special.bos, special.eos, special.cls, special.sep, special.mask) == (0, 1, 2, 3, 4, 5)
    assert special.sentinels == tuple(range(6, 106))
    assert tokenizer.kind == kind
    assert tokenizer.vocabulary_size <= 500
    assert len(tokenizer.num_bytes_V) == tokenizer.vocabulary_size
    assert not tokenizer.num_bytes_V[:106].any()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_any_text_comes_back(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    texts = random_texts(400, seed=1)
    for text, spans in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.decode(spans.ids) == text
        assert tokenizer.encode(text) == spans.ids.tolist()
        assert int(tokenizer.num_bytes_V[spans.ids].sum()) == len(text.encode())
    assert tokenizer.is_lossless(texts)


def test_wordpiece_says_that_it_loses_text(trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained["wordpiece"]
    assert not tokenizer.is_lossless(["two  spaces"])
    assert tokenizer.token_texts([106]) == ["[UNK]"]
    assert tokenizer.num_bytes_V[106] == 0
    assert tokenizer.encode("\U0001f916") == [106]
    assert tokenizer.decode(tokenizer.encode("The Mat")) != tokenizer.decode(tokenizer.encode("the mat"))
    pieces = tokenizer.encode("catmatdog")
    assert len(pieces) > 1
    assert "".join(text.removeprefix("##") for text in tokenizer.token_texts(pieces)) == "catmatdog"
    assert tokenizer.num_bytes_V[pieces].tolist() == [
        len(text.removeprefix("##")) for text in tokenizer.token_texts(pieces)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_never_come_out_of_text(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    texts = [*SPECIAL_TOKENS, "a [MASK] b<extra_id_0>", *random_texts(200, seed=2)]
    for spans in tokenizer.encode_batch(texts):
        assert tokenizer.special.all().isdisjoint(spans.ids.tolist())
    # In a prompt they do, and take the space before them along: the hidden word's token begins with it.
    ids = tokenizer.encode_with_special("the [MASK] sat <extra_id_0>")
    assert [i for i in ids if i in tokenizer.special.all()] == [5, 6]
    assert ids == [*tokenizer.encode("the"), 5, *tokenizer.encode(" sat"), 6]
    assert tokenizer.encode("the [MASK] sat") != ids


@pytest.mark.parametrize("kind", KINDS)
def test_spans_are_those_of_the_library(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    reference = tokenizers.Tokenizer.from_str(tokenizer.to_bytes().decode())
    reference.encode_special_tokens = True
    texts = ["", *random_texts(200, seed=3), *sample(20, seed=4)]
    for text, spans in zip(texts, tokenizer.encode_batch(texts), strict=True):
        expected = reference.encode(text, add_special_tokens=False)
        assert spans.ids.tolist() == expected.ids
        assert list(zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)) == expected.offsets
        assert {array.dtype for array in spans} == {np.dtype(np.int32)}


@pytest.mark.parametrize("kind", KINDS)
def test_training_again_gives_the_same_bytes(kind: TokenizerKind) -> None:
    # Each hash table of the library has its own seed, so that a second training in this process is as good as another.
    for texts, size in ((sample(40, seed=5), 400), (sample(400, seed=6), 700)):
        first = Tokenizer.train(texts, kind, size).to_bytes()
        assert all(Tokenizer.train(iter(texts), kind, size).to_bytes() == first for _ in range(2))
        assert Tokenizer.from_bytes(first).to_bytes() == first


def test_a_small_text_gives_a_smaller_vocabulary() -> None:
    for kind in KINDS:
        tokenizer = Tokenizer.train(["a small text, a small one"], kind, 5000)
        assert 107 < tokenizer.vocabulary_size < 500


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_training_is_bounded_where_pieces_hardly_recur(kind: TokenizerKind, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    unspaced = ["".join(rng.choice(list(CHINESE), size=30)) for _ in range(400)]
    first = Tokenizer.train(unspaced, kind, 500).to_bytes()
    monkeypatch.setattr(module, "_MAX_DISTINCT_BYTES", dict.fromkeys(KINDS, 20_000))
    bounded = Tokenizer.train(unspaced, kind, 500).to_bytes()
    assert bounded != first
    assert bounded == Tokenizer.train(unspaced[: 20_000 // 90], kind, 500).to_bytes()
    spaced = [text.translate({ord(sign): " " for sign in CHINESE}) for text in sample(200, seed=9)]
    bounded = Tokenizer.train(spaced, kind, 500).to_bytes()
    monkeypatch.undo()
    assert bounded == Tokenizer.train(spaced, kind, 500).to_bytes()


@pytest.mark.parametrize(("kind", "least"), [("bpe", 362), ("unigram", 363), ("wordpiece", 363)])
def test_the_least_vocabulary(kind: TokenizerKind, least: int) -> None:
    texts = [*sample(50), CHINESE, "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))]
    assert Tokenizer.train(texts, kind, least).vocabulary_size <= least
    with pytest.raises(ConfigError, match=f"at least {least} for {kind}.*found {least - 1}"):
        Tokenizer.train(texts, kind, least - 1)
    with pytest.raises(ConfigError, match="Did you mean `bpe`"):
        Tokenizer.train(texts, "bpee", 1000)  # type: ignore[arg-type]


def test_token_texts_are_readable(trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained["bpe"]
    ids = tokenizer.encode_with_special(" the cat [MASK]\U0001f916")
    assert tokenizer.token_texts(ids) == [" the", " cat", "[MASK]", "\\xf0", "\\x9f", "\\xa4", "\\x96"]
    assert tokenizer.decode(ids) == " the cat\U0001f916"
    assert tokenizer.decode(np.array([1, *tokenizer.encode("cat"), 2])) == "cat"
    none = tokenizer.encode(" None")
    assert tokenizer.token_texts(none) == [" None"]  # a word, and not a missing [UNK]
    assert tokenizer.num_bytes_V[none].tolist() == [5]


def test_from_file(trained: dict[str, Tokenizer], tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(trained["unigram"].to_bytes())
    for path in (file, tmp_path):
        assert Tokenizer.from_file(path).to_bytes() == trained["unigram"].to_bytes()
    with pytest.raises(ConfigError, match="no such file"):
        Tokenizer.from_file(tmp_path / "no.json")
    for content in (b"{}", b"\xff\0", b"plain"):
        file.write_bytes(content)
        with pytest.raises(
            ConfigError, match=r"tokenizer.json: expected a tokenizer.json, found something else"
        ) as caught:
            Tokenizer.from_file(file)
        assert "\n" not in str(caught.value)


def changed(tokenizer: Tokenizer, **changes: Any) -> bytes:
    return json.dumps({**json.loads(tokenizer.to_bytes()), **changes}).encode()


def test_a_tokenizer_that_lacks_a_special_token_is_refused(trained: dict[str, Tokenizer]) -> None:
    tree = json.loads(trained["bpe"].to_bytes())
    bare = {"type": "BPE", "vocab": {f"word {number}": number for number in range(9)}, "merges": []}
    with pytest.raises(ConfigError, match=r"expected special tokens in the vocabulary .*found none of them"):
        Tokenizer(json.dumps({**tree, "model": bare, "added_tokens": [], "post_processor": None}).encode())
    # In the vocabulary, but not marked: text could become it.
    plain = [{**token, "special": False} for token in tree["added_tokens"]]
    with pytest.raises(ConfigError, match="becomes a special token"):
        Tokenizer(changed(trained["bpe"], added_tokens=plain))


def test_without_all_sentinels_it_is_a_foreign_one_whose_roles_are_kept(trained: dict[str, Tokenizer]) -> None:
    tree = json.loads(trained["bpe"].to_bytes())
    added = [token for token in tree["added_tokens"] if token["content"] != "<extra_id_7>"]
    tree["model"]["vocab"]["no sentinel"] = tree["model"]["vocab"].pop("<extra_id_7>")
    foreign = Tokenizer(json.dumps({**tree, "added_tokens": added}).encode())
    assert foreign.special.sentinels == tuple(range(6, 13))
    assert foreign.special.others == frozenset(range(14, 106))
    assert foreign.special.mask == 5
    chosen = foreign.special._replace(mask=None, pad=2, others=frozenset((5,)))
    given = Tokenizer(foreign.to_library_bytes(), special=chosen)
    again = Tokenizer.from_bytes(given.to_bytes())
    assert again.special == chosen and again.to_bytes() == given.to_bytes()
    assert again.encode("the cat") == trained["bpe"].encode("the cat")
    tokenizers.Tokenizer.from_str(again.to_library_bytes().decode())
    assert b'"trivium"' not in trained["bpe"].to_bytes() + again.to_library_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_of_a_trained_tokenizer(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    tree = json.loads(tokenizer.to_bytes())
    before_frames = Tokenizer(json.dumps({**tree, "post_processor": None}).encode())
    assert tokenizer.frame == before_frames.frame
    a, b = np.array([200, 201]), np.array([202])
    assert tokenizer.frame.around([a]).tokens_L.tolist() == [1, 200, 201, 2]
    framed = tokenizer.frame.around([a, b])
    assert framed.tokens_L.tolist() == [1, 200, 201, 4, 202, 2]
    assert not framed.segments_L.any() and not tokenizer.frame.has_segments
    assert (tokenizer.frame.size(1), tokenizer.frame.size(2)) == (2, 3)
    assert tokenizer.frame.around([a[:0]]).tokens_L.tolist() == [1, 2]
    library = tokenizers.Tokenizer.from_str(tokenizer.to_bytes().decode())
    assert library.encode("the", "cat").ids == [1, *tokenizer.encode("the"), 4, *tokenizer.encode("cat"), 2]


def test_settings_of_whoever_saved_it_do_not_cut_documents(trained: dict[str, Tokenizer]) -> None:
    library = tokenizers.Tokenizer.from_str(trained["bpe"].to_bytes().decode())
    library.enable_truncation(4)
    library.enable_padding(length=50)
    tokenizer = Tokenizer(library.to_str().encode())
    assert tokenizer.encode("the cat sat on the mat") == trained["bpe"].encode("the cat sat on the mat")


def test_other_peoples_tokenizers() -> None:
    """A byte-level one that adds a space, and a Metaspace one that falls back to bytes."""
    special = [tokenizers.AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS]
    spaced = tokenizers.Tokenizer(tokenizers.models.BPE())
    spaced.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    spaced.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    spaced.train_from_iterator(
        sample(50), tokenizers.trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    byte_tokens = [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    words = [("▁the", -1.0), ("▁", -2.0), ("cat", -3.0), ("<unk>", 0.0)]
    pieces = [(name, 0.0) for name in SPECIAL_TOKENS] + words + byte_tokens
    metaspace = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 109, True))
    metaspace.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Metaspace(), tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\[<]"), "isolated")]
    )
    metaspace.decoder = tokenizers.decoders.Sequence(
        [tokenizers.decoders.ByteFallback(), tokenizers.decoders.Metaspace(), tokenizers.decoders.Fuse()]
    )
    metaspace.add_special_tokens(special)
    for library in (spaced, metaspace):
        tokenizer = Tokenizer(library.to_str().encode())
        (spans,) = tokenizer.encode_batch(["the cat"])
        texts = tokenizer.token_texts(spans.ids)
        assert "".join(texts) == " the cat"
        assert int(tokenizer.num_bytes_V[spans.ids].sum()) == len(" the cat")
        assert spans.ends.tolist()[-1] == 7
    assert tokenizer.token_texts(tokenizer.encode("é")) == [" ", "\\xc3", "\\xa9"]
    assert tokenizer.num_bytes_V[109] == 0
