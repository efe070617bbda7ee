"""Attention kernels behind one signature: queries, keys, values, who sees whom, how it is scored; values come out."""

from collections.abc import Callable
from typing import Literal, NamedTuple, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from trivium.model.dropout import dropout
from trivium.model.gpu_kernels import flex, varlen
from trivium.model.view import View

_VECTOR = 32  # bfloat16 numbers

KernelName = Literal["reference", "dense", "matmul", "sdpa", "varlen", "flex"]


class Scoring(NamedTuple):
    """How a layer turns products of queries and keys into weights."""

    scale: float
    soft_cap: float | None = None
    window: int | None = None
    dropout: float = 0.0

    def when(self, *, training: bool) -> "Scoring":
        """Return the same with dropout in training only."""
        return self if training or not self.dropout else self._replace(dropout=0.0)


# (query_BHLK, key_BGMK, value_BGMK, view, scoring) -> mixed_BHLK
Kernel = Callable[[Tensor, Tensor, Tensor, View, Scoring], Tensor]


def kernel(name: KernelName) -> Kernel:
    """Return the named kernel."""
    match name:
        case "reference":
            return _reference
        case "dense":
            return _dense
        case "matmul":
            return _matmul
        case "sdpa":
            return _sdpa
        case "varlen":
            return _varlen
        case "flex":
            return _flex
        case _:
            assert_never(name)


def _reference(query: Tensor, key: Tensor, value: Tensor, view: View, scoring: Scoring) -> Tensor:
    """The definition, head by head of each group; slow, and what the others are tested against."""
    groups = key.shape[1]
    query_BGRLK = query.reshape(query.shape[0], groups, -1, *query.shape[2:])
    scores = torch.einsum("bgrlk,bgmk->bgrlm", query_BGRLK, key).flatten(1, 2) * scoring.scale
    if scoring.soft_cap is not None:
        scores = scoring.soft_cap * (scores / scoring.soft_cap).tanh()
    scores = scores + view.bias(scoring.window, scores.dtype)
    weights = functional.dropout(scores.softmax(-1), scoring.dropout).view(*query_BGRLK.shape[:-1], -1)
    return torch.einsum("bgrlm,bgmk->bgrlk", weights, value).flatten(1, 2)


def _dense(query: Tensor, key: Tensor, value: Tensor, view: View, scoring: Scoring) -> Tensor:
    """The faster of the two below on a CPU, see docs/performance.md; on a GPU the fused one, where it can do it."""
    if query.is_cuda:
        return (_sdpa if scoring.soft_cap is None else _matmul)(query, key, value, view, scoring)
    # PyTorch fuses neither dropout nor a bias that learns, and in bfloat16 its fused kernel is the slower one.
    fused = query.dtype == torch.float32 and not scoring.dropout and scoring.soft_cap is None
    learns = view.scores_BHLM is not None and view.scores_BHLM.requires_grad and torch.is_grad_enabled()
    return (_sdpa if fused and not learns else _matmul)(query, key, value, view, scoring)


def _matmul(query: Tensor, key: Tensor, value: Tensor, view: View, scoring: Scoring) -> Tensor:
    rows, num_heads = query.shape[:2]
    key, value = _spread(key, num_heads), _spread(value, num_heads)
    # In one piece, where they are not, before the key is turned: to copy it turned, as `matmul` does, takes longer.
    query, key, value = (states.flatten(0, 1) for states in (query, key, value))
    if scoring.soft_cap is None:
        scores = torch.bmm(query * scoring.scale, key.transpose(-1, -2))
    else:
        capped = torch.bmm(query * (scoring.scale / scoring.soft_cap), key.transpose(-1, -2))
        scores = capped.tanh() * scoring.soft_cap
    # In place: no gradient needs the scores themselves.
    weights = _softmax(scores.view(rows, num_heads, *scores.shape[1:]).add_(view.bias(scoring.window, query.dtype)))
    if scoring.dropout:
        weights = dropout(weights, scoring.dropout)
    mixed = torch.bmm(weights.flatten(0, 1), value)
    return mixed.view(rows, num_heads, *mixed.shape[1:])


def _softmax(scores: Tensor) -> Tensor:
    """Return the softmax over the last dimension, in the scores' type.

    On a CPU PyTorch's own takes bfloat16 in whole vectors of 32 and what is left over number by number, in up to five
    times the time of a softmax in float32; rows of less than half a vector are not worth the casts. Training keeps what
    comes out for the gradient, in half the memory.
    """
    length = scores.shape[-1]
    slow = (
        scores.dtype == torch.bfloat16 and scores.device.type == "cpu" and length % _VECTOR and length >= _VECTOR // 2
    )
    if slow and not scores.requires_grad:
        return scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
    return scores.softmax(-1)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, view: View, scoring: Scoring) -> Tensor:
    key, value = _spread(key, query.shape[1]), _spread(value, query.shape[1])
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if view.adds_nothing(scoring.window) else view.bias(scoring.window, query.dtype),
        dropout_p=scoring.dropout,
        scale=scoring.scale,
    )


def _varlen(query: Tensor, key: Tensor, value: Tensor, view: View, scoring: Scoring) -> Tensor:
    if view.key is not view.query:
        # Cross-attention, and one new token against a cache: short queries, for which no fast path is lost.
        return _sdpa(query, key, value, view, scoring)
    return varlen(query, key, value, view, scale=scoring.scale, window=scoring.window)


def _flex(query: Tensor, key: Tensor, value: Tensor, view: View, scoring: Scoring) -> Tensor:
    if view.key is not view.query:
        # As above; and against a cache each new token would be compiled for anew.
        dense = _sdpa if scoring.soft_cap is None else _matmul
        return dense(query, key, value, view, scoring)
    return flex(query, key, value, view, scale=scoring.scale, soft_cap=scoring.soft_cap, window=scoring.window)


def _spread(states_BGMK: Tensor, num_heads: int) -> Tensor:
    groups = states_BGMK.shape[1]
    return states_BGMK if groups == num_heads else states_BGMK.repeat_interleave(num_heads // groups, dim=1)
