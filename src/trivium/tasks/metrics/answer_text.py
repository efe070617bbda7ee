"""Scores of answers that are pieces of text: SQuAD's for languages with spaces, CMRC 2018's for Chinese."""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

_KINDS = ("answerable", "unanswerable")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII_SIGNS = str.maketrans("", "", string.punctuation)
_CHINESE_SIGNS = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"  # those that CMRC 2018 does not look at
_UNSEEN = str.maketrans("", "", _CHINESE_SIGNS)
_HAN = re.compile("([\u4e00-\u9fa5])")
# The Penn Treebank's words: signs stand alone, and so do "n't", "'s" and their like; a comma does unless a digit
# follows, a full stop only at the end of the run and where there are several.
_SIGNS = r";@#$%&?!()\[\]{}<>«»“”„‘\"‒-―"
_LAST_STOP = r"\.(?=(?:[\])}>'»\s]|(?<![\s(\[{<])\")*\Z)"  # before what closes
_CLITIC = rf"(?:'(?:s|m|d|ll|re|ve)?|n't)(?=[\s,{_SIGNS}]|\Z|\.\.|{_LAST_STOP})"
_TREEBANK = re.compile(
    rf"{_CLITIC}|\.\.+|(?:(?!{_CLITIC}|{_LAST_STOP})(?:[^\s,.'{_SIGNS}]|,(?=\d)|(?<!\.)\.(?!\.)|(?<=\w)'))+|\S"
)
_CONTRACTED = {"cannot": ["can", "not"], "gimme": ["gim", "me"], "gonna": ["gon", "na"], "gotta": ["got", "ta"]}
_OPENING = frozenset(" ([{<")  # a quotation mark after one of these opens


class AnswerScore(NamedTuple):
    """How good one answer is, each 0 to 1."""

    exact_match: float
    f1: float


class Answers:
    """Means over questions, in memory that does not grow with them.

    Args:
        score: what an answer is worth, given the right ones: `squad_score` or `cmrc_score`.
    """

    def __init__(self, score: "Callable[[str, Sequence[str]], AnswerScore]") -> None:
        self._score = score
        self._totals = {kind: np.zeros(3) for kind in _KINDS}  # questions, exact matches, F1

    def add(self, given: str, right: Sequence[str]) -> AnswerScore:
        """Count one answer and return its scores.

        Args:
            given: the answer, "" for "there is none".
            right: all answers that are right; none or only empty ones where the question has no answer.
        """
        score = self._score(given, right)
        self._totals[_KINDS[0] if any(right) else _KINDS[1]] += (1, *score)
        return score

    def merge(self, other: "Answers") -> None:
        """Count what another has counted."""
        for kind in _KINDS:
            self._totals[kind] += other._totals[kind]

    def metrics(self) -> dict[str, float]:
        """Return `exact_match` and `f1`; the same of questions with and without an answer where there are both."""
        means = _means("", sum(self._totals.values(), np.zeros(3)))
        if all(totals[0] for totals in self._totals.values()):
            for kind in _KINDS:
                means |= _means(f"{kind}_", self._totals[kind])
        return means


def squad_score(given: str, right: Sequence[str]) -> AnswerScore:
    """Return exact match and word F1, each the best over the right answers (Rajpurkar et al. 2016, 2018).

    As SQuAD 2.0's scorer has it: right answers without a word are not looked at; where none is left the right answer is
    the empty one, which scores 1 and everything else 0.
    """
    words = normal_answer(given).split()
    rights = [normal_answer(answer).split() for answer in right]
    rights = [answer for answer in rights if answer] or [[]]
    return AnswerScore(float(words in rights), max(_word_f1(words, answer) for answer in rights))


def normal_answer(text: str) -> str:
    """Return a text in small letters without ASCII punctuation, English articles and superfluous white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_ASCII_SIGNS)).split())


def cmrc_score(given: str, right: Sequence[str]) -> AnswerScore:
    """Return exact match and F1, each the best over the right answers, by the rules of CMRC 2018 (Cui et al. 2019).

    Exact match is that of characters without punctuation and in small letters. F1 is that of the longest common run of
    units that are side by side, where a unit is a Chinese character or a word of what stands between them. Questions
    without an answer, which CMRC 2018 does not have, score 1 for the empty answer and 0 for any other.
    """
    if not any(right):
        return AnswerScore(*(2 * [float(not given.strip())]))
    plain = _plain(given)
    units = cmrc_units(given)
    return AnswerScore(
        float(any(_plain(answer) == plain for answer in right)),
        max(_run_f1(units, cmrc_units(answer)) for answer in right),
    )


def cmrc_units(text: str) -> list[str]:
    """Return a text's Chinese characters, and the words (by the Penn Treebank's rules) of what stands between them."""
    return [unit for part in _HAN.split(_plain(text)) for unit in _treebank_words(part)]


def _treebank_words(run: str) -> Iterator[str]:
    for match in _TREEBANK.finditer(run):
        if match[0] != '"':
            yield from _CONTRACTED.get(match[0], [match[0]])
        elif run[: match.start()] in ("", '"') or run[match.start() - 1] in _OPENING:
            yield "``"  # at the beginning two of them open
        else:
            yield "''"


def _means(prefix: str, totals: np.ndarray) -> dict[str, float]:
    count, exact, words = (float(total) for total in totals)
    return {f"{prefix}exact_match": exact / max(1.0, count), f"{prefix}f1": words / max(1.0, count)}


def _plain(text: str) -> str:
    return text.lower().strip().translate(_UNSEEN)


def _word_f1(given: Sequence[str], right: Sequence[str]) -> float:
    if not given or not right:
        return float(given == right)
    return 2 * (Counter(given) & Counter(right)).total() / (len(given) + len(right))


def _run_f1(given: Sequence[str], right: Sequence[str]) -> float:
    longest, before = 0, [0] * (len(right) + 1)
    for unit in given:
        here = [0] * (len(right) + 1)
        for place, other in enumerate(right):
            if unit == other:
                here[place + 1] = before[place] + 1
        longest, before = max(longest, *here), here
    return 2 * longest / (len(given) + len(right)) if longest else 0.0
