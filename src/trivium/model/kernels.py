"""Attention kernels behind one signature: queries, keys, values and what is added to the scores; out come values."""

from collections.abc import Callable
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional

KernelName = Literal["reference", "matmul", "sdpa"]
# (query_BHLK, key_BGMK, value_BGMK, bias_BHLM, scale, dropout) -> mixed_BHLK
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, float, float], Tensor]


def kernel(name: KernelName) -> Kernel:
    """Return the named kernel."""
    match name:
        case "reference":
            return _reference
        case "matmul":
            return _matmul
        case "sdpa":
            return _sdpa
        case _:
            assert_never(name)


def default_kernel(device: torch.device) -> KernelName:
    """Return the kernel that measured fastest for training on this kind of device.

    On CPU plain matrix products beat the fused kernel up to rows of 512, in bfloat16 by three times at 128.
    """
    return "matmul" if device.type == "cpu" else "sdpa"


def _reference(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float, dropout: float) -> Tensor:
    """The definition, head by head of each group; slow, and what the others are tested against."""
    groups = key.shape[1]
    query_BGRLK = query.reshape(query.shape[0], groups, -1, *query.shape[2:])
    scores = torch.einsum("bgrlk,bgmk->bgrlm", query_BGRLK, key) * scale
    scores = scores.flatten(1, 2) + bias.to(scores.dtype)
    weights = functional.dropout(scores.softmax(-1), dropout).view(*query_BGRLK.shape[:-1], -1)
    return torch.einsum("bgrlm,bgmk->bgrlk", weights, value).flatten(1, 2)


def _matmul(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float, dropout: float) -> Tensor:
    key, value = _spread(key, query.shape[1]), _spread(value, query.shape[1])
    scores = torch.matmul(query * scale, key.transpose(-1, -2)) + bias.to(query.dtype)
    weights = scores.softmax(-1)
    if dropout:
        weights = functional.dropout(weights, dropout)
    return torch.matmul(weights, value)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float, dropout: float) -> Tensor:
    key, value = _spread(key, query.shape[1]), _spread(value, query.shape[1])
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias.to(query.dtype), dropout_p=dropout, scale=scale
    )


def _spread(states_BGMK: Tensor, num_heads: int) -> Tensor:
    groups = states_BGMK.shape[1]
    return states_BGMK if groups == num_heads else states_BGMK.repeat_interleave(num_heads // groups, dim=1)
