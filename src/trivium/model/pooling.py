"""What stands for a document of a packed row: the mean of its hidden states, or its first or last place."""

import torch
from torch import Tensor

from trivium.core.layout import TokenLayout


def document_means(hidden_BLD: Tensor, layout: TokenLayout, places_BN: Tensor) -> Tensor:
    """Return, for each place, the mean hidden state of its document, hidden_ND."""
    member_BNL = _members(layout, places_BN).to(hidden_BLD.dtype)
    mean_BND = torch.bmm(member_BNL, hidden_BLD) / member_BNL.sum(-1, keepdim=True)
    return mean_BND.flatten(0, 1)


def document_weighted_means(hidden_BLD: Tensor, layout: TokenLayout, places_BN: Tensor) -> Tensor:
    """Return, for each place, its document's mean hidden state, the later of them weighing more, hidden_ND.

    The state at position i of a document weighs i + 1: read from left to right, later tokens have seen more
    (SGPT, Muennighoff 2022, section 4.1).
    """
    member_BNL = _members(layout, places_BN).to(hidden_BLD.dtype)
    weight_BNL = member_BNL * (layout.position_BL + 1).to(hidden_BLD.dtype)[:, None, :]
    return torch.bmm(weight_BNL / weight_BNL.sum(-1, keepdim=True), hidden_BLD).flatten(0, 1)


def document_edges(layout: TokenLayout, places_BN: Tensor, *, last: bool) -> Tensor:
    """Return, for each place, the first or last place of its document, int64 [B, N]."""
    member_BNL = _members(layout, places_BN)
    place_L = torch.arange(member_BNL.shape[-1], device=member_BNL.device)
    if last:
        return place_L.masked_fill(~member_BNL, -1).amax(-1)
    return place_L.masked_fill(~member_BNL, len(place_L)).amin(-1)


def _members(layout: TokenLayout, places_BN: Tensor) -> Tensor:
    """Return which places are of the document of each of the given ones, bool [B, N, L]."""
    document_BN = layout.document_BL.gather(1, places_BN)
    return document_BN[:, :, None] == layout.document_BL[:, None, :]
