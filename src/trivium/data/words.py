"""Where words and sentences begin, so that whole words and spans are right for every tokenizer and script.

Words follow Unicode's UAX #29 (default word boundaries): each Han character is a word, so is each punctuation sign,
white space never begins one. Scripts without spaces that need a dictionary (Thai, Lao, Khmer) get what UAX #29
gives: a word a character cluster. The properties come from the `regex` package, so that they follow its version of
Unicode; the rules are written out in numpy because a match object a word costs more than tokenising the text.
"""

import re
from functools import cache
from itertools import pairwise

import numpy as np
import regex

WORD_BIT = 1
SENTENCE_BIT = 2

# UAX #29 property values that take part in a rule; 0 = any other. Those that rules name together stand together, see
# `_between`.
_CLASSES = (
    "Other",
    "CR",
    "LF",
    "Newline",
    "Extend",
    "ZWJ",
    "Format",
    "Katakana",
    "Hebrew_Letter",
    "ALetter",
    "Single_Quote",
    "Double_Quote",
    "MidNumLet",
    "MidLetter",
    "MidNum",
    "Numeric",
    "ExtendNumLet",
    "Regional_Indicator",
)
_NUMBER = {name: number for number, name in enumerate(_CLASSES)}
_CLASS = 0x1F
_PICTOGRAPH = 0x20
_SPACE = 0x40
_USUAL_SPACES = 16  # that a token begins with


def word_starts(text: str) -> np.ndarray:
    """Return bool [characters], True where a word begins (UAX #29; punctuation does, white space does not)."""
    return _word_starts(_properties(text))


def words_at(text: str) -> list[tuple[int, str]]:
    """Return where each word begins, and the word without the white space after it."""
    starts = np.flatnonzero(word_starts(text)).tolist()
    return [(begin, text[begin:end].rstrip()) for begin, end in pairwise([*starts, len(text)])]


def sentence_starts(text: str) -> np.ndarray:
    """Return bool [characters], True where a sentence begins.

    A sentence begins at the first character that is not a space: of the text; after a blank line; after
    `. ! ? …` with closing quotes or brackets and white space; after `。！？` and their like with or without it.
    It does not begin after a full stop that is followed by a small letter, or that ends an abbreviation
    or an initial ("Dr. Smith", "J. S. Bach", "e.g. this"), nor after `?"` followed by a small letter.
    """
    places = [len(text) - len(text.lstrip())]
    places += [match.end() for match in _SENTENCE_END.finditer(text) if not _goes_on(text, match)]
    starts_C = np.zeros(len(text) + 1, dtype=bool)  # one more: what comes after the last end is nothing
    starts_C[places] = True
    return starts_C[:-1]


