"""Generation with a cache gives what the whole forward pass gives, for rows of unequal length too."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from support import FIRST_WORD, POSITIONS, VOCABULARY_SIZE, family_of, layout_of, lively, logits_of, shrink, tiny
from trivium.core.batch import Batch, reading
from trivium.core.random import Key
from trivium.model.choose import greedy, sampler
from trivium.model.config import ModelConfig
from trivium.model.decoding import Sample
from trivium.model.generate import generate
from trivium.model.heads import Network
from trivium.model.presets import PRESETS, preset

WRITING_PRESETS = [name for name in PRESETS if family_of(preset(name)) != "encoder"]
PROMPT_LENGTHS = (7, 1, 12, 4)
NEW_TOKENS = 9


def words(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(FIRST_WORD, VOCABULARY_SIZE, shape, generator=generator)


def prompts() -> list[list[int]]:
    return [words(length, seed=length).tolist() for length in PROMPT_LENGTHS]


def source_of(config: ModelConfig) -> Batch | None:
    """Texts of unequal length for the encoder, one a prompt, unused places at the end."""
    if family_of(config) != "encoder_decoder":
        return None
    documents = [[0] * length + [-1] * (15 - length) for length in (15, 3, 8, 1)]
    return reading(words(4, 15, seed=99), layout_of(documents, causal=False))


def one_row(source: Batch | None, row: int) -> Batch | None:
    if source is None:
        return None
    length = int((source.layout.document_BL[row] >= 0).sum())
    return source.rows(row, row + 1).map(lambda tensor: tensor[:, :length])


def last_logits(network: Network, text: Sequence[int], source: Batch | None) -> Tensor:
    batch = reading(torch.tensor([list(text)]), layout_of([[0] * len(text)], causal=True))
    return logits_of(network, replace(batch, source=source))[0, -1]


@torch.inference_mode()
def check_greedy_is_arg_max(config: ModelConfig) -> None:
    network = lively(config)
    source = source_of(config)
    generated = generate(network, prompts(), choose=greedy, max_new_tokens=NEW_TOKENS, stop=frozenset(), source=source)
    compared = 0
    for row, (prompt, continuation) in enumerate(zip(prompts(), generated, strict=True)):
        assert len(continuation) == NEW_TOKENS
        text = list(prompt)
        for token in continuation:
            assert token == int(last_logits(network, text, one_row(source, row)).argmax())
            text.append(token)
            compared += 1
    assert compared == len(PROMPT_LENGTHS) * NEW_TOKENS
    assert len({token for continuation in generated for token in continuation}) > 1


@pytest.mark.parametrize("name", WRITING_PRESETS)
def test_greedy_generation_is_the_arg_max_of_the_whole_forward_pass(name: str) -> None:
    check_greedy_is_arg_max(shrink(preset(name)))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_greedy_generation_is_the_arg_max_for_any_position_scheme(
    family: str, position: str, window: int | None
) -> None:
    check_greedy_is_arg_max(tiny(family, position, window=window, groups=2))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
@torch.inference_mode()
def test_logits_with_a_cache_are_those_of_the_whole_forward_pass(family: str, position: str) -> None:
    config = tiny(family, position, groups=2)
    network = lively(config)
    source = source_of(config)
    seen: list[Tensor] = []

    def choose(logits_BV: Tensor, step: int) -> Tensor:
        seen.append(logits_BV.clone())
        return words(len(logits_BV), seed=step)

    generated = generate(network, prompts(), choose=choose, max_new_tokens=NEW_TOKENS, stop=frozenset(), source=source)
    assert len(seen) == NEW_TOKENS
    for step, logits_BV in enumerate(seen):
        for row, prompt in enumerate(prompts()):
            expected = last_logits(network, [*prompt, *generated[row][:step]], one_row(source, row))
            torch.testing.assert_close(logits_BV[row], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_a_row_of_several_is_generated_as_if_it_were_alone(family: str) -> None:
    config = tiny(family)
    network, source = lively(config), source_of(config)
    together = generate(network, prompts(), choose=greedy, max_new_tokens=6, stop=frozenset(), source=source)
    for row, prompt in enumerate(prompts()):
        single = generate(
            network, [prompt], choose=greedy, max_new_tokens=6, stop=frozenset(), source=one_row(source, row)
        )
        assert single == [together[row]]


def test_a_row_ends_at_a_stop_token_which_is_not_part_of_it() -> None:
    network = lively(tiny("decoder"))
    free = generate(network, prompts(), choose=greedy, max_new_tokens=NEW_TOKENS, stop=frozenset())
    stop = free[0][3]
    stopped = generate(network, prompts(), choose=greedy, max_new_tokens=NEW_TOKENS, stop=frozenset((stop,)))
    for whole, cut in zip(free, stopped, strict=True):
        assert cut == (whole[: whole.index(stop)] if stop in whole else whole)
    assert len(stopped[0]) <= 3


def test_forbidden_tokens_are_never_chosen() -> None:
    network = lively(tiny("decoder"))
    free = generate(network, prompts(), choose=greedy, max_new_tokens=4, stop=frozenset())
    forbidden = sorted({token for row in free for token in row})
    for choose in (greedy, sampler(Sample(), [Key(row) for row in range(len(PROMPT_LENGTHS))])):
        other = generate(network, prompts(), choose=choose, max_new_tokens=4, stop=frozenset(), forbidden=forbidden)
        assert not {token for row in other for token in row} & set(forbidden)


def test_equal_keys_draw_equal_texts_and_others_differ() -> None:
    network = lively(tiny("decoder"))

    def drawn(seed: int) -> list[list[int]]:
        choose = sampler(Sample(temperature=2.0), [Key(seed, (row,)) for row in range(len(PROMPT_LENGTHS))])
        return generate(network, prompts(), choose=choose, max_new_tokens=8, stop=frozenset())

    assert drawn(1) == drawn(1) != drawn(2)
