"""Text from a causal or sequence-to-sequence network, token by token, with a key/value cache."""

from collections.abc import Sequence
from typing import assert_never

import torch

from trivium.core.batch import Batch
from trivium.core.layout import TokenLayout
from trivium.core.random import Key
from trivium.model.beam import Hypothesis, beam_search
from trivium.model.choose import Adjust, Choose, constraints, greedy, sampler
from trivium.model.decoding import Beam, Decoding, Greedy, Sample
from trivium.model.heads import Network
from trivium.model.writing import Read, begin


def decode(
    network: Network,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    stop: frozenset[int],
    keys: Sequence[Key] = (),
    forbidden: Sequence[int] = (),
    source: Batch | None = None,
    read: Read = TokenLayout.causal,
) -> list[list[Hypothesis]]:
    """Continue each prompt as `decoding` says.

    Args:
        network, prompts, stop, forbidden, source, read: as in `generate`.
        decoding: how.
        keys: of what is drawn, one a prompt; a prompt and its key draw the same text whatever is beside them (logits
            are computed alike but for rounding, which a lot hardly ever meets).

    Returns:
        the new tokens of each prompt; of a beam search all texts that were finished, the best first.
    """
    adjust = constraints(decoding, stop)
    match decoding.method:
        case Beam() as beam:
            return beam_search(
                network,
                prompts,
                beam,
                max_new_tokens=decoding.max_new_tokens,
                stop=stop,
                forbidden=forbidden,
                source=source,
                adjust=adjust,
                read=read,
            )
        case Greedy():
            choose: Choose = greedy
        case Sample() as sample:
            if len(keys) != len(prompts):
                raise ValueError(f"drawing needs a key a prompt: {len(keys)} keys for {len(prompts)} prompts")
            choose = sampler(sample, keys)
        case _:
            assert_never(decoding.method)
    new = generate(
        network,
        prompts,
        choose=choose,
        max_new_tokens=decoding.max_new_tokens,
        stop=stop,
        forbidden=forbidden,
        source=source,
        adjust=adjust,
        read=read,
    )
    return [[Hypothesis(tokens, None)] for tokens in new]


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
    adjust: Adjust | None = None,
    read: Read = TokenLayout.causal,
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
        adjust: what changes the logits before a token is chosen; None = nothing.
        read: how prompts are read, a layout of documents and positions: `TokenLayout.bidirectional` for a network that
            has learned to go on after a prefix (see `objectives.prefix`).

    Returns:
        the new tokens of each prompt.
    """
    writing = begin(network, prompts, max_new_tokens=max_new_tokens, source=source, read=read)
    never = torch.tensor(list(forbidden), dtype=torch.int64, device=writing.last_BD.device)
    new: list[list[int]] = [[] for _ in prompts]
    open_rows = list(range(len(prompts)))
    for step in range(max_new_tokens):
        logits_BV = writing.logits()
        if adjust is not None:
            logits_BV = adjust(logits_BV, writing.written)
        if forbidden:
            logits_BV = logits_BV.index_fill(-1, never, float("-inf"))
        token_B = choose(logits_BV, step)
        tokens = token_B.tolist()
        open_rows = [row for row in open_rows if tokens[row] not in stop]
        for row in open_rows:
            new[row].append(tokens[row])
        if not open_rows or step + 1 == max_new_tokens:
            break
        writing.write(token_B)
        writing.read()
    return new
