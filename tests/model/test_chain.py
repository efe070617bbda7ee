"""The chain over labels against every sequence there is."""

from itertools import pairwise, product

import numpy as np
import torch

from trivium.model.chain import LabelChain
from trivium.tasks.words.viterbi import Chain, best_path, bio_chain, learned_chain, path_nats


def drawn_chain(num_labels: int) -> LabelChain:
    chain = LabelChain(num_labels=num_labels).double()
    for parameter in chain.parameters():
        torch.nn.init.normal_(parameter)
    return chain


def scores_of_all(scores_AC: np.ndarray, chain: Chain) -> dict[tuple[int, ...], float]:
    """Return the score of every sequence of labels, added up one by one."""
    found = {}
    for path in product(range(scores_AC.shape[1]), repeat=len(scores_AC)):
        score = chain.first_C[path[0]] + chain.last_C[path[-1]]
        score += sum(scores_AC[place, label] for place, label in enumerate(path))
        found[path] = score + sum(chain.after_CC[a, b] for a, b in pairwise(path))
    return found


def test_packed_sequences_have_the_probabilities_of_each_among_all_sequences() -> None:
    torch.manual_seed(0)
    chain, labels = drawn_chain(3), 3
    # Two rows of sequences of 3 and 2, and of 4 places; the first row has one place that is not used.
    lengths, places = ((3, 2), (4,)), 6
    logits_BNC = torch.randn(2, places, labels, dtype=torch.float64)
    labels_BN = torch.randint(labels, (2, places))
    goes_on_BN, used_BN = (torch.zeros(2, places, dtype=torch.bool) for _ in range(2))
    expected = 0.0
    for row, sizes in enumerate(lengths):
        begin = 0
        for size in sizes:
            here = slice(begin, begin + size)
            used_BN[row, here], goes_on_BN[row, begin + 1 : begin + size] = True, True
            every = scores_of_all(logits_BNC[row, here].numpy(), learned_chain(chain))
            right = every[tuple(labels_BN[row, here].tolist())]
            expected += float(np.logaddexp.reduce(list(every.values()))) - right
            begin += size
    nats = chain.nats(logits_BNC, labels_BN, goes_on_BN, used_BN)
    np.testing.assert_allclose(nats.item(), expected, rtol=1e-12)
    nats.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in chain.parameters())


def test_the_best_path_and_its_probability_are_those_of_all_paths() -> None:
    rng = np.random.default_rng(1)
    checked = 0
    for length in (1, 2, 5):
        for _ in range(5):
            scores_AC = rng.normal(size=(length, 3))
            chain = Chain(rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3))
            every = scores_of_all(scores_AC, chain)
            best = best_path(scores_AC, chain)
            assert tuple(best) == max(every, key=lambda path: every[path])
            nats = path_nats(best, scores_AC, chain)
            np.testing.assert_allclose(nats, np.logaddexp.reduce(list(every.values())) - every[tuple(best)], rtol=1e-12)
            checked += 1
    assert checked == 15
    assert len(best_path(np.zeros((0, 3)), chain)) == 0 and path_nats(np.zeros(0, int), np.zeros((0, 3)), chain) == 0.0


def test_tags_go_on_spans_of_their_own_label_only() -> None:
    labels = ("O", "B-a", "I-a", "B-b", "I-b")
    rng = np.random.default_rng(2)
    checked = 0
    for _ in range(50):
        path = [labels[number] for number in best_path(3 * rng.normal(size=(6, 5)), bio_chain(labels))]
        for before, tag in pairwise(["O", *path]):
            if tag.startswith("I"):
                assert before[1:] == tag[1:]
                checked += 1
    assert checked > 10
