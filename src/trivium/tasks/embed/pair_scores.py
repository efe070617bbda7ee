"""How well any way of comparing texts finds what belongs together: vectors, or words that are counted."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from trivium.tasks.metrics.bootstrap import mean
from trivium.tasks.metrics.likely import Likely, counted_interval, rank_interval
from trivium.tasks.metrics.regression import RankCorrelation, Regression, average_ranks
from trivium.tasks.metrics.retrieval import Retrieval
from trivium.tasks.scores import MOST_MISTAKES, Mistake, WorstMistakes

_BLOCK = 1 << 22  # numbers of a block of scores: what bounds memory


class Nearness(Protocol):
    """Says how near texts are to each other; higher is nearer."""

    def pairs(self, first_A: np.ndarray, second_A: np.ndarray) -> np.ndarray:
        """Return the score of each pair of texts, float [pairs]."""
        ...

    def block(self, queries_Q: np.ndarray, documents_S: np.ndarray) -> np.ndarray:
        """Return the score of each of some texts with each of others, float [queries, documents]."""
        ...


class Vectors:
    """Cosines of vectors of length 1; rows of a NumPy array, or of a sparse matrix of SciPy's."""

    def __init__(self, unit_SD: Any) -> None:
        self._unit_SD = unit_SD

    def pairs(self, first_A: np.ndarray, second_A: np.ndarray) -> np.ndarray:
        """Return the cosine of each pair."""
        first_AD, second_AD = self._unit_SD[first_A], self._unit_SD[second_A]
        if isinstance(first_AD, np.ndarray):
            return np.asarray((first_AD * second_AD).sum(axis=1), dtype=np.float64)
        return np.asarray(first_AD.multiply(second_AD).sum(axis=1), dtype=np.float64).reshape(-1)

    def block(self, queries_Q: np.ndarray, documents_S: np.ndarray) -> np.ndarray:
        """Return the cosine of each with each."""
        product = self._unit_SD[queries_Q] @ self._unit_SD[documents_S].T
        return np.asarray(product if isinstance(product, np.ndarray) else product.todense(), dtype=np.float64)


class WordOverlap:
    """The share of words that two texts have in common: their number over the root of how many each has.

    Args:
        words: of each text.
    """

    def __init__(self, words: Sequence[frozenset[str]]) -> None:
        self._words = words

    def pairs(self, first_A: np.ndarray, second_A: np.ndarray) -> np.ndarray:
        """Return the share of each pair."""
        both = [(self._words[a], self._words[b]) for a, b in zip(first_A, second_A, strict=True)]
        return np.array([len(a & b) / max(1.0, (len(a) * len(b)) ** 0.5) for a, b in both])

    def block(self, queries_Q: np.ndarray, documents_S: np.ndarray) -> np.ndarray:
        """Return the share of each with each."""
        holders: dict[str, list[int]] = defaultdict(list)
        for column, document in enumerate(documents_S):
            for word in self._words[document]:
                holders[word].append(column)
        common_QS = np.zeros((len(queries_Q), len(documents_S)))
        for row, query in enumerate(queries_Q):
            for word in self._words[query]:
                common_QS[row, holders.get(word, [])] += 1
        sizes_Q, sizes_S = (np.array([len(self._words[text]) for text in texts]) for texts in (queries_Q, documents_S))
        return common_QS / np.maximum(1.0, np.sqrt(np.outer(sizes_Q, sizes_S)))


class PairNumbers(NamedTuple):
    """Pairs of texts by number; the scores are not a number where they are not known."""

    first_A: np.ndarray  # int64
    second_A: np.ndarray  # int64
    scores_A: np.ndarray  # float64

    @classmethod
    def of(cls, gold: Sequence[np.ndarray]) -> "PairNumbers":
        """Return the pairs of the gold of `tasks.embed.task`."""
        pairs_A3 = np.concatenate([np.zeros((0, 3)), *gold])
        return cls(pairs_A3[:, 0].astype(np.int64), pairs_A3[:, 1].astype(np.int64), pairs_A3[:, 2])


class Measured(NamedTuple):
    """How good a way of comparing texts is."""

    metrics: dict[str, float]
    likely: Likely  # of the first of them that a model is chosen by: `spearman`, `mrr`
    mistakes: tuple[Mistake, ...]  # the pairs that are farthest from where they should be, the worst first


def correlations(pairs: PairNumbers, nearness: Nearness) -> Measured:
    """Return how the scores of pairs go with the right ones: `spearman` and `pearson`."""
    given_A = nearness.pairs(pairs.first_A, pairs.second_A)
    ranks, numbers = RankCorrelation(), Regression()
    ranks.add(pairs.scores_A, given_A)
    numbers.add(pairs.scores_A, given_A)
    metrics = ranks.metrics() | {"pearson": numbers.metrics()["pearson"]}
    return Measured(metrics, partial(rank_interval, ranks), _misplaced(pairs.scores_A, given_A))


