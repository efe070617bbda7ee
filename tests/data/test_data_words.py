"""Word and sentence starts against UAX #29, and the two bits for every kind of tokenizer in many scripts."""

import numpy as np
import pytest
import regex
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from trivium.data.words import SENTENCE_BIT, WORD_BIT, sentence_starts, token_bits, word_starts

# A bar where a word begins. The first line is UAX #29's own example.
WORDS = [
    "|The |quick |(|“|brown|”|) |fox |can’t |jump |32.3 |feet|, |right|?",
    "|The |cat |sat |quietly |on |the |mat|.",
    "|a.b |U.S|. |3,141.5 |snake_case |x1 |-|> |don't |'|q|' |$|5",
    "|我|喜|欢|阅|读|中|国|古|典|小|说|，|真|的|。",
    "|カタカナ|漢|字|で|す",
    "|привет|, |мир|!",
    "|مرحبا |بالعالم|؟",
    '|שלום |צה"ל |עולם',
    "|한국어 |문장|.",
    "|नमस्ते |दुनिया|।",
    "|Γειά |σου",
    "|ส|วั|ส|ดี",
    "|e\u0301te\u0301 \r\n |x\u200dy",
    "|👨‍👩‍👧 |🇩🇪|🇫🇷|🇨|x",
    "\n\t |a\u2003|b\u3000|中",
]
SENTENCES = [
    "|Hello there. |How are you? |Fine!",
    '|He said "go." |Then he left (quickly.) |Right?',
    "|Dr. Smith met J. S. Bach at approx. 5 p.m. today. |It cost 3.14 dollars. |Yes.",
    "|Use e.g. this one. |Wait... what? |No.",
    "|你好。|我很好！|“真的吗？”|是的。\n|好",
    "|A title\n\n|a small letter begins here\n   \n  |and here\nnot here",
    "|it ends.\n\n|small letter",
    "|वह आया। |मैं गया।",
    "  |leading space",
    "|version 2.0.1 of x.y.z is out",
    '|"Really?" he asked. |"Yes!" |She ran.',
]


def marked(line: str, sign: str = "|") -> tuple[str, np.ndarray]:
    parts = line.split(sign)
    starts = np.cumsum([len(part) for part in parts[:-1]])
    text = "".join(parts)
    places = np.zeros(len(text), dtype=bool)
    places[starts] = True
    return text, places


@pytest.mark.parametrize("line", WORDS)
def test_words_begin_where_uax_29_says(line: str) -> None:
    text, places = marked(line)
    np.testing.assert_array_equal(word_starts(text), places)


@pytest.mark.parametrize("line", SENTENCES)
def test_sentences_begin_where_a_reader_would_say(line: str) -> None:
    text, places = marked(line)
    np.testing.assert_array_equal(sentence_starts(text), places)


def test_words_agree_with_the_regex_package() -> None:
    # Left out: what `regex` does in its own way (an apostrophe before a vowel, an odd number of flag letters).
    pattern = regex.compile(r"\b(?!\s)", flags=regex.WORD)
    pools = (
        'bc.,":;_ \n\r\t1234',
        "アイー_ｱ中か",
        "a\u0301\u00ad\n\r b1_",
        "👨\u200d👩❤\ufe0f b\u200d",
        "नमस्ते। १२",
        "สวัสดี ກ",
        "\u2028\x0b\x0c\x85 b.",
        "한국어 ᄒ\u1161\u11a8",
        "我们“好”。b",
        "мир1,2 ,",
        'שלםb"',
    )
    rng = np.random.default_rng(7)
    compared = 0
    for pool in pools:
        for _ in range(300):
            text = "b" + "".join(rng.choice(list(pool), size=rng.integers(0, 12)))
            expected = np.zeros(len(text) + 1, dtype=bool)
            expected[[match.start() for match in pattern.finditer(text)]] = True
            np.testing.assert_array_equal(word_starts(text), expected[:-1], err_msg=ascii(text))
            compared += len(text)
    assert compared > 10_000


