"""A conditional random field over words, shapes and affixes: what a model that labels words must beat."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import regex

from trivium.core.errors import MissingExtra
from trivium.data.labelled import UNSCORED, LabelExample

CRF = "CRF of words, shapes and affixes"
_ITERATIONS = 50
_PENALTIES = {"c1": 0.05, "c2": 0.01}  # chosen on CoNLL-2003's validation sentences
_LONGEST_AFFIX = 4
_REACH = 2  # words on either side whose form and shape are seen
_MOST_WORK = 200_000_000  # words times what each costs (below): about a minute on one core
_WORK_OF_FEATURES = 200  # of a word, beside the square of the number of labels
_HAN = regex.compile(r"\p{Han}")


class Tagged(NamedTuple):
    """The labels that are given to the scored words of each example, and what was learned from, if not from all."""

    labels: list[list[str]]
    remark: str


def crf_labels(train: Sequence[LabelExample], test: Sequence[LabelExample]) -> Tagged:
    """Return the labels that a linear chain gives (Lafferty et al. 2001), trained by L-BFGS for 50 iterations.

    Words that are not scored are seen by their neighbours and are no part of the chain. Of very many words or labels
    only some examples are learned from, at equal distances, so that it takes about a minute.

    Args:
        train: what it learns from.
        test: what it labels.

    Raises:
        MissingExtra: python-crfsuite is not installed.
    """
    try:
        from pycrfsuite import Tagger, Trainer
    except ImportError:
        raise MissingExtra("python-crfsuite", "baselines", "the baseline of a conditional random field") from None
    chosen = _affordable(train)
    # The library ends the process where it has nothing to learn from.
    scored = [example for example in chosen if _is_scored(example)] or [next(filter(_is_scored, train))]
    trainer = Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({**_PENALTIES, "max_iterations": _ITERATIONS, "feature.possible_transitions": True})
    for example in scored:
        trainer.append(scored_features(example), [label for label in example.labels if label != UNSCORED])
    with TemporaryDirectory() as folder:
        file = str(Path(folder) / "model")
        trainer.train(file)
        tagger = Tagger()
        tagger.open(file)
        found = [tagger.tag(scored_features(example)) for example in test]
        tagger.close()
    few = len(chosen) < len(train)
    return Tagged(found, f"{len(chosen):,} of {len(train):,} examples" if few else "")


def _is_scored(example: LabelExample) -> bool:
    return any(label != UNSCORED for label in example.labels)


def scored_features(example: LabelExample) -> list[list[str]]:
    """Return the features of each word that is scored."""
    every = word_features(example.tokens)
    return [features for features, label in zip(every, example.labels, strict=True) if label != UNSCORED]


def word_features(words: Sequence[str]) -> list[list[str]]:
    """Return what each word is known by: itself, its shape, its affixes, and the words and shapes beside it."""
    own = [list(_own(word)) for word in words]
    edge = ["", ""]
    features = []
    for place in range(len(words)):
        here = ["always", *own[place]]
        for distance in range(-_REACH, _REACH + 1):
            other = place + distance
            if distance and 0 <= other < len(words):
                here += [f"{distance} {feature}" for feature in own[other][:2]]
            elif distance:
                here.append(f"{distance} edge")
        before, after = (own[n] if 0 <= n < len(words) else edge for n in (place - 1, place + 1))
        here += [f"{before[0]} | {own[place][0]}", f"{own[place][0]} | {after[0]}"]
        here.append(f"{before[1]} | {own[place][1]} | {after[1]}")
        features.append(here)
    return features


def shape(word: str) -> str:
    """Return a word's shape: letters as `X` or `x`, digits as `d`, a run of one kind as one sign.

    "XmlParser2" has the shape "XxXxd", "_max_size" has "_x_x".
    """
    signs = ("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word)
    return "".join(sign for sign, _ in groupby(signs))


def _own(word: str) -> Iterator[str]:
    """Yield what a word is known by whatever stands beside it: first its form, then its shape."""
    small = word.lower()
    yield f"form {small}"
    yield f"shape {shape(word)}"
    yield f"as it stands {word}"
    for size in range(1, _LONGEST_AFFIX + 1):
        yield f"begins {small[:size]}"
        yield f"ends {small[-size:]}"
    if word.isdigit():
        yield "digits"
    if _HAN.search(word):
        yield "Han"


def _affordable(examples: Sequence[LabelExample]) -> Sequence[LabelExample]:
    """Return examples at equal distances, as many as can be learned from in about a minute."""
    labels = {label for example in examples for label in example.labels}
    work = sum(len(example.tokens) for example in examples) * (len(labels) ** 2 + _WORK_OF_FEATURES)
    if work <= _MOST_WORK:
        return examples
    count = max(1, len(examples) * _MOST_WORK // work)
    return [examples[int(place)] for place in np.linspace(0, len(examples) - 1, count)]
