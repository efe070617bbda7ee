"""An interpolated Kneser-Ney n-gram model over token documents: what a decoder must beat."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from trivium.core.errors import ConfigError, DataError


class _Level(NamedTuple):
    """The distinct k-grams of one order, sorted by context and then by word."""

    keys: np.ndarray  # int64: id of the context (a (k-1)-gram) * V + word; a k-gram's id is its rank here
    raw: np.ndarray  # int32: how often it occurs
    adjusted: np.ndarray  # int32: in how many ways it goes on to the left


class _Weights(NamedTuple):
    """What one order adds to the order below it, made from its counts."""

    discounted: np.ndarray  # float64, a k-gram: (count - discount) / total of its context
    back_off: np.ndarray  # float64, a context: the share left to the order below; 1 where it was never seen


class KneserNey:
    """Gives the probability of each token after those before it in its document.

    Interpolated modified Kneser-Ney (Chen and Goodman 1998): at each order p(w | h) = (c(hw) - D(c(hw))) / c(h) +
    back-off(h) p(w | h'), with h' one token shorter than h, three discounts D an order, and the lowest order mixed with
    the uniform distribution over the vocabulary, so that no probability is zero. c is the number of occurrences at the
    highest order, and below it the number of distinct tokens before; where an n-gram begins a document, so that
    nothing can stand before it, its occurrences there count instead.

    Memory is about 60 bytes a distinct n-gram of each order; `fit` needs besides about 60 a token.
    """

    def __init__(self, vocabulary_size: int, levels: Sequence[_Level]) -> None:
        self.vocabulary_size = vocabulary_size
        self._levels = tuple(levels)
        self._weights = tuple(self._weigh(number, level.adjusted) for number, level in enumerate(self._levels, start=1))

    @classmethod
    def fit(cls, documents: Iterable[np.ndarray], *, order: int = 5, vocabulary_size: int) -> "KneserNey":
        """Count the n-grams of documents.

        Args:
            documents: integer ids, one array a document; the first token of each is context only (its beginning).
            order: length of the longest n-gram, 1 or more.
            vocabulary_size: ids are less than this.

        Raises:
            ConfigError: `order` or `vocabulary_size` is not positive.
            DataError: an id is out of range, or nothing is to be predicted.
        """
        if order < 1 or vocabulary_size < 1:
            raise ConfigError(f"`order` and `vocabulary_size` must be 1 or more: found {order} and {vocabulary_size}.")
        tokens, place, _ = _join(documents, vocabulary_size)
        predicted = tokens[place > 0]
        if predicted.size == 0:
            raise DataError("An n-gram model needs a document of two tokens or more; found none.")
        words = np.arange(vocabulary_size, dtype=np.int64)
        raw = np.bincount(predicted, minlength=vocabulary_size).astype(np.int32)
        levels = [_Level(words, raw, raw)]
        grams = tokens  # id of the k-gram that ends at each place
        for length in range(2, order + 1):
            ends = np.flatnonzero(place >= length - 1)
            keys, ids, some = _rank(grams[ends - 1] * vocabulary_size + tokens[ends])
            below = levels[-1]
            adjusted = np.bincount(grams[ends[some]], minlength=below.keys.size)
            if length > 2:
                adjusted += np.bincount(grams[place == length - 2], minlength=below.keys.size)
            levels[-1] = below._replace(adjusted=adjusted.astype(np.int32))
            raw = np.bincount(ids, minlength=keys.size).astype(np.int32)
            levels.append(_Level(keys, raw, raw))
            grams = np.full(tokens.size, -1, dtype=np.int64)
            grams[ends] = ids
        return cls(vocabulary_size, levels)

    @property
    def order(self) -> int:
        """Length of the longest n-gram."""
        return len(self._levels)

    @property
    def unigram_log2(self) -> np.ndarray:
        """log2 p of each of the V tokens by their frequency alone, float64."""
        return np.log2(self._mix([np.arange(self.vocabulary_size)], self._weights_up_to(1)))

    def log2_probabilities(self, tokens: np.ndarray, *, order: int | None = None) -> np.ndarray:
        """Return log2 p of `tokens[1:]`, float64, each given what precedes it in this one document."""
        return self.log2_probabilities_of([tokens], order=order)[0]

    def log2_probabilities_of(self, documents: Sequence[np.ndarray], *, order: int | None = None) -> list[np.ndarray]:
        """Return log2 p of all tokens but the first of each document, float64.

        Args:
            documents: integer ids, one array a document.
            order: look back at most `order - 1` tokens, from 1 to the model's order; None = the model's order.

        Raises:
            ConfigError: `order` is out of range.
            DataError: an id is out of range.
        """
        weights = self._weights_up_to(self.order if order is None else order)
        if not documents:
            return []
        tokens, place, lengths = _join(documents, self.vocabulary_size)
        ends = np.flatnonzero(place > 0)
        found = [tokens[ends]]
        grams = tokens
        for level in self._levels[1 : len(weights)]:
            # -1: this k-gram does not begin in the document, or was not seen; nor then was any longer one.
            context = np.where(place > 0, np.roll(grams, 1), -1)
            grams = _find(level.keys, np.where(context < 0, -1, context * self.vocabulary_size + tokens))
            found += [context[ends], grams[ends]]
        log2 = np.log2(self._mix(found, weights))
        return np.split(log2, np.cumsum(np.maximum(lengths - 1, 0))[:-1])

    def bits_per_token(self, documents: Sequence[np.ndarray], *, order: int | None = None) -> float:
        """Return the mean of -log2 p over all tokens but the first of each document.

        Raises:
            DataError: there is nothing to predict.
        """
        log2 = self.log2_probabilities_of(documents, order=order)
        count = sum(each.size for each in log2)
        if count == 0:
            raise DataError("Bits per token need a document of two tokens or more; found none.")
        return -sum(float(each.sum()) for each in log2) / count

    def _weights_up_to(self, order: int) -> list[_Weights]:
        """A shorter n-gram is a model of its own: its highest order counts occurrences."""
        if not 1 <= order <= self.order:
            raise ConfigError(f"`order` must be from 1 to the model's {self.order}: found {order}.")
        top = self._weights[order - 1] if order == self.order else self._weigh(order, self._levels[order - 1].raw)
        return [*self._weights[: order - 1], top]

    def _weigh(self, length: int, counts: np.ndarray) -> _Weights:
        level = self._levels[length - 1]
        num_contexts = 1 if length == 1 else self._levels[length - 2].keys.size
        context = np.zeros(counts.size, dtype=np.int64) if length == 1 else level.keys // self.vocabulary_size
        discount = discounts_of(counts)[np.minimum(counts, 3)]
        total = np.bincount(context, weights=counts, minlength=num_contexts)
        taken = np.bincount(context, weights=discount, minlength=num_contexts)
        seen = total > 0
        back_off = np.divide(taken, total, out=np.ones(num_contexts), where=seen)
        total[~seen] = 1.0  # every count of such a context is zero
        return _Weights((counts - discount) / total[context], back_off)

    def _mix(self, found: Sequence[np.ndarray], weights: Sequence[_Weights]) -> np.ndarray:
        """Return p from the places of the words, then of context and k-gram for each order above (-1 = not seen)."""
        lowest = weights[0]
        probability = lowest.discounted[found[0]] + lowest.back_off[0] / self.vocabulary_size
        for number, level in enumerate(weights[1:]):
            context, gram = found[1 + 2 * number], found[2 + 2 * number]
            probability = _at(level.discounted, gram, 0.0) + _at(level.back_off, context, 1.0) * probability
        return probability


def discounts_of(counts: np.ndarray) -> np.ndarray:
    """Return what is taken from a count of 0, 1, 2 and 3 or more (Chen and Goodman 1998).

    With n_i the number of n-grams counted i times and Y = n_1 / (n_1 + 2 n_2): D_i = i - (i + 1) Y n_(i+1) / n_i.
    Where counts of counts are missing or give a discount outside of (0, i], 1/2, 1 and 3/2 stand in, as in KenLM.
    """
    one, two, three, four = (float(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    usual = np.array([0.0, 0.5, 1.0, 1.5])
    if one == 0 or two == 0 or three == 0:
        return usual
    share = one / (one + 2.0 * two)
    exact = np.array([0.0, 1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three])
    fits = (exact > 0) & (exact <= np.arange(4))
    return np.where(fits, exact, usual)


def _join(documents: Iterable[np.ndarray], vocabulary_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all tokens in one piece (int64), the place of each in its document, and the documents' lengths."""
    arrays = [np.asarray(document).reshape(-1) for document in documents]
    lengths = np.array([array.size for array in arrays], dtype=np.int64)
    tokens = np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, dtype=np.int64)
    if tokens.size and (tokens.min() < 0 or tokens.max() >= vocabulary_size):
        raise DataError(f"Token ids must be from 0 to {vocabulary_size - 1}: found {tokens.min()} to {tokens.max()}.")
    begin = np.cumsum(lengths) - lengths
    return tokens, np.arange(tokens.size) - np.repeat(begin, lengths), lengths


def _rank(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct keys in order, the rank of each key among them, and where one of each stands."""
    order = np.argsort(keys)
    ordered = keys[order]
    new = np.ones(keys.size, dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    ids = np.empty(keys.size, dtype=np.int64)
    ids[order] = np.cumsum(new) - 1
    return ordered[new], ids, order[new]


def _at(values: np.ndarray, places: np.ndarray, absent: float) -> np.ndarray:
    """Return the values at places, and `absent` where the place is -1."""
    return np.where(places >= 0, np.append(values, absent)[places], absent)


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the place of each wanted key in the sorted keys, or -1."""
    if keys.size == 0:
        return np.full(wanted.size, -1, dtype=np.int64)
    order = np.argsort(wanted)  # looking up in order keeps to the processor's cache
    place = np.empty(wanted.size, dtype=np.int64)
    place[order] = np.searchsorted(keys, wanted[order])
    place[place == keys.size] = 0
    return np.where(keys[place] == wanted, place, -1)
