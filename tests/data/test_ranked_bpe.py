"""Two libraries cut byte-level BPE: their ids are the same, or the fast one is not used."""

import json
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from shared_data import DATA
from trivium.data.ranked_bpe import _BETWEEN, _GPT2_PIECES, can_encode, encode_all, ranked_bpe
from trivium.data.tokenizer import Tokenizer

SAMPLE = [
    "The cat sat on the mat. It's 12,345 times \t the cat's mat!\n\nWho's there?\n",
    "我们在学习语言模型。模型学习我们！ 今天天气很好，我们去公园玩。",
    "naïve café — déjà vu; नमस्ते दुनिया; สวัสดี; 🙂🙃👩‍👩‍👧 \u3000x",
] * 20
SIGNS = "thecasm'IT12 \t\n\r.,!我们学习模型éै🙂\u200d\u3000[]>"


@pytest.fixture(scope="module")
def own() -> Tokenizer:
    return Tokenizer.train(SAMPLE, "bpe", 900)


def ranked_of(library: tokenizers.Tokenizer, special: set[int] | None = None) -> tiktoken.Encoding | None:
    """The fast encoding of a library's tokenizer, its bytes known by its own decoder's table."""
    tree = json.loads(library.to_str())
    letters = pre_tokenizers.ByteLevel.alphabet()
    known = {sign: byte for byte, sign in _alphabet().items()}
    assert set(known) == set(letters)
    size = max(library.get_vocab().values()) + 1
    pieces = [b""] * size
    for name, number in library.get_vocab().items():
        if number not in (special or set()):
            pieces[number] = bytes(known[sign] for sign in name)
    return ranked_bpe(library, tree, pieces, special or set())


def _alphabet() -> dict[int, str]:
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


def trained(step: pre_tokenizers.PreTokenizer, size: int = 600) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = step
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    library.train_from_iterator(SAMPLE, trainer)
    return library


def same(library: tokenizers.Tokenizer, fast: tiktoken.Encoding, texts: list[str]) -> None:
    slow = [encoding.ids for encoding in library.encode_batch_fast(texts, add_special_tokens=False)]
    ids, counts = encode_all(fast, texts)
    assert [part.tolist() for part in np.split(ids, np.cumsum(counts))[:-1]] == slow


def test_every_character_there_is_is_cut_alike(own: Tokenizer) -> None:
    points = [point for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    characters = [chr(point) for point in points if chr(point) != _BETWEEN]
    alone = ["".join(characters[first : first + 5000]) for first in range(0, len(characters), 5000)]
    among = ["a ".join(characters[first : first + 5000]) for first in range(0, 0x20000, 5000)]
    assert own._ranked is not None
    same(own._plain, own._ranked, [*alone, *among])
    gpt2 = trained(pre_tokenizers.ByteLevel(add_prefix_space=False))
    fast = ranked_of(gpt2)
    assert fast is not None
    same(gpt2, fast, [*alone, *among])


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(
        st.text(alphabet=st.sampled_from("thecasm'IT12 \t\n\r.,!我们学习模型éै🙂\u200d\u3000[]>")), max_size=5
    )
)
def test_any_text_is_cut_alike(own: Tokenizer, texts: list[str]) -> None:
    assert own._ranked is not None
    same(own._plain, own._ranked, texts)


def test_real_text_has_the_same_ids_and_places(own: Tokenizer) -> None:
    found = 0
    for name in ("en_mix_10m.dev", "zh_mix.dev"):
        packed = DATA / f"{name}.txt.xz"
        if not packed.is_file():
            pytest.skip(f"{packed} is not there; TRIVIUM_DATA says where the data are")
        text = lzma.decompress(packed.read_bytes())[:600_000].decode("utf-8", "ignore")
        tokenizer = Tokenizer.train([text], "bpe", 4096)
        assert tokenizer._ranked is not None
        texts = text.split("\n\n")
        for spans, slow in zip(
            tokenizer.encode_batch(texts), tokenizer._plain.encode_batch(texts, add_special_tokens=False), strict=True
        ):
            assert spans.ids.tolist() == slow.ids
            assert spans.ids.dtype == np.int32
            # Of a character in several tokens the library says so otherwise in some versions; the text's ends agree.
            assert not len(spans.ends) or spans.ends[-1] == slow.offsets[-1][1]
            found += len(slow.ids)
    assert found > 100_000


