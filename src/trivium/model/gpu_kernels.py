"""Kernels for CUDA that need no dense mask: variable-length attention, and flex attention.

Neither has run on a GPU of ours yet: what surrounds them (segments, masks, scores) is tested against the reference.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from trivium.core.layout import TokenLayout
from trivium.model.view import View


def varlen(query: Tensor, key: Tensor, value: Tensor, view: View, *, scale: float, window: int | None) -> Tensor:
    """Attend within each document of packed rows, without a mask.

    Args:
        query: [B, H, L, K], of float16 or bfloat16.
        key, value: [B, G, L, K].
        view: of one layout, read both ways or from left to right; documents lie in one piece.
        scale: of the scores.
        window: tokens this many places apart or more do not see each other; None = no limit.

    Raises:
        ValueError: ranks are neither all alike nor the positions.
    """
    from torch.nn.attention.varlen import varlen_attn  # takes a second or two, and only CUDA has a use for it

    if view.query.kind == "ranked":
        raise ValueError("varlen attention reads both ways or from left to right; these ranks are neither")
    rows, heads, length, head_size = query.shape
    ends_N, longest = view.once("segments", lambda: segment_ends(view.query))
    reach = -1 if window is None else window - 1
    mixed = varlen_attn(
        query.transpose(1, 2).reshape(rows * length, heads, head_size),
        key.transpose(1, 2).reshape(rows * length, -1, head_size),
        value.transpose(1, 2).reshape(rows * length, -1, head_size),
        ends_N,
        ends_N,
        longest,
        longest,
        scale=scale,
        window_size=(reach, 0 if view.query.kind == "past" else reach),
        enable_gqa=key.shape[1] != heads,
    )
    if not isinstance(mixed, Tensor):
        raise TypeError("varlen attention was not asked for more than its result")
    return mixed.view(rows, length, heads, head_size).transpose(1, 2)


def segment_ends(layout: TokenLayout) -> tuple[Tensor, int]:
    """Return where the pieces of flattened rows begin and end, int32 [pieces + 1], and the longest piece's length.

    A document is a piece; so is each run of unused places, which nothing else sees.
    """
    document_BL = layout.document_BL
    begins_BL = torch.ones_like(document_BL, dtype=torch.bool)
    begins_BL[:, 1:] = document_BL[:, 1:] != document_BL[:, :-1]
    starts_N = begins_BL.flatten().nonzero()[:, 0]
    ends_N = torch.cat((starts_N, starts_N.new_tensor([document_BL.numel()]))).int()
    return ends_N, int(ends_N.diff().max())


def flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    view: View,
    *,
    scale: float,
    soft_cap: float | None,
    window: int | None,
) -> Tensor:
    """Attend by blocks; blocks in which nothing is seen are not computed.

    Args:
        query: [B, H, L, K].
        key, value: [B, G, M, K].
        view: who sees whom, and what a position scheme adds to the scores.
        scale: of the scores.
        soft_cap: c bounds scores to c tanh(score / c) before anything is added; None = no bound.
        window: tokens this many places apart or more do not see each other; None = no limit.
    """
    position_scores = view.scores_BHLM

    def score(value: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        if soft_cap is not None:
            value = soft_cap * (value / soft_cap).tanh()
        return value if position_scores is None else value + position_scores[b, h, q, k]

    mixed = _flex_attention(query.device.type)(
        query,
        key,
        value,
        score_mod=None if soft_cap is None and position_scores is None else score,
        block_mask=view.once(("blocks", window), lambda: block_mask(view, window)),
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    mixed_BHLK: Tensor = mixed
    return mixed_BHLK


def block_mask(view: View, window: int | None) -> BlockMask:
    """Return which blocks of queries and keys see each other; the rule is that of `core.layout.visible`."""
    query, key = view.query, view.key

    def sees(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = query.document_BL[b, q] == key.document_BL[b, k]
        seen = seen & (key.key_rank_BL[b, k] <= query.rank_BL[b, q])
        if window is not None:
            seen = seen & ((query.position_BL[b, q] - key.position_BL[b, k]).abs() < window)
        return seen

    rows, length = query.document_BL.shape
    return create_block_mask(sees, rows, None, length, key.document_BL.shape[1], device=query.document_BL.device)


@cache
def _flex_attention(device: str) -> Any:
    # Not compiled it fills in all scores: right, and as slow as the reference. On a CPU it has no backward pass at all.
    return torch.compile(flex_attention, dynamic=False) if device == "cuda" else flex_attention
