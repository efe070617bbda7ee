"""Beam search, penalties and limits say what transformers says, token for token."""

import itertools
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hub_cases import SEEDS, Case, drawn, named, ours, padded, saved, texts
from torch import Tensor

from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.hub.folder import read_folder
from trivium.model.beam import Hypothesis
from trivium.model.decoding import Beam, Decoding, Greedy
from trivium.model.generate import decode
from trivium.model.heads import Network

LENGTHS = (6, 1, 11)
SOURCE_LENGTHS = (9, 2, 14)
BEGIN, NEW_TOKENS = 0, 11
# So many that a text of random weights ends now and then.
STOPS = tuple(range(2, 83, 5))

FAMILIES = ("gpt2", "llama", "qwen3-windows", "gpt_neox", "t5", "t5-1.1")
BEAMS = (
    Beam(size=2),
    Beam(size=5, length_penalty=0.0),
    Beam(size=3, length_penalty=2.0),
    Beam(size=4, length_penalty=-1.0),
    Beam(size=3, early_stopping=True),
    Beam(size=3, early_stopping="never", length_penalty=1.5),
)
LIMITS = (
    Decoding(method=Greedy(), repetition_penalty=1.4, max_new_tokens=NEW_TOKENS),
    Decoding(method=Greedy(), no_repeat_ngram=2, max_new_tokens=NEW_TOKENS),
    Decoding(method=Greedy(), min_new_tokens=6, max_new_tokens=NEW_TOKENS),
    Decoding(
        method=Beam(size=3),
        repetition_penalty=1.2,
        no_repeat_ngram=2,
        min_new_tokens=4,
        max_new_tokens=NEW_TOKENS,
    ),
)


@cache
def both(name: str, seed: int) -> tuple[Any, Network]:
    """A tiny random model that stops now and then, and ours with its weights."""
    case: Case = named(name)
    torch.manual_seed(seed)
    model = drawn(case.auto.from_config(case.config(seed)), seed)
    model.generation_config.eos_token_id = list(STOPS)
    with TemporaryDirectory() as folder:
        return model, ours(read_folder(saved(model, Path(folder))))


def asked(decoding: Decoding) -> dict[str, Any]:
    """The same in transformers' words."""
    options: dict[str, Any] = {
        "max_new_tokens": decoding.max_new_tokens,
        "repetition_penalty": decoding.repetition_penalty,
        "no_repeat_ngram_size": decoding.no_repeat_ngram or 0,
        "min_new_tokens": decoding.min_new_tokens or None,
        "do_sample": False,
    }
    if isinstance(decoding.method, Beam):
        beam = decoding.method
        options |= {
            "num_beams": beam.size,
            "num_return_sequences": beam.size,
            "length_penalty": beam.length_penalty,
            "early_stopping": beam.early_stopping,
        }
    return options


def theirs(model: Any, inputs: Tensor, mask: Tensor, decoding: Decoding) -> list[list[Hypothesis]]:
    """What transformers says of a batch."""
    given = model.generate(
        inputs, attention_mask=mask, return_dict_in_generate=True, output_scores=True, pad_token_id=0, **asked(decoding)
    )
    begin = 1 if model.config.is_encoder_decoder else inputs.shape[1]
    new = [
        list(itertools.takewhile(lambda token: token not in STOPS, row)) for row in given.sequences[:, begin:].tolist()
    ]
    if not isinstance(decoding.method, Beam):
        return [[Hypothesis(tokens, None)] for tokens in new]
    size = decoding.method.size
    hypotheses = [Hypothesis(*pair) for pair in zip(new, given.sequences_scores.tolist(), strict=True)]
    return [hypotheses[start : start + size] for start in range(0, len(hypotheses), size)]


def compare(mine: list[list[Hypothesis]], expected: list[list[Hypothesis]]) -> int:
    """Check that texts and scores are the same; return how many texts ended before they had to."""
    stopped = 0
    assert len(mine) == len(expected)
    for my_row, their_row in zip(mine, expected, strict=True):
        assert [each.tokens for each in my_row] == [each.tokens for each in their_row]
        for my, their in zip(my_row, their_row, strict=True):
            assert (my.score is None) == (their.score is None)
            if their.score is not None:
                assert my.score == pytest.approx(their.score, abs=1e-4, rel=1e-4)
            stopped += len(my.tokens) < NEW_TOKENS
    return stopped


def left_padded(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    flipped, mask = padded([text.flip(0) for text in sequences])
    return flipped.flip(1), mask.flip(1)


def run(name: str, seed: int, decoding: Decoding, rows: slice) -> int:
    model, network = both(name, seed)
    stop = frozenset(STOPS)
    if named(name).kind == "causal":
        prompts = texts(LENGTHS, seed)[rows]
        expected = theirs(model, *left_padded(prompts), decoding)
        return compare(decode(network, [prompt.tolist() for prompt in prompts], decoding, stop=stop), expected)
    sources = texts(SOURCE_LENGTHS, seed)[rows]
    expected = theirs(model, *padded(sources), decoding)
    return compare(decode(network, [[BEGIN]] * len(sources), decoding, stop=stop, source=read(sources)), expected)


def read(sources: list[Tensor]) -> Batch:
    tokens_BL, mask_BL = padded(sources)
    document_BL = mask_BL.int() - 1
    position_BL = torch.arange(tokens_BL.shape[1], dtype=torch.int32).expand_as(document_BL)
    return reading(tokens_BL, TokenLayout.bidirectional(document_BL, position_BL))


@pytest.mark.parametrize("name", FAMILIES)
def test_beam_search_is_that_of_transformers(name: str) -> None:
    stopped = 0
    for seed, (number, beam) in itertools.product(SEEDS, enumerate(BEAMS)):
        # Batches of three and of one, by turns.
        rows = slice(None) if (number + seed) % 2 == 0 else slice(seed, seed + 1)
        stopped += run(name, seed, Decoding(method=beam, max_new_tokens=NEW_TOKENS), rows)
    assert stopped > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_penalties_and_limits_are_those_of_transformers(name: str) -> None:
    stopped = [run(name, seed, decoding, slice(None)) for decoding in LIMITS for seed in (0, 1)]
    assert sum(stopped) > 0
