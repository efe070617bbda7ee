"""How the next token is chosen, against definitions written out token by token and against drawn frequencies."""

import math

import pytest
import scipy.stats
import torch

from trivium.core.config import parse
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.choose import Written, chances, constraints, greedy, sampler
from trivium.model.decoding import Beam, Decoding, Greedy, Sample

SAMPLES = (
    Sample(),
    Sample(temperature=0.5),
    Sample(temperature=1.7, top_k=5),
    Sample(top_k=1),
    Sample(top_k=500),
    Sample(top_p=0.6),
    Sample(top_p=0.97),
    Sample(top_p=0.001),
    Sample(min_p=0.2),
    Sample(min_p=1.0),
    Sample(temperature=1.3, top_k=20, top_p=0.8, min_p=0.05),
)


def logits_of(rows: int, size: int, *, spread: float = 2.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(rows, size, generator=generator, dtype=torch.float64)


def defined(logits: list[float], sample: Sample) -> list[float]:
    """The definition, token by token."""
    weights = [math.exp(logit / sample.temperature) for logit in logits]
    if sample.top_k is not None:
        weights = [weight if sum(other > weight for other in weights) < sample.top_k else 0.0 for weight in weights]
    total = sum(weights)
    weights = [
        weight if sum(other for other in weights if other > weight) / total < sample.top_p else 0.0
        for weight in weights
    ]
    weights = [weight if weight >= sample.min_p * max(weights) else 0.0 for weight in weights]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
@pytest.mark.parametrize("size", [7, 200])
def test_chances_are_those_of_the_definition(sample: Sample, size: int) -> None:
    # 200 of nearly equal probability: the nucleus is more than what is looked at first.
    logits_BV = logits_of(4, size, spread=2.0 if size == 7 else 0.1, seed=size)
    expected = torch.tensor([defined(row, sample) for row in logits_BV.tolist()], dtype=torch.float64)
    torch.testing.assert_close(chances(logits_BV, sample), expected, atol=1e-12, rtol=1e-9)


def test_equals_are_kept_together() -> None:
    logits_BV = torch.tensor([[1.0, 3.0, 3.0, 0.0, 3.0]])
    for sample in (Sample(top_k=2), Sample(top_p=0.3), Sample(min_p=1.0)):
        torch.testing.assert_close(chances(logits_BV, sample), torch.tensor([[0, 1 / 3, 1 / 3, 0, 1 / 3]]))


@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[2], SAMPLES[5], SAMPLES[-1]], ids=str)
def test_what_is_drawn_has_these_chances(sample: Sample) -> None:
    many = 20_000
    logits_V = logits_of(1, 30, seed=3)[0]
    drawn = sampler(sample, [Key(7, (row,)) for row in range(many)])(logits_V.expand(many, -1), 5)
    counts = torch.bincount(drawn, minlength=30).double()
    expected = chances(logits_V[None], sample)[0] * many
    assert float(counts[expected == 0].sum()) == 0
    assert int((expected > 0).sum()) > 1
    assert scipy.stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-3


def test_a_row_is_drawn_by_its_key_and_step_whatever_is_beside_it() -> None:
    logits_BV, keys = logits_of(6, 50, seed=1), [Key(3, (row,)) for row in range(6)]
    together = [sampler(Sample(), keys)(logits_BV, step).tolist() for step in range(20)]
    for row in (0, 3, 5):
        alone = [sampler(Sample(), [keys[row]])(logits_BV[row : row + 1], step).item() for step in range(20)]
        assert alone == [tokens[row] for tokens in together]
        assert len(set(alone)) > 1
    assert [tokens[0] for tokens in together] != [tokens[1] for tokens in together]


def test_temperature_0_is_greedy() -> None:
    logits_BV = logits_of(6, 50, seed=1)
    assert torch.equal(sampler(Sample(temperature=0.0), [Key(0)] * 6)(logits_BV, 0), greedy(logits_BV, 0))


def written(texts: list[list[int]], new: int = 0) -> Written:
    longest = max(len(text) for text in texts) + 2
    text_BL = torch.tensor([text + [-1] * (longest - len(text)) for text in texts])
    return Written(text_BL, torch.tensor([len(text) for text in texts]), new)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_ngram_comes_twice(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    texts = [torch.randint(0, 3, (length,), generator=generator).tolist() for length in (14, 1, 5, 2, 3, 20)]
    adjust = constraints(Decoding(no_repeat_ngram=size), frozenset())
    assert adjust is not None
    banned = adjust(torch.zeros(len(texts), 4), written(texts)) == float("-inf")
    seen = 0
    for row, text in enumerate(texts):
        ngrams = {tuple(text[start : start + size]) for start in range(len(text) - size + 1)}
        for token in range(4):
            expected = tuple([*text, token][-size:]) in ngrams
            assert bool(banned[row, token]) == expected
            seen += expected
    assert seen > 0


def test_what_is_there_is_scored_lower_once() -> None:
    adjust = constraints(Decoding(repetition_penalty=2.0), frozenset())
    assert adjust is not None
    scores = adjust(torch.tensor([[3.0, -3.0, 1.0, -1.0]] * 2), written([[0, 1, 1], [3]]))
    assert scores.tolist() == [[1.5, -6.0, 1.0, -1.0], [3.0, -3.0, 1.0, -2.0]]


def test_no_end_before_the_least_length() -> None:
    adjust = constraints(Decoding(min_new_tokens=2), frozenset((1, 3)))
    assert adjust is not None
    for new, ends in ((0, False), (1, False), (2, True)):
        scores = adjust(torch.zeros(1, 4), written([[0, 0]], new))
        assert (scores > float("-inf")).tolist() == [[True, ends, True, ends]]


def test_nothing_asked_is_nothing_done() -> None:
    assert constraints(Decoding(), frozenset((1,))) is None
    assert constraints(Decoding(min_new_tokens=3), frozenset()) is None


def test_a_decoding_is_read_as_a_tagged_union() -> None:
    assert parse(Decoding, {}, "here").method == Greedy()
    assert parse(Decoding, {"method": {"kind": "beam", "size": 3}}, "here").method == Beam(size=3)
    with pytest.raises(ConfigError, match=r"here: .*kind.*greedy, sample, beam"):
        parse(Decoding, {"method": {"kind": "beams"}}, "here")
    with pytest.raises(ConfigError, match="`min_new_tokens` must not exceed `max_new_tokens`: 9 is more than 8"):
        parse(Decoding, {"min_new_tokens": 9, "max_new_tokens": 8}, "here")
    with pytest.raises(ConfigError, match="top_p"):
        parse(Decoding, {"method": {"kind": "sample", "top_p": 0.0}}, "here")
