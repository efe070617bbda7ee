"""Beam search against all texts there are, and against itself prompt by prompt."""

import itertools
from dataclasses import replace

import pytest
import torch

from support import VOCABULARY_SIZE, layout_of, lively, logits_of, shrink, tiny
from trivium.core.batch import Batch, reading
from trivium.core.random import Key
from trivium.model.beam import Hypothesis, beam_search
from trivium.model.build import build_network
from trivium.model.decoding import Beam, Decoding, Sample
from trivium.model.generate import decode
from trivium.model.heads import Network

FEW, STEPS, STOP = 5, 4, 2


def few_words(family: str) -> Network:
    """A network of 5 words whose weights are not near 0."""
    network = build_network(shrink(tiny(family), vocabulary_size=FEW)).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def source_of(family: str, lengths: tuple[int, ...], size: int) -> Batch | None:
    if family == "decoder":
        return None
    generator = torch.Generator().manual_seed(8)
    tokens_BL = torch.randint(0, size, (len(lengths), max(lengths)), generator=generator)
    documents = [[0] * length + [-1] * (max(lengths) - length) for length in lengths]
    return reading(tokens_BL, layout_of(documents, causal=False))


def one_row(source: Batch | None, row: int) -> Batch | None:
    return None if source is None else source.rows(row, row + 1)


@torch.inference_mode()
def all_texts(network: Network, prompt: list[int], source: Batch | None, penalty: float) -> list[Hypothesis]:
    """Every text that STOP or STEPS ends, the best first."""
    texts = list(itertools.product(range(FEW), repeat=STEPS))
    tokens_BL = torch.tensor([[*prompt, *text] for text in texts])
    batch = reading(tokens_BL, layout_of([[0] * tokens_BL.shape[1]] * len(texts), causal=True))
    if source is not None:
        batch = replace(batch, source=source.map(lambda tensor: tensor.expand(len(texts), -1)))
    scores_BLV = logits_of(network, batch)[:, len(prompt) - 1 :].log_softmax(-1)
    scores_BL = scores_BLV[:, :STEPS].gather(-1, torch.tensor(texts)[:, :, None])[:, :, 0]
    found = {}
    for text, scores_L in zip(texts, scores_BL.tolist(), strict=True):
        said = text[: text.index(STOP) + 1] if STOP in text else text
        found[said] = sum(scores_L[: len(said)]) / len(said) ** penalty
    best = sorted(found, key=lambda said: -found[said])
    return [Hypothesis([token for token in said if token != STOP], found[said]) for said in best]


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
@pytest.mark.parametrize("penalty", [1.0, 0.0, -0.7, 2.0])
def test_a_beam_as_wide_as_everything_finds_the_best_of_all_texts(family: str, penalty: float) -> None:
    network, prompts, source = few_words(family), [[1, 3, 4], [0]], source_of(family, (3, 6), FEW)
    # With "never" and a penalty the best length is taken; without, all are finished before any is given up.
    beam = Beam(size=FEW**STEPS, length_penalty=penalty, early_stopping="never")
    found = beam_search(network, prompts, beam, max_new_tokens=STEPS, stop=frozenset((STOP,)), source=source)
    compared = 0
    for row, (prompt, hypotheses) in enumerate(zip(prompts, found, strict=True)):
        expected = all_texts(network, prompt, one_row(source, row), penalty)
        assert len(expected) == len(hypotheses) == 1 + 4 + 16 + 64 * 5
        for mine, theirs in zip(hypotheses, expected, strict=True):
            assert mine.score == pytest.approx(theirs.score, abs=1e-5, rel=1e-6)
            compared += 1
        assert [mine.tokens for mine in hypotheses[:20]] == [theirs.tokens for theirs in expected[:20]]
    assert compared > 600


def prompts_of(lengths: tuple[int, ...]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(6)
    return [torch.randint(6, VOCABULARY_SIZE, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_a_prompt_is_continued_as_if_it_were_alone(family: str) -> None:
    network, lengths = lively(tiny(family)), (7, 1, 12, 4)
    prompts, source = prompts_of(lengths), source_of(family, (3, 9, 5, 1), VOCABULARY_SIZE)
    beam, stop = Beam(size=3), frozenset(range(60, 90))
    together = beam_search(network, prompts, beam, max_new_tokens=8, stop=stop, source=source)
    for row, prompt in enumerate(prompts):
        [alone] = beam_search(network, [prompt], beam, max_new_tokens=8, stop=stop, source=one_row(source, row))
        assert [hypothesis.tokens for hypothesis in alone] == [hypothesis.tokens for hypothesis in together[row]]
        assert len(alone) == 3 and len({tuple(hypothesis.tokens) for hypothesis in alone}) == 3
        assert [each.score for each in alone] == pytest.approx([each.score for each in together[row]], abs=1e-5)


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_a_beam_of_one_is_greedy(family: str) -> None:
    network, prompts = lively(tiny(family)), prompts_of((5, 2))
    source, stop = source_of(family, (4, 2), VOCABULARY_SIZE), frozenset(range(60, 90))
    greedy = decode(network, prompts, Decoding(max_new_tokens=9), stop=stop, source=source)
    beam = decode(network, prompts, Decoding(method=Beam(size=1), max_new_tokens=9), stop=stop, source=source)
    assert [[each.tokens for each in row] for row in beam] == [[each.tokens for each in row] for row in greedy]


def test_forbidden_and_early_tokens_are_in_no_text() -> None:
    network, prompts, forbidden = lively(tiny("decoder")), prompts_of((5, 2)), list(range(10, 100))
    decoding = Decoding(method=Beam(size=4), max_new_tokens=9, min_new_tokens=5, no_repeat_ngram=2)
    found = decode(network, prompts, decoding, stop=frozenset(range(100, 150)), forbidden=forbidden)
    texts = [each.tokens for row in found for each in row]
    assert len(texts) == 8
    for text in texts:
        pairs = list(itertools.pairwise(text))
        assert not set(text) & set(forbidden) and len(text) >= 5 and len(pairs) == len(set(pairs))


def test_drawn_texts_do_not_depend_on_the_batch() -> None:
    network, prompts = lively(tiny("decoder")), prompts_of((7, 1, 12, 4))
    decoding = Decoding(method=Sample(temperature=1.5, top_p=0.9), max_new_tokens=12)
    keys = [Key(5, (row,)) for row in range(4)]
    together = decode(network, prompts, decoding, stop=frozenset(), keys=keys)
    for rows in ([2], [3, 0], [1, 2, 3]):
        some = decode(network, [prompts[r] for r in rows], decoding, stop=frozenset(), keys=[keys[r] for r in rows])
        assert some == [together[row] for row in rows]
    assert len({tuple(row[0].tokens) for row in together}) == 4
    with pytest.raises(ValueError, match="1 keys for 4 prompts"):
        decode(network, prompts, decoding, stop=frozenset(), keys=keys[:1])
