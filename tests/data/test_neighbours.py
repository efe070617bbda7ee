"""The count model of hidden words against the formula written out with dictionaries."""

import secrets
from collections import Counter

import numpy as np
import pytest

from trivium.core.errors import ConfigError, DataError
from trivium.data.neighbours import UNKNOWN, NeighbourCounts


def random_documents(rng, *, vocabulary_size, number=12, longest=20):
    weights = rng.dirichlet(np.full(vocabulary_size, 0.4))
    lengths = [0, 1, 2, *rng.integers(3, longest, size=number)]
    return [rng.choice(vocabulary_size, size=length, p=weights).astype(np.uint16) for length in lengths]


def discounts(counts):
    n = [sum(1 for count in counts.values() if count == number) for number in range(5)]
    result = [0.0, 0.5, 1.0, 1.5]
    if n[1] and n[2] and n[3]:
        share = n[1] / (n[1] + 2 * n[2])
        for number in (1, 2, 3):
            exact = number - (number + 1) * share * n[number + 1] / n[number]
            if 0 < exact <= number:
                result[number] = exact
    return result


def smoothed(counts, context, below):
    """Return [p(word | context)] from counts of (context, word), backing off to `below`."""
    taken = discounts(counts)
    mine = {word: count for (where, word), count in counts.items() if where == context}
    total = sum(mine.values())
    if not total:
        return below
    left_over = sum(taken[min(count, 3)] for count in mine.values())
    return [
        (mine.get(word, 0) - taken[min(mine.get(word, 0), 3)] + left_over * below[word]) / total
        for word in range(len(below))
    ]


class BruteForce:
    def __init__(self, documents, size):
        self.uniform = [1 / size] * size
        self.words, self.after, self.before, self.between = Counter(), Counter(), Counter(), Counter()
        for document in documents:
            tokens = document.tolist()
            for place, word in enumerate(tokens):
                left = tokens[place - 1] if place else None
                right = tokens[place + 1] if place + 1 < len(tokens) else None
                self.words["", word] += 1
                if left is not None:
                    self.after[left, word] += 1
                if right is not None:
                    self.before[right, word] += 1
                if left is not None and right is not None:
                    self.between[(left, right), word] += 1
        kinds = Counter(("", word) for _, word in self.between)
        self.kinds = smoothed(kinds, "", self.uniform)
        self.kinds_after = Counter((left, word) for (left, _), word in self.between)
        self.kinds_before = Counter((right, word) for (_, right), word in self.between)

    def probabilities(self, left, right):
        if left == UNKNOWN and right == UNKNOWN:
            return smoothed(self.words, "", self.uniform)
        if right == UNKNOWN:
            return smoothed(self.after, left, self.kinds)
        if left == UNKNOWN:
            return smoothed(self.before, right, self.kinds)
        from_left, from_right = (
            smoothed(self.kinds_after, left, self.kinds),
            smoothed(self.kinds_before, right, self.kinds),
        )
        product = [a * b / c for a, b, c in zip(from_left, from_right, self.kinds, strict=True)]
        return smoothed(self.between, (left, right), [each / sum(product) for each in product])


def test_equals_the_formula_and_sums_to_one():
    compared = 0
    for _ in range(5):
        rng = np.random.default_rng(secrets.randbits(64))
        size = int(rng.integers(2, 9))
        documents = random_documents(rng, vocabulary_size=size)
        model = NeighbourCounts.fit(iter(documents), vocabulary_size=size + 1)  # one word is never seen
        brute = BruteForce(documents, size + 1)
        for left in range(UNKNOWN, size + 1):
            for right in range(UNKNOWN, size + 1):
                words = np.arange(size + 1)
                log2 = model.log2_probabilities(np.full(size + 1, left), words, np.full(size + 1, right))
                expected = brute.probabilities(left, right)
                np.testing.assert_allclose(np.exp2(log2), expected, rtol=1e-9)
                assert np.exp2(log2).sum() == pytest.approx(1, abs=1e-12)
                predicted = model.predict(np.array([left]), np.array([right]))[0]
                assert expected[predicted] == pytest.approx(max(expected), rel=1e-12)
                compared += 1
    assert compared >= 5 * 16


def test_many_places_at_once_equal_each_alone(monkeypatch):
    monkeypatch.setattr("trivium.data.neighbours._CHUNK", 100)  # several chunks
    rng = np.random.default_rng(secrets.randbits(64))
    model = NeighbourCounts.fit(random_documents(rng, vocabulary_size=20, number=40), vocabulary_size=20)
    left, right = rng.integers(UNKNOWN, 20, size=(2, 200))
    word = rng.integers(0, 20, size=200)
    together, predicted = model.log2_probabilities(left, word, right), model.predict(left, right)
    compared = 0
    for place in range(200):
        one = slice(place, place + 1)
        assert model.log2_probabilities(left[one], word[one], right[one])[0] == pytest.approx(together[place])
        assert model.predict(left[one], right[one])[0] == predicted[place]
        compared += 1
    assert compared == 200
    assert model.log2_probabilities(left[:0], word[:0], right[:0]).shape == (0,)


def test_both_sides_tell_more_than_one():
    rng = np.random.default_rng(secrets.randbits(64))
    size = 15
    step = rng.dirichlet(np.full(size, 0.1), size=size).cumsum(axis=1)

    def draw(length):
        tokens = [0]
        for uniform in rng.random(length):
            tokens.append(min(int(np.searchsorted(step[tokens[-1]], uniform)), size - 1))
        return np.array(tokens)

    model = NeighbourCounts.fit([draw(8000)], vocabulary_size=size)
    text = draw(4000)
    left, word, right = text[:-2], text[1:-1], text[2:]
    hidden = np.full(word.size, UNKNOWN)
    bits = [
        -model.log2_probabilities(a, word, b).mean()
        for a, b in ((left, right), (left, hidden), (hidden, right), (hidden, hidden))
    ]
    assert bits[0] < min(bits[1], bits[2])
    assert max(bits[1], bits[2]) < bits[3]
    assert (model.predict(left, right) == word).mean() > (model.predict(left, hidden) == word).mean()


def test_mistakes_are_clear_errors():
    with pytest.raises(DataError, match="needs text"):
        NeighbourCounts.fit([], vocabulary_size=4)
    with pytest.raises(ConfigError, match="from 1 to 1048576: found 0"):
        NeighbourCounts.fit([np.array([0])], vocabulary_size=0)
    with pytest.raises(DataError, match="from 0 to 3: found 0 to 4"):
        NeighbourCounts.fit([np.array([0, 4])], vocabulary_size=4)
    model = NeighbourCounts.fit([np.array([0, 1])], vocabulary_size=4)
    with pytest.raises(DataError, match="from -1 to 3: found -2"):
        model.predict(np.array([-2]), np.array([0]))
    with pytest.raises(DataError, match="of one length"):
        model.predict(np.array([1, 1]), np.array([0]))
    with pytest.raises(DataError, match="of one length"):
        model.log2_probabilities(np.array([1]), np.array([1, 2]), np.array([0]))
