"""The best sequence of labels, given how likely each is at each place and after each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trivium.model.chain import LabelChain

_NEVER = -1e9  # the score of what cannot be


class Chain(NamedTuple):
    """What labels score by their order, beside what each scores by itself."""

    after_CC: np.ndarray  # float64, of a label (column) after another (row)
    first_C: np.ndarray
    last_C: np.ndarray

    def plus(self, other: "Chain") -> "Chain":
        """Return the sums of the scores."""
        return Chain(*(own + more for own, more in zip(self, other, strict=True)))


def bio_chain(labels: Sequence[str]) -> Chain:
    """Return the chain of BIO tags: I goes on a span of its own label and stands nowhere else."""
    after_CC = np.zeros((len(labels), len(labels)))
    first_C = np.zeros(len(labels))
    for number, label in enumerate(labels):
        if label.startswith("I"):
            first_C[number] = _NEVER
            spans = {label, f"B{label[1:]}"}
            after_CC[[before not in spans for before in labels], number] = _NEVER
    return Chain(after_CC, first_C, np.zeros(len(labels)))


def learned_chain(chain: LabelChain) -> Chain:
    """Return what a trained chain says."""
    return Chain(
        *(each.detach().cpu().double().numpy() for each in (chain.after_CC, chain.first_C, chain.last_C)),
    )


def best_path(scores_AC: np.ndarray, chain: Chain) -> np.ndarray:
    """Return the labels of the highest score, int64 [A] (Viterbi 1967).

    Args:
        scores_AC: of each label at each place.
        chain: of labels by their order.
    """
    if not len(scores_AC):
        return np.zeros(0, dtype=np.int64)
    before_AC = np.zeros(scores_AC.shape, dtype=np.int64)
    best_C = chain.first_C + scores_AC[0]
    for place in range(1, len(scores_AC)):
        through_CC = best_C[:, None] + chain.after_CC
        before_AC[place] = through_CC.argmax(axis=0)
        best_C = through_CC.max(axis=0) + scores_AC[place]
    path_A = np.zeros(len(scores_AC), dtype=np.int64)
    path_A[-1] = (best_C + chain.last_C).argmax()
    for place in range(len(scores_AC) - 1, 0, -1):
        path_A[place - 1] = before_AC[place, path_A[place]]
    return path_A


def path_nats(labels_A: np.ndarray, scores_AC: np.ndarray, chain: Chain) -> float:
    """Return minus the logarithm of the probability of a sequence of labels among all there are."""
    if not len(labels_A):
        return 0.0
    right = float(chain.first_C[labels_A[0]] + chain.last_C[labels_A[-1]])
    right += float(
        scores_AC[np.arange(len(labels_A)), labels_A].sum() + chain.after_CC[labels_A[:-1], labels_A[1:]].sum()
    )
    forward_C = chain.first_C + scores_AC[0]
    for scores_C in scores_AC[1:]:
        forward_C = np.logaddexp.reduce(forward_C[:, None] + chain.after_CC, axis=0) + scores_C
    return float(np.logaddexp.reduce(forward_C + chain.last_C)) - right
