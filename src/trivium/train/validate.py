"""The loss on text that is not trained on, the same places every time."""

import torch
from torch import nn

from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.objectives.base import Objective


@torch.inference_mode()
def validation_terms(
    network: nn.Module, objective: Objective, reader: RowReader, *, rows: int, rows_per_batch: int, key: Key
) -> dict[str, float]:
    """Return the mean of each term, in nats, over the first `rows` rows (fewer when the split has fewer)."""
    was_training = network.training
    network.eval()
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    rows = min(rows, reader.rows_per_epoch)
    for start in range(0, rows, rows_per_batch):
        batch = objective.make(reader.rows(start, min(start + rows_per_batch, rows)), key)
        for term in objective.loss(network, batch, key):
            sums[term.name] = sums.get(term.name, 0.0) + float(term.sum)
            counts[term.name] = counts.get(term.name, 0.0) + term.count
    network.train(was_training)
    return {name: sums[name] / max(counts[name], 1.0) for name in sums}
