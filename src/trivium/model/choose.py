"""From scores to the next token: what may not be said, and how one of the rest is chosen. Pure functions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.core.random import Key
from trivium.model.decoding import Decoding, Sample

_NUCLEUS = 64  # tokens that nearly always hold the mass `top_p`: sorting the whole vocabulary takes as long as a layer


class Written(NamedTuple):
    """What is written so far, prompts and new tokens.

    Args:
        text_BL: int64, -1 where nothing is written.
        length_B: int64, tokens of each row.
        new: how many tokens of each row are new.
    """

    text_BL: Tensor
    length_B: Tensor
    new: int


Choose = Callable[[Tensor, int], Tensor]  # (logits_BV, step) -> token_B
Adjust = Callable[[Tensor, Written], Tensor]  # (scores_BV, written) -> scores_BV


def greedy(logits_BV: Tensor, step: int) -> Tensor:
    """Return the most probable token of each row."""
    return logits_BV.argmax(-1)


def sampler(sample: Sample, keys: Sequence[Key]) -> Choose:
    """Return a choice that draws, each row by its key: what is beside it in the batch changes nothing.

    Args:
        sample: from what is drawn.
        keys: one a row; equal keys draw equal texts.
    """

    def choose(logits_BV: Tensor, step: int) -> Tensor:
        if sample.temperature == 0.0:
            return greedy(logits_BV, step)
        # 48 bits: times the whole mass they stay below it in float64.
        lots = [(key.child("sample", step).integer() >> 15) / 2**48 for key in keys]
        lot_B1 = torch.tensor(lots, dtype=torch.float64, device=logits_BV.device)[:, None]
        # In the vocabulary's order, not the probabilities': rounding makes two near ones change places.
        mass_BV = chances(logits_BV, sample).double().cumsum(-1)
        return torch.searchsorted(mass_BV, lot_B1 * mass_BV[:, -1:], right=True).squeeze(-1)

    return choose


def chances(logits_BV: Tensor, sample: Sample) -> Tensor:
    """Return with what probability each token is drawn, float32 or better; `temperature` must be above 0."""
    logits_BV = (logits_BV if logits_BV.dtype == torch.float64 else logits_BV.float()) / sample.temperature
    size = logits_BV.shape[-1]
    if sample.top_k is not None and sample.top_k < size:
        least_B1 = logits_BV.topk(sample.top_k, dim=-1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least_B1, float("-inf"))
    share_BV = logits_BV.softmax(-1)
    if sample.top_p < 1.0:
        share_BV = share_BV.masked_fill(share_BV < _least_of_nucleus(share_BV, sample.top_p), 0.0)
    if sample.min_p > 0.0:
        least_B1 = sample.min_p * share_BV.amax(-1, keepdim=True)
        share_BV = share_BV.masked_fill(share_BV < least_B1, 0.0)
    return share_BV / share_BV.sum(-1, keepdim=True)


def constraints(decoding: Decoding, stop: frozenset[int]) -> Adjust | None:
    """Return what lowers the scores of tokens as `decoding` asks; None = nothing does."""
    adjusts: list[Adjust] = []
    if decoding.repetition_penalty != 1.0:
        adjusts.append(lambda scores_BV, written: _penalised(scores_BV, written.text_BL, decoding.repetition_penalty))
    size = decoding.no_repeat_ngram
    if size is not None:
        adjusts.append(lambda scores_BV, written: scores_BV.masked_fill(_repeating(scores_BV, written, size), -_FAR))
    if decoding.min_new_tokens and stop:
        stops = sorted(stop)

        def unfinished(scores_BV: Tensor, written: Written) -> Tensor:
            if written.new >= decoding.min_new_tokens:
                return scores_BV
            return scores_BV.index_fill(-1, torch.tensor(stops, device=scores_BV.device), -_FAR)

        adjusts.append(unfinished)
    if not adjusts:
        return None

    def adjust(scores_BV: Tensor, written: Written) -> Tensor:
        for each in adjusts:
            scores_BV = each(scores_BV, written)
        return scores_BV

    return adjust


_FAR = float("inf")


def _least_of_nucleus(share_BV: Tensor, top_p: float) -> Tensor:
    """Return the probability of the least probable token that is kept, [B, 1]."""
    size = share_BV.shape[-1]
    best_BK = share_BV.topk(min(_NUCLEUS, size), dim=-1).values.double()
    if best_BK.shape[-1] < size and bool((best_BK.sum(-1) < top_p).any()):
        best_BK = share_BV.sort(-1, descending=True).values.double()
    before_BK = best_BK.cumsum(-1) - best_BK
    return best_BK.masked_fill(before_BK >= top_p, _FAR).amin(-1, keepdim=True).to(share_BV.dtype)


def _penalised(scores_BV: Tensor, text_BL: Tensor, penalty: float) -> Tensor:
    # Places where nothing is written repeat the row's first token.
    said_BL = torch.where(text_BL < 0, text_BL[:, :1], text_BL)
    score_BL = scores_BV.gather(-1, said_BL)
    return scores_BV.scatter(-1, said_BL, torch.where(score_BL < 0, score_BL * penalty, score_BL / penalty))


def _repeating(scores_BV: Tensor, written: Written, size: int) -> Tensor:
    """Return which tokens would end an n-gram of this size that is there already, bool_BV."""
    text_BL, length_B = written.text_BL, written.length_B
    banned_BV = torch.zeros(scores_BV.shape, dtype=torch.bool, device=scores_BV.device)
    before = size - 1
    if text_BL.shape[1] < size:
        return banned_BV
    next_BM = text_BL[:, before:]
    same_BM = next_BM >= 0
    if before:
        places_BN = length_B[:, None] - before + torch.arange(before, device=text_BL.device)
        last_BN = text_BL.gather(1, places_BN.clamp(min=0))
        windows_BMN = text_BL.unfold(1, before, 1)[:, : next_BM.shape[1]]
        same_BM = same_BM & (windows_BMN == last_BN[:, None]).all(-1) & (length_B >= size)[:, None]
    # One token is banned by one place and passed by by another: places that ban nothing name the first, and add False.
    ones_BM = same_BM.to(torch.int32)
    counts_BV = torch.zeros(scores_BV.shape, dtype=torch.int32, device=scores_BV.device)
    return counts_BV.scatter_add(1, next_BM.clamp(min=0), ones_BM) > 0
