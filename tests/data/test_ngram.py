"""The n-gram model against the formula written out with dictionaries, and against a source whose entropy is known."""

import secrets
from collections import Counter, defaultdict

import numpy as np
import pytest

from trivium.core.errors import ConfigError, DataError
from trivium.data.ngram import KneserNey


def random_documents(rng, *, vocabulary_size, number, longest):
    """Documents with skewed words; some are empty or only a beginning."""
    weights = rng.dirichlet(np.full(vocabulary_size, 0.3))
    lengths = [0, 1, *rng.integers(2, longest + 1, size=number)]
    return [rng.choice(vocabulary_size, size=length, p=weights).astype(np.int32) for length in lengths]


class BruteForce:
    """Interpolated modified Kneser-Ney, one n-gram at a time."""

    def __init__(self, documents, order, vocabulary_size):
        self.order, self.vocabulary_size = order, vocabulary_size
        self.counts = [self.count(documents, length, top=length == order) for length in range(1, order + 1)]
        self.discounts = [self.discount(counts) for counts in self.counts]

    def count(self, documents, length, top):
        occurrences, at_start, lefts = Counter(), Counter(), defaultdict(set)
        for document in documents:
            tokens = document.tolist()
            for end in range(length, len(tokens) + 1):
                gram = tuple(tokens[end - length : end])
                if end == 1:
                    continue  # the first token is never predicted
                occurrences[gram] += 1
                if end == length:
                    at_start[gram] += 1
                else:
                    lefts[gram].add(tokens[end - length - 1])
        if top:
            return dict(occurrences)
        return {gram: len(lefts[gram]) + at_start[gram] for gram in occurrences}

    def discount(self, counts):
        n = [sum(1 for count in counts.values() if count == number) for number in range(5)]
        result = [0.0, 0.5, 1.0, 1.5]
        if n[1] and n[2] and n[3]:
            share = n[1] / (n[1] + 2 * n[2])
            for number in (1, 2, 3):
                exact = number - (number + 1) * share * n[number + 1] / n[number]
                if 0 < exact <= number:
                    result[number] = exact
        return result

    def probability(self, history, word, length):
        if length == 0:
            return 1 / self.vocabulary_size
        if len(history) < length - 1:
            return self.probability(history, word, length - 1)
        context = tuple(history[len(history) - length + 1 :])
        discounts = self.discounts[length - 1]
        followers = {gram: count for gram, count in self.counts[length - 1].items() if gram[:-1] == context}
        below = self.probability(history, word, length - 1)
        total = sum(followers.values())
        if total == 0:
            return below
        count = followers.get((*context, word), 0)
        left_over = sum(discounts[min(each, 3)] for each in followers.values())
        return (count - discounts[min(count, 3)] + left_over * below) / total


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_the_formula(order):
    compared = 0
    for _ in range(4):
        rng = np.random.default_rng(secrets.randbits(64))
        vocabulary_size = int(rng.integers(2, 12))
        documents = random_documents(rng, vocabulary_size=vocabulary_size, number=8, longest=25)
        others = random_documents(rng, vocabulary_size=vocabulary_size, number=4, longest=12)
        model = KneserNey.fit(iter(documents), order=order, vocabulary_size=vocabulary_size)
        for lower in {1, order}:
            brute = BruteForce(documents, lower, vocabulary_size)
            together = model.log2_probabilities_of(others, order=lower)
            assert len(together) == len(others)
            for document, log2 in zip(others, together, strict=True):
                tokens = document.tolist()
                expected = [
                    np.log2(brute.probability(tokens[:place], tokens[place], lower)) for place in range(1, len(tokens))
                ]
                np.testing.assert_allclose(log2, expected, rtol=0, atol=1e-9)
                np.testing.assert_array_equal(model.log2_probabilities(document, order=lower), log2)
                compared += len(expected)
    assert compared > 50


def test_probabilities_sum_to_one():
    rng = np.random.default_rng(secrets.randbits(64))
    documents = random_documents(rng, vocabulary_size=30, number=60, longest=40)
    model = KneserNey.fit(documents, order=4, vocabulary_size=40)  # ten words are never seen
    checked = 0
    for length in (1, 2, 3, 6):
        for _ in range(5):
            seen = documents[int(rng.integers(2, len(documents)))]
            history = rng.integers(0, 40, size=length) if rng.random() < 0.5 else np.resize(seen, length)
            endings = [np.append(history, word) for word in range(40)]
            for order in (1, 2, 3, 4):
                log2 = [each[-1] for each in model.log2_probabilities_of(endings, order=order)]
                assert np.isfinite(log2).all()
                assert np.exp2(log2).sum() == pytest.approx(1, abs=1e-12)
                checked += 1
    assert checked == 80
    assert np.exp2(model.unigram_log2).sum() == pytest.approx(1, abs=1e-12)


