"""Mixout (Lee et al. 2020): in training, numbers of the weights are at random those that the run began with."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.core.random import Key
from trivium.train.optimiser_config import Precision
from trivium.train.precision import TrainedWeights


class MixedWeights(TrainedWeights):
    """Weights whose computing copy is mixed anew after every update.

    Each number of a matrix is with `probability` p the start's u in place of the weight w, and the mixture m becomes
    (m - p u) / (1 - p), so that its mean is w; gradients reach the numbers that were kept, over 1 - p. One mixture a
    step, drawn by the step's number: how the step is cut changes nothing. Biases, norms and what the start has not are
    left as they are, as in the authors' code. Differs from it: embeddings are mixed too.

    Args:
        network: what is trained.
        precision: the type that is computed in.
        start: u by the parameters' names; of those that are not there nothing is mixed.
        probability: p in [0, 1).
        key: of all mixtures.
        step: updates done.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: Precision,
        *,
        start: Mapping[str, Tensor],
        probability: float,
        key: Key,
        step: int,
    ) -> None:
        super().__init__(network, precision, apart=True)
        self._precision: Precision = precision
        self._probability, self._key, self._step = probability, key, step
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        starts = [start.get(names[id(master)]) for master, _ in self._pairs]
        # (number of the pair, its start)
        self._starts = [
            (i, u.to(self._pairs[i][0].device)) for i, u in enumerate(starts) if u is not None and u.ndim >= 2
        ]
        self._kept: dict[int, Tensor] = {}
        self._mix()

    def publish(self) -> None:
        """Mix the updated weights into the copy."""
        super().publish()
        self._step += 1
        self._mix()

    def exact(self) -> nn.Module:
        """Return the network with its weights unmixed, in the type that is computed in."""
        return TrainedWeights(self.master, self._precision).compute

    def _of_master(self, number: int, gradient: Tensor) -> Tensor:
        kept = self._kept.get(number)
        return gradient if kept is None else gradient * kept / (1.0 - self._probability)

    def _mix(self) -> None:
        p = self._probability
        for number, start in self._starts:
            master, copy = self._pairs[number]
            generator = torch.Generator().manual_seed(self._key.child(self._step, number).integer())
            kept = (torch.rand(master.shape, generator=generator) >= p).to(master.device)
            with torch.no_grad():
                copy.copy_((torch.where(kept, master, start) - p * start) / (1.0 - p))
            self._kept[number] = kept


def trained_weights(
    network: nn.Module,
    precision: Precision,
    *,
    mixout: float,
    start: Mapping[str, Tensor],
    key: Key,
    step: int,
) -> TrainedWeights:
    """Return the weights to train.

    Args:
        network: what is trained.
        precision: the type that is computed in.
        mixout: probability of a number of the start's; 0 = the weights are what they are.
        start: the weights that the run begins with, by name; only mixout looks at them.
        key: of what is drawn.
        step: updates done.
    """
    if not mixout:
        return TrainedWeights(network, precision)
    return MixedWeights(network, precision, start=start, probability=mixout, key=key.child("mixout"), step=step)
