"""How texts are cut for scores: Unicode's words, right in every script, and the tokens of BLEU's two standards."""

import re
import unicodedata
from itertools import pairwise

import numpy as np
import regex

from trivium.data.words import word_starts

_KATAKANA = regex.compile(r"\p{Word_Break=Katakana}")
_IN_A_WORD = regex.compile(r"[\p{L}\p{M}\p{N}\p{So}]")
# mteval-v13a, as WMT uses it.
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SIGNS = re.compile(r"([{-~\[-` -&(-+:-@/])")
_STOP_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_STOP_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
# What sacrebleu separates. Its two ranges beyond 16 bits are read by Python as U+2001 to U+2A6D and U+2F81 to U+2FA1,
# so that dashes and quotation marks are separated, and Han characters beyond 16 bits are not.
_CHINESE = re.compile(
    "([\u2001-\u2a6d\u2e80-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u4db5\u4e00-\u9fbb"
    "\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef])"
)


def split_words(text: str) -> list[str]:
    """Return the words and signs of a text in any script, as they are written.

    Unicode's word boundaries (UAX #29); each Han and Kana character is a word. The text is composed (NFC) first, so
    that two ways of writing one character are one.
    """
    text = unicodedata.normalize("NFC", text)
    starts_C = word_starts(text)
    for match in _KATAKANA.finditer(text):
        starts_C[match.start()] = True
    cuts = [int(cut) for cut in np.flatnonzero(starts_C)] + [len(text)]
    return [text[begin:end].strip() for begin, end in pairwise(cuts)]


def content_words(text: str) -> list[str]:
    """Return the words of a text in any script in small letters: `split_words` without punctuation."""
    return [word for word in split_words(text.lower()) if _IN_A_WORD.search(word)]


def split_13a(text: str) -> list[str]:
    """Return the tokens of a text by mteval-v13a's rules, which BLEU is reported with for languages with spaces."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    return _split_western(f" {text} ")


def split_zh(text: str) -> list[str]:
    """Return the tokens of a Chinese text by sacrebleu's rules: each Chinese character and full-width sign is one."""
    return _split_western(_CHINESE.sub(r" \1 ", text.strip()))


def _split_western(text: str) -> list[str]:
    text = _SIGNS.sub(r" \1 ", text)
    text = _STOP_AFTER_OTHER.sub(r"\1 \2 ", text)
    text = _STOP_BEFORE_OTHER.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()
