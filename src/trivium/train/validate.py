"""The loss on text that is not trained on, the same places every time."""

from typing import NamedTuple

import torch
from torch import nn

from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.model.device import device_of
from trivium.objectives.base import Objective
from trivium.train.precision import terms_of


class HeldOut(NamedTuple):
    """How wrong a network is on text that is not trained on."""

    loss: float  # weighted sum of the terms, as in training
    terms: dict[str, float]  # mean of each term, nats


@torch.no_grad()
def held_out_loss(
    network: nn.Module, objective: Objective, reader: RowReader, *, rows: int, rows_per_batch: int, key: Key
) -> HeldOut:
    """Return the loss over the first `rows` rows (fewer when the split has fewer), as at the end of the run."""
    was_training, device = network.training, device_of(network)
    network.eval()
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    weights: dict[str, float] = {}
    rows = min(rows, reader.rows_per_epoch)
    rows -= rows % objective.rows_together
    for start in range(0, rows, rows_per_batch):
        batch = objective.make(reader.rows(start, min(start + rows_per_batch, rows)), key)
        for name, count in objective.counts(batch).items():
            counts[name] = counts.get(name, 0.0) + count
        for term in terms_of(network, objective, batch.to(device), key):
            sums[term.name] = sums.get(term.name, 0.0) + float(term.sum)
            weights[term.name] = term.weight
    network.train(was_training)
    terms = {name: sums[name] / max(counts[name], 1.0) for name in sums}
    return HeldOut(sum(weights[name] * mean for name, mean in terms.items()), terms)
