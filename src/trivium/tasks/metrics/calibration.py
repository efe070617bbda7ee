"""Whether probabilities mean what they say, and one temperature that makes them mean it."""

from typing import NamedTuple

import numpy as np

_BINS = 15
_MAX_TEMPERATURE = 100.0
_HALVINGS = 50  # of a range of 9.2: to 1e-14
_LOWEST = -700.0  # a log-probability of 0 would be infinitely wrong at every temperature; exp(-700) is still a number


class Calibration:
    """Expected calibration error, Brier score and log loss, in memory that does not grow with the examples."""

    def __init__(self) -> None:
        self.counts, self.hits = np.zeros((2, _BINS), dtype=np.int64)
        self.confidence = np.zeros(_BINS)
        self.brier = self.nats = 0.0

    def add(self, log_probabilities_AC: np.ndarray, right_A: np.ndarray) -> None:
        """Count answers.

        Args:
            log_probabilities_AC: the logarithm of each class's probability, float [answers, classes].
            right_A: the right classes, integer [answers].
        """
        log_probabilities_AC = np.asarray(log_probabilities_AC, dtype=np.float64)
        right_A = np.asarray(right_A, dtype=np.int64)
        probabilities_AC = np.exp(log_probabilities_AC)
        given_A = probabilities_AC.argmax(axis=1)
        confidence_A = probabilities_AC[np.arange(len(right_A)), given_A]
        # What is not a number is in the lowest bin, and makes a score that is none.
        bin_A = np.clip(np.ceil(np.nan_to_num(confidence_A) * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
        self.counts += np.bincount(bin_A, minlength=_BINS)
        self.hits += np.bincount(bin_A[given_A == right_A], minlength=_BINS)
        self.confidence += np.bincount(bin_A, weights=confidence_A, minlength=_BINS)
        self.nats -= float(log_probabilities_AC[np.arange(len(right_A)), right_A].sum())
        probabilities_AC[np.arange(len(right_A)), right_A] -= 1.0
        self.brier += float((probabilities_AC**2).sum())

    def merge(self, other: "Calibration") -> None:
        """Count what another has counted."""
        self.counts += other.counts
        self.hits += other.hits
        self.confidence += other.confidence
        self.brier += other.brier
        self.nats += other.nats

    def metrics(self) -> dict[str, float]:
        """Return `ece`, `brier` and `nll`; all 0 when there are no answers.

        `ece` (Guo et al. 2017, section 2): 15 bins of equal width, closed above, of the probability of the class that
        is given; the mean distance between that probability and the share that is right. `brier` (Brier 1950): the sum
        over classes of squared errors, 0 to 2, a mean over answers. `nll`: nats an answer.
        """
        count = max(1, int(self.counts.sum()))
        return {
            "ece": float(np.abs(self.hits - self.confidence).sum() / count),
            "brier": self.brier / count,
            "nll": self.nats / count,
        }

    def bins(self) -> dict[str, list[float]]:
        """Return what a picture of it shows: of each bin, answers, right ones, and the sum of their probabilities."""
        return {"counts": self.counts.tolist(), "hits": self.hits.tolist(), "confidence": self.confidence.tolist()}


class Temperature(NamedTuple):
    """A temperature fitted to answers, and what it does to them."""

    value: float  # logits are divided by it: above 1 the network was too sure
    before: dict[str, float]  # `Calibration.metrics` of the answers as they were
    after: dict[str, float]


def fit_temperature(log_probabilities_AC: np.ndarray, right_A: np.ndarray, *, prior: float = 0.0) -> Temperature:
    """Return the temperature with the lowest log loss on validation answers (Guo et al. 2017, section 4.2).

    The loss is convex in 1 / temperature, so its slope is bisected: there is nothing to tune and no other minimum.

    `Differs from Guo et al.:` with a prior, it is as if so many answers more had been seen whose right class was drawn
    by lot (as Platt 1999 smooths two classes). The loss is still convex. Without a prior, answers that are all right
    make a network perfectly sure of everything, however few they are.

    Args:
        log_probabilities_AC: log-probabilities or logits, float [answers, classes].
        right_A: the right classes, integer [answers].
        prior: how many answers.

    Returns:
        A temperature within 0.01 and 100: without a prior, answers that are all right, or no better than chance, have
        no best one.
    """
    logits_AC = np.maximum(with_temperature(log_probabilities_AC, 1.0), _LOWEST)
    right_A = np.asarray(right_A, dtype=np.int64)
    value = 1.0
    if len(right_A):
        share = prior / (prior + len(right_A))
        wanted = (1.0 - share) * float(logits_AC[np.arange(len(right_A)), right_A].mean())
        wanted += share * float(logits_AC.mean())
        if _expected(logits_AC, 1.0) != wanted:
            value = _bisected(logits_AC, wanted)
    return Temperature(value, _measured(logits_AC, right_A, 1.0), _measured(logits_AC, right_A, value))


def with_temperature(log_probabilities_AC: np.ndarray, temperature: float) -> np.ndarray:
    """Return log-probabilities divided by a temperature and normalised again, float64 [answers, classes]."""
    scaled_AC = np.asarray(log_probabilities_AC, dtype=np.float64) / temperature
    scaled_AC = scaled_AC - scaled_AC.max(axis=1, keepdims=True, initial=-np.inf)
    normalised_AC: np.ndarray = scaled_AC - np.log(np.exp(scaled_AC).sum(axis=1, keepdims=True))
    return normalised_AC


def _bisected(logits_AC: np.ndarray, wanted: float) -> float:
    """Return the temperature at which the logits have this mean, as the network sees them: the loss's slope is 0."""
    high = float(np.log(_MAX_TEMPERATURE))  # of 1 / temperature, as logarithms
    low = -high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _expected(logits_AC, float(np.exp(middle))) > wanted:
            high = middle
        else:
            low = middle
    return float(np.exp(-(low + high) / 2))


def _expected(logits_AC: np.ndarray, inverse: float) -> float:
    """Return the mean over answers of what the logits are expected to be at 1 / temperature; it only grows with it."""
    probabilities_AC = np.exp(with_temperature(logits_AC, 1.0 / inverse))
    return float((probabilities_AC * logits_AC).sum(axis=1).mean())


def _measured(logits_AC: np.ndarray, right_A: np.ndarray, temperature: float) -> dict[str, float]:
    calibration = Calibration()
    calibration.add(with_temperature(logits_AC, temperature), right_A)
    return calibration.metrics()