def retrieval_of(pairs: PairNumbers, nearness: Nearness) -> Measured:
    """Return how well each first text finds its second ones among all second texts: `recall@1`, `recall@10`, `mrr`."""
    retrieval, worst = Retrieval((1, 10)), WorstMistakes()
    for block in blocks(pairs, nearness):
        retrieval.add(block.scores_QS, block.right_QS)
        for mistake in _found_late(block):
            worst.add(mistake)
    counts: dict[tuple[float, ...], int] = {(1.0 / rank,): n for rank, n in retrieval.first_ranks.items()}
    return Measured(retrieval.metrics(), partial(counted_interval, counts, mean), worst.worst_first())


def _misplaced(right_A: np.ndarray, given_A: np.ndarray) -> tuple[Mistake, ...]:
    """Return the pairs whose ranks by the right and by the given scores, counted from the highest, differ most."""
    right_rank_A, given_rank_A = average_ranks(-right_A), average_ranks(-given_A)
    error_A = np.abs(right_rank_A - given_rank_A)
    worst = WorstMistakes()
    for pair in np.argsort(-error_A, kind="stable")[:MOST_MISTAKES].tolist():
        if error_A[pair] > 0:
            right = f"{right_A[pair]:.4g}, rank {right_rank_A[pair]:g}"
            given = f"{given_A[pair]:.4g}, rank {given_rank_A[pair]:g}"
            worst.add(Mistake(None, pair, 0, right, given, error=float(error_A[pair])))
    return worst.worst_first()


def _found_late(block: "Block") -> Iterator[Mistake]:
    """Yield the pairs whose second text is not the first to be found, other right ones left out; of ties it is last."""
    wrong_QS = np.where(block.right_QS, -np.inf, block.scores_QS)
    for pair, row, column in zip(block.pair_A.tolist(), block.row_A, block.column_A, strict=True):
        before = int(np.count_nonzero(wrong_QS[row] >= block.scores_QS[row, column]))
        if before:
            yield Mistake(None, pair, 0, "rank 1", f"rank {1 + before}", error=float(before))


class Block(NamedTuple):
    """Some first texts against all second ones."""

    scores_QS: np.ndarray  # minus infinity for what is neither right nor wrong: itself, a partner the other way round
    right_QS: np.ndarray  # bool
    pair_A: np.ndarray  # int64, the numbers of the pairs of these first texts
    row_A: np.ndarray  # int64, of each of them
    column_A: np.ndarray  # int64


def blocks(pairs: PairNumbers, nearness: Nearness) -> Iterator[Block]:
    """Yield all first texts, each once, against all second texts, each once, some at a time."""
    queries_Q, documents_S = np.unique(pairs.first_A), np.unique(pairs.second_A)
    row_A = np.searchsorted(queries_Q, pairs.first_A)
    column_A = np.searchsorted(documents_S, pairs.second_A)
    order_A = np.argsort(row_A, kind="stable")
    size = max(1, _BLOCK // max(1, len(documents_S)))
    for start in range(0, len(queries_Q), size):
        some_Q = queries_Q[start : start + size]
        here_A = order_A[slice(*np.searchsorted(row_A[order_A], (start, start + len(some_Q))))]
        right_QS = np.zeros((len(some_Q), len(documents_S)), dtype=bool)
        right_QS[row_A[here_A] - start, column_A[here_A]] = True
        scores_QS = nearness.block(some_Q, documents_S)
        left_out_QS = some_Q[:, None] == documents_S
        backwards_A = np.isin(pairs.second_A, some_Q) & np.isin(pairs.first_A, documents_S)
        asked_A, answer_A = pairs.second_A[backwards_A], pairs.first_A[backwards_A]
        left_out_QS[np.searchsorted(some_Q, asked_A), np.searchsorted(documents_S, answer_A)] = True
        scores_QS[left_out_QS & ~right_QS] = -np.inf
        yield Block(scores_QS, right_QS, here_A, row_A[here_A] - start, column_A[here_A])


def partner_loss(pairs: PairNumbers, nearness: Nearness, temperature: float) -> float:
    """Return the mean cross-entropy of naming a pair's other text among all that are not right, nats, both ways."""
    nats = 0.0
    for side in (pairs, pairs._replace(first_A=pairs.second_A, second_A=pairs.first_A)):
        for block in blocks(side, nearness):
            logits_QS = block.scores_QS / temperature
            wrong_QS = np.where(block.right_QS, -np.inf, logits_QS)
            rest_Q = np.logaddexp.reduce(wrong_QS, axis=1)
            row_A, column_A = np.nonzero(block.right_QS)
            nats += float(np.logaddexp(0.0, rest_Q[row_A] - logits_QS[row_A, column_A]).mean()) * len(row_A)
    unique = len({*zip(pairs.first_A.tolist(), pairs.second_A.tolist(), strict=True)})
    return nats / max(1, 2 * unique)
