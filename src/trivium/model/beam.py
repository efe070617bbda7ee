"""Beam search: many texts of each prompt grow side by side, and the best are kept."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.core.batch import Batch
from trivium.core.layout import TokenLayout
from trivium.model.choose import Adjust
from trivium.model.decoding import Beam
from trivium.model.heads import Network
from trivium.model.writing import Read, begin

_NEVER = float("-inf")


class Hypothesis(NamedTuple):
    """A text of new tokens, without the one that stopped it, and its score in a beam search; None = there was none."""

    tokens: list[int]
    score: float | None


class Finished(NamedTuple):
    """The best finished texts of each prompt, the best first; a score of -inf = there is none yet.

    K is the beam's size, N the most new tokens.
    """

    score_BK: Tensor
    length_BK: Tensor
    tokens_BKN: Tensor


class Candidates(NamedTuple):
    """The best continuations by one token, of all beams of a prompt together, the best first.

    `score` is the sum of log-probabilities; C is more than the beam's size, since some may end.
    """

    score_BC: Tensor
    beam_BC: Tensor
    token_BC: Tensor
    ends_BC: Tensor


@torch.inference_mode()
def beam_search(
    network: Network,
    prompts: Sequence[Sequence[int]],
    beam: Beam,
    *,
    max_new_tokens: int,
    stop: frozenset[int],
    forbidden: Sequence[int] = (),
    source: Batch | None = None,
    adjust: Adjust | None = None,
    read: Read = TokenLayout.causal,
) -> list[list[Hypothesis]]:
    """Continue each prompt in the best ways that are found.

    A text is finished by a stop token or by `max_new_tokens`; only what is among the `size` best of its step may
    finish. Scores are those of the network: what is adjusted or forbidden takes nothing from what is left of it.

    Args:
        network, prompts, max_new_tokens, stop, forbidden, source: as in `generate`.
        beam: how many, and how they are scored.
        adjust: what changes log-probabilities; None = nothing.

    Returns:
        the finished texts of each prompt, at most `size`, the best first.
    """
    rows, size = len(prompts), beam.size
    writing = begin(network, prompts, max_new_tokens=max_new_tokens, source=source, read=read)
    writing.spread(size)
    device = writing.last_BD.device
    never = torch.tensor(list(forbidden), dtype=torch.int64, device=device)
    stops = torch.tensor(sorted(stop), dtype=torch.int64, device=device)
    first_B1 = torch.arange(rows, device=device)[:, None] * size
    prompt_B = writing.written.length_B.clone()
    # The copies are one text still: one of them is enough.
    running_BK = torch.full((rows, size), _NEVER, device=device)
    running_BK[:, 0] = 0.0
    finished = Finished(
        running_BK.new_full((rows, size), _NEVER),
        torch.zeros(rows, size, dtype=torch.int64, device=device),
        torch.zeros(rows, size, max_new_tokens, dtype=torch.int64, device=device),
    )
    open_B1 = torch.ones(rows, 1, dtype=torch.bool, device=device)
    for step in range(max_new_tokens):
        scores_RV = writing.logits().float().log_softmax(-1)
        if adjust is not None:
            scores_RV = adjust(scores_RV, writing.written)
        if forbidden:
            scores_RV = scores_RV.index_fill(-1, never, _NEVER)
        found = _candidates(scores_RV.view(rows, size, -1) + running_BK[:, :, None], stops)
        new_RN = _new_tokens(writing.written.text_BL, prompt_B, max_new_tokens)
        last = step + 1 == max_new_tokens
        ended = found._replace(ends_BC=torch.ones_like(found.ends_BC)) if last else found
        finished = _merged(finished, ended, new_RN.view(rows, size, -1), stops, open_B1, step=step, beam=beam)
        if last:
            break
        running_BK, order_BK = found.score_BC.masked_fill(found.ends_BC, _NEVER).topk(size, dim=-1)
        open_B1 = open_B1 & _may_improve(running_BK, finished, step + 1, max_new_tokens, beam)
        if not bool(open_B1.any()):
            break
        writing.select((found.beam_BC.gather(1, order_BK) + first_B1).flatten())
        writing.write(found.token_BC.gather(1, order_BK).flatten())
        writing.read()
    return _hypotheses(finished)


def _candidates(total_BKV: Tensor, stops: Tensor) -> Candidates:
    """Return as many continuations that at least `size` of them do not end."""
    _, size, vocabulary_size = total_BKV.shape
    many = min(size * max(2, 1 + len(stops)), size * vocabulary_size)
    score_BC, place_BC = total_BKV.flatten(1).topk(many, dim=-1)
    token_BC = place_BC % vocabulary_size
    return Candidates(score_BC, place_BC // vocabulary_size, token_BC, torch.isin(token_BC, stops))


def _merged(
    finished: Finished,
    found: Candidates,
    new_BKN: Tensor,
    stops: Tensor,
    open_B1: Tensor,
    *,
    step: int,
    beam: Beam,
) -> Finished:
    """Return the best of what was finished and what ends now among the `size` best."""
    size = beam.size
    token_BK, beam_BK = found.token_BC[:, :size], found.beam_BC[:, :size]
    score_BK = found.score_BC[:, :size] / (step + 1) ** beam.length_penalty
    score_BK = score_BK.masked_fill(~(found.ends_BC[:, :size] & open_B1), _NEVER)
    tokens_BKN = new_BKN.gather(1, beam_BK[:, :, None].expand(-1, -1, new_BKN.shape[-1])).clone()
    tokens_BKN[:, :, step] = token_BK
    length_BK = step + 1 - torch.isin(token_BK, stops).long()
    both = (
        torch.cat((finished.score_BK, score_BK), 1),
        torch.cat((finished.length_BK, length_BK), 1),
        torch.cat((finished.tokens_BKN, tokens_BKN), 1),
    )
    best_BK, order_BK = both[0].topk(size, dim=-1)
    return Finished(best_BK, both[1].gather(1, order_BK), both[2].gather(1, order_BK[:, :, None].expand_as(tokens_BKN)))


def _may_improve(running_BK: Tensor, finished: Finished, length: int, longest: int, beam: Beam) -> Tensor:
    """Return which prompts are not done, [B, 1]; see `Beam.early_stopping`."""
    if beam.early_stopping is True:
        return (finished.score_BK == _NEVER).any(-1, keepdim=True) & (running_BK[:, :1] > _NEVER)
    if beam.early_stopping == "never" and beam.length_penalty > 0:
        length = longest
    return running_BK[:, :1] / length**beam.length_penalty > finished.score_BK[:, -1:]


def _new_tokens(text_RL: Tensor, prompt_R: Tensor, many: int) -> Tensor:
    """Return each row's new tokens, [R, N]; what is not written yet is 0."""
    places_RN = prompt_R[:, None] + torch.arange(many, device=text_RL.device)
    return text_RL.gather(1, places_RN).clamp(min=0)


def _hypotheses(finished: Finished) -> list[list[Hypothesis]]:
    scores, lengths, tokens = (tensor.tolist() for tensor in finished)
    return [
        [
            Hypothesis(text[:length], score)
            for score, length, text in zip(row_scores, row_lengths, texts, strict=True)
            if score > _NEVER
        ]
        for row_scores, row_lengths, texts in zip(scores, lengths, tokens, strict=True)
    ]
