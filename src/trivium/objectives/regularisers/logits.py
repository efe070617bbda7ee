"""What is asked of the logits alone: smoothed labels, and a softmax whose sum stays near 1."""

from dataclasses import dataclass

from torch import nn

from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.objectives.base import Predicted, labelled
from trivium.objectives.regularisers.base import Regularised, num_labels
from trivium.objectives.regularisers.config import LabelSmoothingConfig, ZLossConfig

SMOOTHING, Z_LOSS = "label_smoothing", "z_loss"


@dataclass(frozen=True)
class LabelSmoothing(Regularised):
    """Cross-entropy with labels that are mixed with the uniform distribution (Szegedy et al. 2016, section 7).

    Two terms: the cross-entropy of the labels as it was, of weight 1 - share, and that of the uniform distribution.
    """

    config: LabelSmoothingConfig

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the wrapped counts and the number of labels."""
        return self.learned.counts(batch) | {SMOOTHING: num_labels(batch)}

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the wrapped logits, and terms of which the first weighs less."""
        logits_NV, (first, *others) = self.learned.predicted(network, batch, key)
        # The mean of -log p over all classes; logits may be shifted by any number, so that the mean is not 0.
        nats_N = logits_NV.logsumexp(-1) - logits_NV.mean(-1)
        smoothing = labelled(SMOOTHING, nats_N, batch, first.weight * self.config.share)
        first = first._replace(weight=first.weight * (1.0 - self.config.share))
        return Predicted(logits_NV, (first, *others, smoothing))


@dataclass(frozen=True)
class ZLoss(Regularised):
    """The square of log Z, the logarithm of the sum that a softmax divides by (Chowdhery et al. 2022, section 5)."""

    config: ZLossConfig

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the wrapped counts and the number of labels."""
        return self.learned.counts(batch) | {Z_LOSS: num_labels(batch)}

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the wrapped logits, and one term more."""
        logits_NV, terms = self.learned.predicted(network, batch, key)
        z_loss = labelled(Z_LOSS, logits_NV.logsumexp(-1).square(), batch, self.config.weight)
        return Predicted(logits_NV, (*terms, z_loss))