def test_reaches_the_entropy_of_a_markov_chain():
    rng = np.random.default_rng(secrets.randbits(64))
    size, length = 12, 40_000
    transitions = rng.dirichlet(np.full(size, 0.5), size=(size, size))  # of the second order
    cumulative = transitions.cumsum(axis=2)

    def draw(number):
        tokens, bits = [0, 0], []
        for uniform in rng.random(number):
            row = cumulative[tokens[-2], tokens[-1]]
            word = min(int(np.searchsorted(row, uniform)), size - 1)
            bits.append(-np.log2(transitions[tokens[-2], tokens[-1], word]))
            tokens.append(word)
        return np.array(tokens), float(np.mean(bits))

    train, _ = draw(length)
    held_out, true_bits = draw(length)
    model = KneserNey.fit([train], order=4, vocabulary_size=size)
    by_order = [model.bits_per_token([held_out], order=order) for order in (1, 2, 3, 4)]
    assert by_order[0] > by_order[1] > by_order[2]
    assert true_bits * 0.999 < by_order[2] < true_bits * 1.02
    assert by_order[3] < true_bits * 1.05


def test_documents_never_see_each_other():
    rng = np.random.default_rng(secrets.randbits(64))
    documents = random_documents(rng, vocabulary_size=6, number=10, longest=10)
    model = KneserNey.fit(documents, order=3, vocabulary_size=6)
    order = rng.permutation(len(documents))
    again = KneserNey.fit([documents[number] for number in order], order=3, vocabulary_size=6)
    compared = 0
    for document in documents:
        np.testing.assert_allclose(
            model.log2_probabilities(document), again.log2_probabilities(document), rtol=0, atol=1e-12
        )
        compared += 1
    assert compared == len(documents)
    pair = model.log2_probabilities_of([np.array([0, 1]), np.array([2, 3])])
    np.testing.assert_array_equal(pair[1], model.log2_probabilities(np.array([2, 3])))


def test_unigram_is_the_frequency_of_what_is_predicted():
    documents = [np.array([0, *([1] * 500), *([2] * 300), *([3] * 200)])]
    model = KneserNey.fit(documents, order=2, vocabulary_size=5)
    np.testing.assert_allclose(np.exp2(model.unigram_log2)[1:4], [0.5, 0.3, 0.2], atol=0.01)
    assert np.exp2(model.unigram_log2)[0] < 0.01
    expected = -(0.5 * np.log2(0.5) + 0.3 * np.log2(0.3) + 0.2 * np.log2(0.2))
    assert model.bits_per_token(documents, order=1) == pytest.approx(expected, rel=0.02)


def test_documents_shorter_than_the_order():
    model = KneserNey.fit([np.array([0, 1]), np.array([0, 2])], order=5, vocabulary_size=4)
    log2 = model.log2_probabilities(np.array([0, 1, 2, 3, 0, 1, 2]))
    assert log2.shape == (6,)
    assert np.isfinite(log2).all()
    assert model.log2_probabilities_of([]) == []
    assert model.log2_probabilities(np.array([], dtype=np.int64)).shape == (0,)


def test_mistakes_are_clear_errors():
    good = [np.array([0, 1, 2])]
    with pytest.raises(ConfigError, match="must be 1 or more: found 0 and 4"):
        KneserNey.fit(good, order=0, vocabulary_size=4)
    with pytest.raises(DataError, match="two tokens or more"):
        KneserNey.fit([np.array([0]), np.array([], dtype=np.int64)], order=2, vocabulary_size=4)
    with pytest.raises(DataError, match="from 0 to 1: found 0 to 2"):
        KneserNey.fit(good, order=2, vocabulary_size=2)
    model = KneserNey.fit(good, order=2, vocabulary_size=4)
    with pytest.raises(ConfigError, match="from 1 to the model's 2: found 3"):
        model.bits_per_token(good, order=3)
    with pytest.raises(DataError, match="from 0 to 3: found -1"):
        model.log2_probabilities(np.array([0, -1]))
    with pytest.raises(DataError, match="two tokens or more"):
        model.bits_per_token([np.array([0])])
