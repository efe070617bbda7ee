"""What is written without a network: the beginning of the source, the usual target, that of the nearest source."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from trivium.core.errors import MissingExtra
from trivium.data.labelled import PairExample
from trivium.data.words import sentence_starts, word_starts
from trivium.tasks.metrics.text_units import split_words
from trivium.tasks.write.files import TurnExample
from trivium.tasks.write.task import Write
from trivium.tasks.write.written import text_scores

LEAD, FIRST_WORDS = "first sentence", "first words"
MOST_FREQUENT, NEAREST = "most frequent target", "target of the nearest source by tf-idf"
_COMPARED = 256  # sources at a time


def write_baselines(
    task: Write, train: Sequence[PairExample], test: Sequence[PairExample]
) -> dict[str, dict[str, float | str]]:
    """Return the scores of each baseline on `test`; those that copy the source are left out of dialogues.

    The first sentence of the source; its first words, as many as a training target has on average; the most frequent
    training target; and the target of the training source whose TF-IDF has the highest cosine.
    """

    def scored(given: Sequence[str]) -> dict[str, float | str]:
        return {**text_scores(given, [example.targets for example in test], task.settings.bleu or "13a")}

    rows: dict[str, dict[str, float | str]] = {}
    sources = [example.source for example in test]
    if not isinstance(test[0], TurnExample):
        mean = np.mean([word_starts(example.targets[0]).sum() for example in train])
        rows[LEAD] = scored([first_sentence(source) for source in sources])
        rows[FIRST_WORDS] = scored([first_words(source, max(1, round(float(mean)))) for source in sources])
    rows[MOST_FREQUENT] = scored([_commonest(train)] * len(test))
    try:
        rows[NEAREST] = scored([train[place].targets[0] for place in nearest(train, sources)])
    except MissingExtra as missing:
        rows[NEAREST] = {"missing": str(missing)}
    return rows


def first_sentence(text: str) -> str:
    """Return the first sentence of a text, in any script."""
    return _until(text, sentence_starts, 1)


def first_words(text: str, count: int) -> str:
    """Return the first words of a text and the signs between them; a Han character is a word."""
    return _until(text, word_starts, count)


def nearest(train: Sequence[PairExample], sources: Sequence[str]) -> Iterator[int]:
    """Yield for each source the place of the training source nearest to it; raise MissingExtra without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise MissingExtra("scikit-learn", "baselines", "the TF-IDF baseline") from None
    vectoriser = TfidfVectorizer(analyzer=_grams, sublinear_tf=True)
    known = vectoriser.fit_transform([example.source for example in train]).T.tocsc()
    for start in range(0, len(sources), _COMPARED):
        # Rows are of length 1, so that their products are cosines.
        cosines = vectoriser.transform(sources[start : start + _COMPARED]) @ known
        yield from (int(place) for place in np.asarray(cosines.argmax(axis=1)).ravel())


def _until(text: str, starts: Callable[[str], np.ndarray], count: int) -> str:
    places = np.flatnonzero(starts(text))
    return (text if len(places) <= count else text[: int(places[count])]).strip()


def _grams(text: str) -> list[str]:
    words = [word.lower() for word in split_words(text)]
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def _commonest(train: Sequence[PairExample]) -> str:
    """Return the most frequent target; of several the first in the alphabet."""
    counts = Counter(example.targets[0] for example in train)
    return min(counts, key=lambda target: (-counts[target], target))
