"""Hidden states at some places of each row."""

import torch
from torch import Tensor


def at_places(hidden_BLD: Tensor, places_BN: Tensor) -> Tensor:
    """Return the hidden states at the labelled places, [B * N, D]."""
    rows, length, size = hidden_BLD.shape
    offset_B1 = torch.arange(rows, device=places_BN.device)[:, None] * length
    return hidden_BLD.reshape(rows * length, size).index_select(0, (places_BN + offset_B1).reshape(-1))


def rows_at_places(hidden_BLD: Tensor, places_BN: Tensor) -> Tensor:
    """Return the hidden states at the labelled places, by row, [B, N, D]."""
    return at_places(hidden_BLD, places_BN).view(*places_BN.shape, hidden_BLD.shape[-1])
