"""What wraps a loss: something that predicts, made of another that predicts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.core.batch import Batch, Term
from trivium.core.random import Key
from trivium.objectives.base import Learned, Predicted, Predicts


@dataclass(frozen=True)
class Regularised(ABC):
    """A loss with something beside it; what is wrapped does not know.

    Args:
        learned: what is wrapped.
    """

    learned: Predicts

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the counts of the wrapped terms and of those beside them."""

    @abstractmethod
    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the wrapped logits and all terms."""

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return all terms."""
        return self.predicted(network, batch, key).terms


@dataclass(frozen=True)
class OnlyLoss:
    """Something with a loss in the place of something that predicts; its logits are empty."""

    learned: Learned

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return what it counts."""
        return self.learned.counts(batch)

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        """Return its terms."""
        return self.learned.loss(network, batch, key)

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return its terms, and no logits."""
        return Predicted(torch.empty(0), self.loss(network, batch, key))


def num_labels(batch: Batch) -> float:
    """Return the count of every term that sums over the labelled places."""
    return float(batch.weights_BN.sum())


def divergences(one_NV: Tensor, other_NV: Tensor) -> Tensor:
    """Return KL(one || other) + KL(other || one) of each place, nats [N], given the logits of both."""
    log_one_NV, log_other_NV = one_NV.log_softmax(-1), other_NV.log_softmax(-1)
    return ((log_one_NV.exp() - log_other_NV.exp()) * (log_one_NV - log_other_NV)).sum(-1)
