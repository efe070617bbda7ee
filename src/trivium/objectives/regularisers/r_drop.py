"""R-Drop (Liang et al. 2021): two passes that dropout makes different should say the same."""

from dataclasses import dataclass

from torch import nn

from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.objectives.base import Predicted, labelled
from trivium.objectives.regularisers.base import Regularised, divergences, num_labels
from trivium.objectives.regularisers.config import RDropConfig

R_DROP = "r_drop"


@dataclass(frozen=True)
class RDrop(Regularised):
    """The mean of two passes' terms, and the mean of the two Kullback-Leibler divergences between them.

    Half of what the paper minimises (section 2: both cross-entropies, and alpha times that mean), so that a gradient
    is as long as without it. Two passes one after the other, not rows doubled: the numbers are the same, and what is
    wrapped need not know.
    """

    config: RDropConfig

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the wrapped counts and the number of labels."""
        return self.learned.counts(batch) | {R_DROP: num_labels(batch)}

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        """Return the logits of the first pass, the mean of both passes' terms, and the divergence."""
        one = self.learned.predicted(network, batch, key.child("first"))
        other = self.learned.predicted(network, batch, key.child("second"))
        terms = [
            first._replace(sum=(first.sum + second.sum) / 2)
            for first, second in zip(one.terms, other.terms, strict=True)
        ]
        apart_N = divergences(one.logits_NV, other.logits_NV) / 2
        return Predicted(one.logits_NV, (*terms, labelled(R_DROP, apart_N, batch, self.config.weight / 2)))
