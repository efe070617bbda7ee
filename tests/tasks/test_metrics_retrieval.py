"""What embeddings find, by brute force."""

import numpy as np
import pytest

from trivium.core.errors import DataError
from trivium.tasks.metrics import OneVersusRest, RankCorrelation, Retrieval, RocArea


@pytest.mark.parametrize("seed", range(10))
def test_recall_and_reciprocal_rank_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, documents = int(rng.integers(2, 30)), int(rng.integers(2, 25))
    scores = rng.normal(size=(queries, documents)).round(int(rng.integers(0, 3)))  # with ties
    relevant = rng.random((queries, documents)) < 0.2
    relevant[np.arange(queries), rng.integers(0, documents, queries)] = True
    halves = Retrieval((1, 3, 50)), Retrieval((1, 3, 50))
    halves[0].add(scores[:1], relevant[:1])
    halves[1].add(scores[1:], relevant[1:])
    halves[0].merge(halves[1])
    recalls: dict[int, list[float]] = {1: [], 3: [], 50: []}
    ranks = []
    for query in range(queries):
        # The worst order that the scores allow.
        order = sorted(range(documents), key=lambda d: (-scores[query, d], relevant[query, d]))
        found = [bool(relevant[query, document]) for document in order]
        ranks.append(1 / (1 + found.index(True)))
        for first, values in recalls.items():
            values.append(sum(found[:first]) / sum(found))
    wanted = {f"recall@{first}": np.mean(values) for first, values in recalls.items()} | {"mrr": np.mean(ranks)}
    assert halves[0].metrics() == pytest.approx(wanted, abs=1e-12)
    assert halves[0].metrics()["recall@50"] == 1.0


def test_embeddings_that_are_all_equal_find_nothing() -> None:
    retrieval = Retrieval((1, 4))
    assert retrieval.metrics() == {"recall@1": 0.0, "recall@4": 0.0, "mrr": 0.0}
    retrieval.add(np.ones((5, 5)), np.eye(5, dtype=bool))
    assert retrieval.metrics() == pytest.approx({"recall@1": 0.0, "recall@4": 0.0, "mrr": 0.2})


def test_a_query_without_a_relevant_document_is_refused() -> None:
    with pytest.raises(DataError, match="query 1 of this batch has none"):
        Retrieval().add(np.ones((2, 2)), np.array([[True, False], [False, False]]))


def test_scores_that_are_not_numbers_are_refused() -> None:
    scores = np.array([[0.0, 1.0], [np.nan, 0.0]])
    adds = (
        lambda: Retrieval().add(scores, np.eye(2, dtype=bool)),
        lambda: RocArea().add(scores[:, 0], np.array([True, False])),
        lambda: OneVersusRest(2).add(scores, np.array([1, 0])),
        lambda: RankCorrelation().add(scores[:, 0], scores[:, 1]),
    )
    for add in adds:
        with pytest.raises(DataError, match="row 1 has NaN"):
            add()
