"""How well embeddings find what belongs together."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from trivium.core.errors import DataError
from trivium.tasks.metrics.kept import require_ordered


class Retrieval:
    """Recall among the first and mean reciprocal rank, in memory that does not grow with the queries.

    Args:
        first: how many documents are looked at, for each recall that is wanted.
    """

    def __init__(self, first: Sequence[int] = (1, 5, 10)) -> None:
        self.first = tuple(first)
        self._recalls = np.zeros(len(self.first))
        self.first_ranks: Counter[int] = Counter()  # of queries by the rank of the first relevant document

    def add(self, scores_QS: np.ndarray, relevant_QS: np.ndarray) -> None:
        """Count queries.

        Of documents with equal scores those that are not relevant come first, so that equal embeddings find nothing.

        Args:
            scores_QS: how near each document is to each query, float [queries, documents], higher is nearer.
            relevant_QS: which documents should be found, bool [queries, documents].

        Raises:
            DataError: a query has nothing to find, or a score is not a number.
        """
        relevant_QS = np.asarray(relevant_QS, dtype=bool)
        wanted_Q = relevant_QS.sum(axis=1)
        if not wanted_Q.all():
            raise DataError(
                f"Each query needs a relevant document; query {int(np.argmin(wanted_Q))} of this batch has none: "
                "leave it out."
            )
        require_ordered(np.asarray(scores_QS))
        order_QS = np.lexsort((relevant_QS, -np.asarray(scores_QS)), axis=-1)
        found_QS = np.take_along_axis(relevant_QS, order_QS, axis=1)
        self._recalls += [float((found_QS[:, :first].sum(axis=1) / wanted_Q).sum()) for first in self.first]
        self.first_ranks.update((1 + found_QS.argmax(axis=1)).tolist())

    def merge(self, other: "Retrieval") -> None:
        """Count what another of the same recalls has counted."""
        self._recalls += other._recalls
        self.first_ranks.update(other.first_ranks)

    def metrics(self) -> dict[str, float]:
        """Return `recall@k`, the mean share of relevant documents among the first k, and `mrr` (the first one's)."""
        count = max(1, self.first_ranks.total())
        reciprocals = sum(number / rank for rank, number in sorted(self.first_ranks.items()))
        recalls = {
            f"recall@{first}": float(value / count) for first, value in zip(self.first, self._recalls, strict=True)
        }
        return recalls | {"mrr": reciprocals / count}
