"""Where a network is."""

import torch
from torch import nn


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's parameters are; the processor where it has none, as when its numbers are narrow."""
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device