def token_bits(text: str, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return uint8 [tokens]: bit 0 where a word begins, bit 1 where a sentence does.

    Judged at the token's first character that is not a space, so that "Ġthe", "▁the" and "the" agree. A token that
    continues a character which an earlier token began is never a start. Where a sentence begins, so does a word.

    Args:
        text: what was tokenised.
        starts: integer [tokens], the first character of each token.
        ends: integer [tokens], one past its last character.
    """
    length = len(text)
    properties_C = _properties(text)
    space_C = np.append((properties_C & _SPACE) != 0, False)
    place_T = np.array(starts)
    later = np.flatnonzero(space_C[place_T])
    for _ in range(_USUAL_SPACES):
        place_T[later] += 1
        later = later[space_C[place_T[later]] & (place_T[later] < ends[later])]
        if not len(later):
            break
    else:  # a table of what comes after each character costs the text's length, however long a token's spaces are
        ink_C = np.where(space_C, length, np.arange(length + 1))
        place_T[later] = np.minimum.accumulate(ink_C[::-1])[::-1][place_T[later]]
    begun_T = np.zeros(len(place_T), dtype=np.int64)
    if len(place_T):
        begun_T[1:] = np.maximum.accumulate(ends)[:-1]
    fresh_T = (place_T < ends) & (place_T >= begun_T)
    bits_C = np.zeros(length + 1, dtype=np.uint8)
    bits_C[:length] = _word_starts(properties_C)
    bits_C[:length][sentence_starts(text)] *= np.uint8(WORD_BIT | SENTENCE_BIT)
    return np.where(fresh_T, bits_C[place_T], np.uint8(0))


def _word_starts(properties_C: np.ndarray) -> np.ndarray:
    kind_C = properties_C & _CLASS
    attached_C = _between(kind_C, "Extend", "Format")
    attached_C[:1] = False
    if attached_C.any():
        attached_C[1:] &= ~_between(kind_C[:-1], "CR", "Newline")  # WB4 does not reach over the end of a line
        bases = np.flatnonzero(~attached_C)
        starts_C = np.zeros(len(kind_C), dtype=bool)
        starts_C[bases] = ~_joined(kind_C[bases])
    else:
        starts_C = ~_joined(kind_C)
    emoji_C = ((properties_C[1:] & _PICTOGRAPH) != 0) & (kind_C[:-1] == _NUMBER["ZWJ"])
    starts_C[1:][emoji_C] = False  # WB3c
    starts_C[(properties_C & _SPACE) != 0] = False
    return starts_C


def _properties(text: str) -> np.ndarray:
    return _table()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")]


@cache
def _table() -> np.ndarray:
    everything = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    table = np.zeros(len(everything), dtype=np.uint8)
    for name, number in _NUMBER.items():
        if name != "Other":
            for match in regex.finditer(rf"\p{{Word_Break={name}}}+", everything):
                table[match.start() : match.end()] = number
    for flag, pattern in ((_PICTOGRAPH, r"\p{Extended_Pictographic}+"), (_SPACE, r"\p{White_Space}+")):
        for match in regex.finditer(pattern, everything):
            table[match.start() : match.end()] |= flag
    return table


def _between(kind_C: np.ndarray, first: str, last: str) -> np.ndarray:
    """Return bool [characters], True for the classes from the first to the last: a comparison, and no look-up each."""
    return (kind_C - np.uint8(_NUMBER[first])) <= _NUMBER[last] - _NUMBER[first]  # what is less wraps round


@cache
def _member(*names: str) -> np.ndarray:
    member = np.zeros(_CLASS + 1, dtype=bool)
    member[[_NUMBER[name] for name in names]] = True
    return member


@cache
def _pairs() -> np.ndarray:
    """Return bool [left, right]: no word boundary between the two, whatever is around them."""
    letters, numbers = ("ALetter", "Hebrew_Letter"), ("Numeric",)
    rules = (
        (("CR",), ("LF",)),  # WB3
        (letters + numbers, letters + numbers),  # WB5, WB8, WB9, WB10
        (("Hebrew_Letter",), ("Single_Quote",)),  # WB7a
        (("Katakana",), ("Katakana",)),  # WB13
        ((*letters, *numbers, "Katakana", "ExtendNumLet"), ("ExtendNumLet",)),  # WB13a
        (("ExtendNumLet",), (*letters, *numbers, "Katakana")),  # WB13b
    )
    table = np.zeros((_CLASS + 1, _CLASS + 1), dtype=bool)
    for left, right in rules:
        table |= _member(*left)[:, None] & _member(*right)[None, :]
    return table


def _joined(kind_I: np.ndarray) -> np.ndarray:
    """Return bool [characters]: True where a character belongs to the word of the one before it."""
    joined_I = np.zeros(len(kind_I), dtype=bool)
    # Row and column in one number: numpy takes by one index several times as fast as by two.
    joined_I[1:] = _pairs().ravel().take((kind_I[:-1].astype(np.uint16) << 5) | kind_I[1:])
    letters = ("ALetter", "Hebrew_Letter")
    between = (
        (letters, ("MidLetter", "MidNumLet", "Single_Quote")),  # WB6, WB7
        (("Hebrew_Letter",), ("Double_Quote",)),  # WB7b, WB7c
        (("Numeric",), ("MidNum", "MidNumLet", "Single_Quote")),  # WB11, WB12
    )
    middles = np.flatnonzero(_between(kind_I, "Single_Quote", "MidNum"))
    middles = middles[(middles > 0) & (middles < len(kind_I) - 1)]
    for around, middle in between:
        outer = _member(*around)
        hits = middles[_member(*middle)[kind_I[middles]] & outer[kind_I[middles - 1]] & outer[kind_I[middles + 1]]]
        joined_I[hits] = True
        joined_I[hits + 1] = True
    flags = np.flatnonzero(kind_I == _NUMBER["Regional_Indicator"])
    if len(flags):  # WB15, WB16: flags are pairs, counted from where their run begins
        first_F = np.append(True, np.diff(flags) > 1)
        place_F = np.arange(len(flags))
        place_F -= np.maximum.accumulate(np.where(first_F, place_F, 0))
        joined_I[flags[place_F % 2 == 1]] = True
    return joined_I


_STOPS, _FULL_WIDTH_STOPS = ".!?…؟۔", "。！？｡．।॥։።။។"
_CLOSING = r"[\"'”’»›)\]}」』）】》〉｣]*+"
_BLANK = r"[^\S\n]*+\n\s*+"
# One set of signs first, which is what the search skips to; possessive (`+`) so that a page of dots costs its length
# and not its square. `gap` is white space after which a sentence may go on: after a blank line none does.
_SENTENCE_END = re.compile(
    rf"[{_STOPS}{_FULL_WIDTH_STOPS}\n](?:"
    rf"(?<=[{_STOPS}])(?<![{_STOPS}][{_STOPS}])[{_STOPS}]*+(?P<closing>{_CLOSING})(?:[^\S\n]*+\n{_BLANK}|(?P<gap>\s++))"
    rf"|(?<=[{_FULL_WIDTH_STOPS}])[{_FULL_WIDTH_STOPS}]*+{_CLOSING}\s*+"
    rf"|(?<=\n){_BLANK})"
)
_LAST_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*\Z")
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "rev",
        "hon",
        "st",
        "sr",
        "jr",
        "gen",
        "col",
        "capt",
        "lt",
        "sgt",
        "gov",
        "sen",
        "rep",
        "vs",
        "etc",
        "cf",
        "al",
        "ca",
        "approx",
        "no",
        "nos",
        "vol",
        "vols",
        "ch",
        "chap",
        "sec",
        "fig",
        "figs",
        "eq",
        "eqs",
        "ref",
        "refs",
        "ed",
        "eds",
        "p",
        "pp",
        "tab",
        "dept",
        "inc",
        "ltd",
        "co",
        "corp",
        "bros",
        "est",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
        "z",
        "bzw",
        "usw",
        "nr",
        "str",
        "abb",
        "bd",
        "hrsg",
        "ggf",
        "inkl",
        "vgl",
        "ff",
    ]
)


def _goes_on(text: str, match: re.Match[str]) -> bool:
    (start, end), (closing, _), (gap, _) = match.regs  # all at once, for each asking takes its time
    if gap < 0:
        return False
    if text[end : end + 1].islower() and (gap > closing or not text[start:closing].strip(".…")):
        return True
    if closing - start > 1 or text[start] != ".":
        return False
    before = text[max(0, start - 24) : start]
    word = before[before.rfind(" ") + 1 :]
    if not word.isalpha():  # most are, and then need no search for where the word begins
        found = _LAST_WORD.search(before)
        if found is None:
            return False
        word = found[0]
    # "e.g", "U.S", or one capital letter, which is more often an initial than a sentence's last word.
    return "." in word or (len(word) == 1 and word.isupper()) or word.lower() in _ABBREVIATIONS