def test_empty_and_blank_texts() -> None:
    for text in ("", " ", "\n \t"):
        assert not word_starts(text).any()
        assert not sentence_starts(text).any()
    assert token_bits("", np.zeros(0, int), np.zeros(0, int)).shape == (0,)
    assert token_bits("  ", np.array([0, 1]), np.array([1, 2])).tolist() == [0, 0]


def test_hostile_text_costs_its_length() -> None:
    for text in ("." * 500_000 + "x", (".)" * 10 + ".") * 30_000, "\n " * 250_000, "! " * 100_000):
        assert len(sentence_starts(text)) == len(text)  # a square would not end within the time limit


TEXTS = ["".join(line.split("|")) for line in WORDS]
PROSE = [
    *TEXTS,
    "the cat sat quietly on the mat, and the quick brown fox jumped over it.",
    "我喜欢阅读中国古典小说，真的。",
]


def byte_level(texts: list[str] = PROSE, *, prefix_space: bool) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts * 3, trainer)
    return tokenizer


def metaspace(texts: list[str], scheme: str) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts * 3, trainer)
    return tokenizer


def wordpiece() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(PROSE * 3, trainer)
    return tokenizer


TOKENIZERS = {
    "byte-level": lambda: byte_level(prefix_space=False),
    "byte-level with a space before": lambda: byte_level(prefix_space=True),
    "metaspace": lambda: metaspace(PROSE, "always"),
    "metaspace, nothing before": lambda: metaspace(PROSE, "never"),
    "wordpiece": wordpiece,
}


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    return TOKENIZERS[request.param]()


def bits_of(tokenizer: tokenizers.Tokenizer, text: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    starts, ends = (np.array(side, dtype=np.int32) for side in zip(*offsets, strict=True))
    return token_bits(text, starts, ends), offsets


@pytest.mark.parametrize("line", WORDS)
def test_bits_are_judged_at_the_first_character_that_is_not_a_space(tokenizer: tokenizers.Tokenizer, line: str) -> None:
    text, places = marked(line)
    bits, offsets = bits_of(tokenizer, text)
    begun = 0
    for bit, (start, end) in zip(bits, offsets, strict=True):
        visible = [place for place in range(start, end) if not text[place].isspace()]
        expected = bool(visible) and visible[0] >= begun and bool(places[visible[0]])
        assert bool(bit & WORD_BIT) == expected, (text, start, end)
        begun = max(begun, end)


def test_whole_words_are_words_and_not_gaps(tokenizer: tokenizers.Tokenizer) -> None:
    # The trap: "the cat sat quietly on the mat" as one word in Metaspace and in byte-level with a space before it.
    english, _ = bits_of(tokenizer, "the cat sat quietly on the mat")
    assert int((english & WORD_BIT).sum()) == 7
    assert int((english & SENTENCE_BIT > 0).sum()) == 1


def test_chinese_is_not_one_word() -> None:
    text = "我喜欢阅读中国古典小说，真的。"
    english = ["the quick brown fox jumped over the lazy dog"]
    for make in (
        lambda: byte_level(english, prefix_space=True),
        lambda: metaspace([*english, *text], "always"),
        wordpiece,
    ):
        bits, offsets = bits_of(make(), text)
        assert len(offsets) >= len(text)
        assert int((bits & WORD_BIT).sum()) == len(text)
    characters = np.arange(len(text))
    assert (token_bits(text, characters, characters + 1) & WORD_BIT).all()
    three = np.repeat(characters, 3)  # each character in three bytes, a token each
    assert (token_bits(text, three, three + 1) & WORD_BIT).tolist() == [1, 0, 0] * len(text)


def test_a_token_that_ends_inside_a_character_keeps_what_follows_with_it() -> None:
    # "a我": the first token is "a" and one byte of the character, the second its other bytes.
    assert token_bits("a我", np.array([0, 1]), np.array([2, 2])).tolist() == [WORD_BIT | SENTENCE_BIT, 0]
    # " 我": a space and one byte, then the rest.
    assert token_bits("b 我", np.array([0, 1, 2]), np.array([1, 3, 3])).tolist() == [3, 1, 0]