def test_a_list_of_merges_in_another_order_is_not_taken() -> None:
    library = trained(pre_tokenizers.ByteLevel(add_prefix_space=False))
    assert ranked_of(library) is not None
    tree = json.loads(library.to_str())
    tree["model"]["merges"][0], tree["model"]["merges"][5] = tree["model"]["merges"][5], tree["model"]["merges"][0]
    assert ranked_of(tokenizers.Tokenizer.from_str(json.dumps(tree))) is None


def test_a_token_that_text_never_becomes_is_not_taken() -> None:
    tree = json.loads(trained(pre_tokenizers.ByteLevel(add_prefix_space=False)).to_str())
    tree["model"]["vocab"]["zqzq"] = len(tree["model"]["vocab"])  # no merge makes it: tiktoken would
    assert ranked_of(tokenizers.Tokenizer.from_str(json.dumps(tree))) is None


def test_a_vocabulary_that_is_looked_up_before_it_is_merged_is_not_taken() -> None:
    tree = json.loads(trained(pre_tokenizers.ByteLevel(add_prefix_space=False)).to_str())
    tree["model"]["vocab"]["zqzq"] = len(tree["model"]["vocab"])
    tree["model"]["ignore_merges"] = True
    assert ranked_of(tokenizers.Tokenizer.from_str(json.dumps(tree))) is None


@pytest.mark.parametrize(
    "step",
    [
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(r"\s+"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ],
)
def test_other_ways_of_cutting_are_left_to_the_library(step: pre_tokenizers.PreTokenizer) -> None:
    assert ranked_of(trained(step)) is None


def test_the_pattern_of_gpt_2_is_the_librarys_own() -> None:
    split = pre_tokenizers.Split(tokenizers.Regex(_GPT2_PIECES), "isolated")
    bare = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    for text in SAMPLE[:3]:
        usual = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
        assert [piece for piece, _ in bare.pre_tokenize_str(text)] == [piece for piece, _ in usual]


def test_unbounded_space_goes_the_slow_way_and_comes_back(own: Tokenizer) -> None:
    endless = "a" + " " * 1_200_000 + "b"
    assert not can_encode([endless]) and can_encode(["a" * 1_200_000, " " * 400_000])
    (spans,) = own.encode_batch([endless])
    assert own.decode(spans.ids) == endless
    assert spans.ids.tolist() == own.encode(endless)
    # Much space below the limit is looked through once, not once from each of its places.
    assert can_encode([" " * 400_000 + "x" + " " * 400_000])


def test_a_text_that_holds_what_stands_between_texts_is_cut_as_any_other(own: Tokenizer) -> None:
    assert own._ranked is not None
    for text in (f"sat {_BETWEEN} on", _BETWEEN, f"a  {_BETWEEN}"):
        assert not can_encode(["the cat", text])
        (_, spans) = own.encode_batch(["the cat", text])
        assert spans.ids.tolist() == own.encode(text) and own.decode(spans.ids) == text
    same(own._plain, own._ranked, ["", "", ""])
    same(own._plain, own._ranked, ["a " * length for length in (0, 1, 2, 5000, 0, 3)])
    # What follows a text's end says nothing about its end.
    ends = ["the", " ", "  ", "\n", " \n ", "a  ", "a\t ", ".", "!?", ". ", "'", "'s", "12", "\u3000 ", ".\n"]
    same(own._plain, own._ranked, [one for one in ends for _ in ends] + ends * len(ends))
    same(own._plain, own._ranked, [each for one in ends for other in ends for each in (one, other)])


def test_a_tokenizer_file_keeps_it(own: Tokenizer, tmp_path: Path) -> None:
    again = Tokenizer.from_bytes(own.to_bytes())
    assert again._ranked is not None
    assert [spans.ids.tolist() for spans in again.encode_batch(SAMPLE[:3])] == [own.encode(text) for text in SAMPLE[:3]]
    assert own.encode_batch([]) == []
    assert own.encode_batch([""])[0].ids.tolist() == []
