"""Text from a causal or sequence-to-sequence network, token by token, with a key/value cache."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.core.random import Key
from trivium.model.heads import Network

Choose = Callable[[Tensor, int], Tensor]  # (logits_BV, step) -> token_B


class Sampling(NamedTuple):
    """How a token is drawn: logits / temperature, the `top_k` best, then the smallest set of mass `top_p`."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0


def greedy(logits_BV: Tensor, step: int) -> Tensor:
    """Return the most probable token of each row."""
    return logits_BV.argmax(-1)


def sampler(sampling: Sampling, key: Key) -> Choose:
    """Return a choice that draws; equal keys draw equal texts."""

    def choose(logits_BV: Tensor, step: int) -> Tensor:
        logits_BV = logits_BV.float() / max(sampling.temperature, 1e-6)
        if sampling.top_k is not None:
            least_B1 = logits_BV.topk(min(sampling.top_k, logits_BV.shape[-1]), dim=-1).values[:, -1:]
            logits_BV = logits_BV.masked_fill(logits_BV < least_B1, float("-inf"))
        ordered_BV, order_BV = logits_BV.softmax(-1).sort(-1, descending=True)
        before_BV = ordered_BV.cumsum(-1) - ordered_BV
        ordered_BV = ordered_BV.masked_fill(before_BV >= sampling.top_p, 0.0)
        generator = torch.Generator(logits_BV.device).manual_seed(key.child("sample", step).integer())
        return order_BV.gather(-1, torch.multinomial(ordered_BV, 1, generator=generator)).squeeze(-1)

    return choose


@torch.inference_mode()
def generate(
    network: Network,
    prompts: Sequence[Sequence[int]],
    *,
    choose: Choose,
    max_new_tokens: int,
    stop: frozenset[int],
    forbidden: Sequence[int] = (),
    source: Batch | None = None,
    read: Callable[[Tensor, Tensor], TokenLayout] = TokenLayout.causal,
) -> list[list[int]]:
    """Continue each prompt; rows of unequal length are read together, each with the logits it would get alone.

    Args:
        network: a decoder, or an encoder-decoder with `source`.
        prompts: token ids, at least one each (bos for a fresh text).
        choose: `greedy` or a `sampler`.
        max_new_tokens: at most this many tokens are added to each prompt.
        stop: a row ends when one of these is chosen; it is not part of the text.
        forbidden: ids that are never chosen.
        source: what the encoder reads, one row a prompt.
        read: how prompts are read, a layout of documents and positions: `TokenLayout.bidirectional` for a network that
            has learned to go on after a prefix (see `objectives.prefix`).

    Returns:
        the new tokens of each prompt.
    """
    rows, longest = len(prompts), max(len(prompt) for prompt in prompts)
    device = network.writer.embedding.tokens.weight.device
    cache = network.writer.new_cache(rows=rows, max_length=longest + max_new_tokens)
    tokens_BL = torch.zeros(rows, longest, dtype=torch.int64, device=device)
    document_BL = torch.full((rows, longest), -1, dtype=torch.int32, device=device)
    for row, prompt in enumerate(prompts):
        tokens_BL[row, : len(prompt)] = torch.tensor(prompt, device=device)
        document_BL[row, : len(prompt)] = 0
    position_BL = torch.arange(longest, dtype=torch.int32, device=device).expand(rows, longest)
    length_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
    batch = reading(tokens_BL, read(document_BL, position_BL))
    looked_at = network.encode(replace(batch, source=source))
    hidden_BLD = network.write(batch, looked_at, cache)
    last_BD = hidden_BLD[torch.arange(rows, device=device), length_B - 1]
    new: list[list[int]] = [[] for _ in prompts]
    open_rows = set(range(rows))
    for step in range(max_new_tokens):
        logits_BV = network.head(last_BD)
        if forbidden:
            logits_BV = logits_BV.index_fill(-1, torch.tensor(list(forbidden), device=device), float("-inf"))
        token_B = choose(logits_BV, step)
        for row in sorted(open_rows):
            token = int(token_B[row])
            if token in stop:
                open_rows.discard(row)
            else:
                new[row].append(token)
        if not open_rows or step + 1 == max_new_tokens:
            break
        position_B1 = (length_B + step)[:, None].int()
        layout = TokenLayout.causal(torch.zeros_like(position_B1), position_B1)
        last_BD = network.write(reading(token_B[:, None], layout), looked_at, cache)[:, 0]
    return new
