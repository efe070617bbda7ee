"""How near numbers are to the right ones: errors and Pearson's correlation from sums, Spearman's from what is kept."""

import math

import numpy as np

from trivium.tasks.metrics.kept import Kept, require_ordered


class Regression:
    """Mean errors and Pearson's correlation, in memory that does not grow with the examples.

    Means and moments are updated batch by batch (Chan et al. 1983), so that numbers far from zero lose no digits.
    """

    def __init__(self) -> None:
        self.count = 0
        self.squares = self.distances = 0.0
        self.means_2 = np.zeros(2)
        self.moments_22 = np.zeros((2, 2))

    def add(self, right_A: np.ndarray, given_A: np.ndarray) -> None:
        """Count right and given numbers, both [answers]."""
        pairs_2A = np.stack([np.asarray(right_A, dtype=np.float64), np.asarray(given_A, dtype=np.float64)])
        if not pairs_2A.shape[1]:
            return
        difference_A = pairs_2A[1] - pairs_2A[0]
        means_2 = pairs_2A.mean(axis=1)
        centred_2A = pairs_2A - means_2[:, None]
        self.squares += float(difference_A @ difference_A)
        self.distances += float(np.abs(difference_A).sum())
        self._add_moments(pairs_2A.shape[1], means_2, centred_2A @ centred_2A.T)

    def merge(self, other: "Regression") -> None:
        """Count what another has counted."""
        self.squares += other.squares
        self.distances += other.distances
        if other.count:
            self._add_moments(other.count, other.means_2, other.moments_22)

    def metrics(self) -> dict[str, float]:
        """Return `pearson` (0 where either side is constant), `mse` and `mae`."""
        spread = math.sqrt(self.moments_22[0, 0]) * math.sqrt(self.moments_22[1, 1])
        return {
            "pearson": float(self.moments_22[0, 1] / spread) if spread else 0.0,
            "mse": self.squares / max(1, self.count),
            "mae": self.distances / max(1, self.count),
        }

    def _add_moments(self, count: int, means_2: np.ndarray, moments_22: np.ndarray) -> None:
        apart_2 = means_2 - self.means_2
        together = self.count + count
        self.moments_22 = self.moments_22 + moments_22 + np.outer(apart_2, apart_2) * (self.count * count / together)
        self.means_2 = self.means_2 + apart_2 * (count / together)
        self.count = together


class RankCorrelation:
    """Spearman's correlation; 16 bytes an example are kept (float64, since rounding would make ties)."""

    def __init__(self) -> None:
        self._pairs = Kept(2, np.float64)

    def add(self, right_A: np.ndarray, given_A: np.ndarray) -> None:
        """Keep right and given numbers, both [answers].

        Raises:
            DataError: there is one that is not a number.
        """
        pairs_A2 = np.stack([np.asarray(right_A, dtype=np.float64), np.asarray(given_A, dtype=np.float64)], axis=1)
        require_ordered(pairs_A2)
        self._pairs.add(pairs_A2)

    def merge(self, other: "RankCorrelation") -> None:
        """Keep what another has kept."""
        self._pairs.merge(other._pairs)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the right and the given numbers, float64 [answers] each."""
        return self._pairs.column(0), self._pairs.column(1)

    def metrics(self) -> dict[str, float]:
        """Return `spearman`: Pearson's correlation of the ranks; equal numbers share the mean of theirs."""
        ranks = Regression()
        ranks.add(*(average_ranks(self._pairs.column(side)) for side in (0, 1)))
        return {"spearman": ranks.metrics()["pearson"]}


def average_ranks(values_A: np.ndarray) -> np.ndarray:
    """Return the rank of each number from 1, float64; equal numbers get the mean of their ranks."""
    order_A = np.argsort(values_A)
    ordered_A = values_A[order_A]
    begins = np.flatnonzero(np.append(True, ordered_A[1:] != ordered_A[:-1])) if len(values_A) else order_A
    ends = np.append(begins[1:], len(values_A)) if len(values_A) else order_A
    ranks_A = np.empty(len(values_A))
    ranks_A[order_A] = np.repeat((begins + ends + 1) / 2, ends - begins)
    return ranks_A
