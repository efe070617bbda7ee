"""A count model of a hidden word given the words beside it: what a masked model must beat."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from trivium.core.errors import ConfigError, DataError
from trivium.data.ngram import discounts_of

UNKNOWN = -1
"""Stands for a neighbour that is hidden too, or that lies outside of the document."""

_CHUNK = 2**20  # probabilities held at once: 8 MiB an array
_MAX_VOCABULARY = 2**20  # three ids make one int64


class _Table(NamedTuple):
    """Counts of words in contexts, discounted: row `context` is at `start[context] : start[context + 1]`."""

    start: np.ndarray  # int64 [contexts + 1]
    words: np.ndarray  # int64
    discounted: np.ndarray  # float64: (count - discount) / total of the context
    back_off: np.ndarray  # float64 [contexts]: the share that is left; 1 where the context was never seen


class NeighbourCounts:
    """Gives p(word | left, right) from counts, for hidden words with known or unknown neighbours.

    With both neighbours known, counts of (left, word, right) with modified Kneser-Ney discounts back off to the product
    p(word | left) p(word | right) / p(word), normalised: the two sides taken as independent given the word. As in
    Kneser-Ney, its factors count in how many different surroundings a pair occurs. With one neighbour known, counts of
    the pair back off to p(word); with none, p(word) is the word's frequency. The lowest order is mixed with the uniform
    distribution, so that no probability is zero. Over the vocabulary each sums to 1.
    """

    def __init__(self, vocabulary_size: int, words: np.ndarray, pairs: np.ndarray, triples: np.ndarray) -> None:
        size = vocabulary_size
        self.vocabulary_size = size
        self._frequency = _lowest(np.bincount(words, minlength=size))
        keys, counts = np.unique(pairs, return_counts=True)
        left, right = keys // size, keys % size
        self._after_left = _table(left, right, counts, size)
        order = np.lexsort((left, right))
        self._before_right = _table(right[order], left[order], counts[order], size)
        keys, counts = np.unique(triples, return_counts=True)
        outer, word = keys // size, keys % size
        self._outer, context = np.unique(outer, return_inverse=True)
        self._between = _table(context, word, counts, self._outer.size)
        self._kinds = _lowest(np.bincount(word, minlength=size))
        self._kinds_after = _pair_table(outer // size, word, size)
        self._kinds_before = _pair_table(outer % size, word, size)

    @classmethod
    def fit(cls, documents: Iterable[np.ndarray], *, vocabulary_size: int) -> "NeighbourCounts":
        """Count the words of documents and what stands beside them.

        Args:
            documents: integer ids, one array a document; documents never see each other.
            vocabulary_size: ids are less than this, which is at most 2**20.

        Raises:
            ConfigError: `vocabulary_size` is out of range.
            DataError: an id is out of range, or there is no text.
        """
        if not 1 <= vocabulary_size <= _MAX_VOCABULARY:
            raise ConfigError(f"`vocabulary_size` must be from 1 to {_MAX_VOCABULARY}: found {vocabulary_size}.")
        arrays = [np.asarray(document).reshape(-1) for document in documents]
        tokens = np.concatenate([np.zeros(0, dtype=np.int64), *arrays]).astype(np.int64)
        if tokens.size == 0:
            raise DataError("A count model needs text; found none.")
        _check(tokens, vocabulary_size, lowest=0)
        document = np.repeat(np.arange(len(arrays)), [array.size for array in arrays])
        pair = np.flatnonzero(document[1:] == document[:-1])
        triple = np.flatnonzero(document[2:] == document[:-2])
        pairs = tokens[pair] * vocabulary_size + tokens[pair + 1]
        outer = tokens[triple] * vocabulary_size + tokens[triple + 2]
        return cls(vocabulary_size, tokens, pairs, outer * vocabulary_size + tokens[triple + 1])

    def log2_probabilities(self, left: np.ndarray, word: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return log2 p(word | left, right), float64 [N].

        Args:
            left, right: ids of the neighbours [N]; `UNKNOWN` where there is none or it is hidden.
            word: ids of the hidden words [N].

        Raises:
            DataError: an id is out of range, or the lengths differ.
        """
        word = np.asarray(word, dtype=np.int64)
        _check(word, self.vocabulary_size, lowest=0)
        if word.shape != np.shape(left):
            raise DataError(f"`left` and `word` must be of one length: found {np.shape(left)} and {word.shape}.")
        result = np.empty(word.size)
        for places, row, probability in self._chunks(left, right):
            result[places] = np.log2(probability[row, word[places]])
        return result

    def predict(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the most probable word between each pair of neighbours, int64 [N]; see `log2_probabilities`."""
        result = np.empty(np.size(left), dtype=np.int64)
        for places, row, probability in self._chunks(left, right):
            result[places] = probability.argmax(axis=1)[row]
        return result

    def _chunks(self, left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield places, the row of each, and rows of p over the vocabulary, one row for each pair of neighbours."""
        left, right = np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)
        if left.shape != right.shape or left.ndim != 1:
            raise DataError(f"`left` and `right` must be of one length: found {left.shape} and {right.shape}.")
        for side in (left, right):
            _check(side, self.vocabulary_size, lowest=UNKNOWN)
        width = self.vocabulary_size + 1
        keys, row = np.unique((left + 1) * width + right + 1, return_inverse=True)
        places = np.argsort(row, kind="stable")
        rows = max(1, _CHUNK // self.vocabulary_size)
        for begin in range(0, keys.size, rows):
            chunk = keys[begin : begin + rows]
            low, high = np.searchsorted(row[places], (begin, begin + rows))
            mine = places[low:high]
            yield mine, row[mine] - begin, self._probabilities(chunk // width - 1, chunk % width - 1)

    def _probabilities(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return p over the vocabulary [n, V] for n pairs of neighbours."""
        both = (left >= 0) & (right >= 0)
        result = np.empty((left.size, self.vocabulary_size))
        result[both] = self._surrounded(left[both], right[both])
        only_left, only_right = (left >= 0) & (right < 0), (left < 0) & (right >= 0)
        result[only_left] = self._filled(self._after_left, left[only_left], self._kinds)
        result[only_right] = self._filled(self._before_right, right[only_right], self._kinds)
        result[(left < 0) & (right < 0)] = self._frequency
        return result

    def _surrounded(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        product = self._filled(self._kinds_after, left, self._kinds)
        product *= self._filled(self._kinds_before, right, self._kinds)
        product /= self._kinds
        product /= product.sum(axis=1, keepdims=True)
        outer = left * self.vocabulary_size + right
        context = np.searchsorted(self._outer, outer)
        context[context == self._outer.size] = 0
        seen = self._outer[context] == outer if self._outer.size else np.zeros(outer.size, dtype=bool)
        product[seen] = self._filled(self._between, context[seen], product[seen])
        return product

    def _filled(self, table: _Table, contexts: np.ndarray, below: np.ndarray) -> np.ndarray:
        """Return discounted + back-off * below, over the vocabulary [n, V]; `below` is [V] or [n, V]."""
        result = table.back_off[contexts][:, None] * below
        begin = table.start[contexts]
        lengths = table.start[contexts + 1] - begin
        rows = np.repeat(np.arange(contexts.size), lengths)
        # For each row the entries from its begin on: a running number less where the row starts in it.
        entries = np.arange(rows.size) - np.repeat(np.cumsum(lengths) - lengths - begin, lengths)
        result[rows, table.words[entries]] += table.discounted[entries]
        return result


def _lowest(counts: np.ndarray) -> np.ndarray:
    """Return probabilities [V] from counts [V], mixed with the uniform distribution."""
    taken = discounts_of(counts)[np.minimum(counts, 3)]
    total = counts.sum()
    if total == 0:
        return np.full(counts.size, 1.0 / counts.size)
    return np.asarray((counts - taken + taken.sum() / counts.size) / total)


def _table(contexts: np.ndarray, words: np.ndarray, counts: np.ndarray, num_contexts: int) -> _Table:
    """Return the discounted counts; the entries come ordered by context, one for each context and word."""
    taken = discounts_of(counts)[np.minimum(counts, 3)]
    total = np.bincount(contexts, weights=counts, minlength=num_contexts)
    left_over = np.bincount(contexts, weights=taken, minlength=num_contexts)
    back_off = np.divide(left_over, total, out=np.ones(num_contexts), where=total > 0)
    start = np.concatenate([[0], np.cumsum(np.bincount(contexts, minlength=num_contexts))])
    return _Table(start, words, (counts - taken) / total[contexts], back_off)


def _pair_table(contexts: np.ndarray, words: np.ndarray, size: int) -> _Table:
    """Return the table of how many distinct triples hold each context and word."""
    keys, counts = np.unique(contexts * size + words, return_counts=True)
    return _table(keys // size, keys % size, counts, size)


def _check(ids: np.ndarray, vocabulary_size: int, *, lowest: int) -> None:
    if ids.size and (ids.min() < lowest or ids.max() >= vocabulary_size):
        raise DataError(f"Ids must be from {lowest} to {vocabulary_size - 1}: found {ids.min()} to {ids.max()}.")
