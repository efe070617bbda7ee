"""The type in which a cache keeps keys and values, what is written with it, and what a new place sees of it."""

import pytest
import torch
from torch import Tensor

from support import layout_of, lively, tiny
from trivium.core.batch import Batch, reading
from trivium.core.layout import TokenLayout
from trivium.model.config import ModelConfig
from trivium.model.heads import Network
from trivium.model.view import View
from trivium.model.writing import Writing, begin

PROMPTS = [[5, 6, 7, 8, 9], [4, 3]]


def source_of(family: str) -> Batch | None:
    if family == "decoder":
        return None
    tokens_BL = torch.tensor([[6, 5, 4, 3], [9, 8, 0, 0]])
    return reading(tokens_BL, layout_of([[0, 0, 0, 0], [0, 0, -1, -1]], causal=False))


@torch.inference_mode()
def written(network: Network, family: str) -> tuple[Writing, Tensor]:
    """Return a network in the middle of writing, after two tokens of each text, and the logits of the third."""
    writing = begin(network, PROMPTS, max_new_tokens=4, source=source_of(family))
    for tokens in ([3, 4], [7, 5]):
        writing.write(torch.tensor(tokens))
        writing.read()
    return writing, writing.logits()


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_a_network_in_bfloat16_keeps_them_in_float32_and_says_nearly_what_it_says_in_float32(family: str) -> None:
    _, exact_BV = written(lively(tiny(family)).eval(), family)
    writing, logits_BV = written(lively(tiny(family)).eval().to(torch.bfloat16), family)
    assert writing.last_BD.dtype == logits_BV.dtype == torch.bfloat16
    for layer in writing.cache.layers:
        kept = [layer.key_BGMK, layer.value_BGMK, *(layer.source or ())]
        assert {tensor.dtype for tensor in kept} == {torch.float32}
        assert len(kept) == (2 if family == "decoder" else 4)
    assert float((logits_BV.float() - exact_BV).norm() / exact_BV.norm()) < 0.03
    assert float((exact_BV[0] - exact_BV[1]).norm() / exact_BV.norm()) > 0.3  # the texts are told apart


def test_other_types_are_kept_as_they_are() -> None:
    for dtype in (torch.float32, torch.float64):
        writing, _ = written(lively(tiny("decoder")).eval().to(dtype), "decoder")
        assert {layer.key_BGMK.dtype for layer in writing.cache.layers} == {dtype}


def last_states(network: Network, tokens_BL: Tensor, layout: TokenLayout, cuts: list[int]) -> Tensor:
    """Return the hidden states of the last place, read in parts that end at `cuts`, with a cache; without in one."""
    cache = network.writer.new_cache(rows=len(tokens_BL), max_length=12) if len(cuts) > 1 else None
    for begun, end in zip([0, *cuts], cuts, strict=False):
        part = layout.map(lambda values_BL, begun=begun, end=end: values_BL[:, begun:end])  # type: ignore[misc]
        batch = reading(tokens_BL[:, begun:end], part)
        states_BLD = network.stack(batch, None, cache) if cache is None else network.write(batch, None, cache)
    return states_BLD[:, -1]


PLACES = torch.arange(6, dtype=torch.int32).expand(2, 6)
UNUSED = torch.tensor([[0, 0, 0, 0, -1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.int32)
SECOND = torch.tensor([[0, 0, 0, 1, 1, 1]] * 2, dtype=torch.int32)


@pytest.mark.parametrize(
    "config",
    [
        tiny("decoder", "none"),
        *(tiny("decoder", window=window) for window in (1, 3, 5, 6, 7)),
        tiny("decoder", "alibi"),
        tiny("decoder", "relative_buckets"),
    ],
)
@pytest.mark.parametrize("document_BL", [torch.zeros_like(UNUSED), UNUSED, SECOND])
@torch.inference_mode()
def test_a_new_place_sees_what_it_sees_in_one_pass_however_the_text_before_was_read(
    config: ModelConfig, document_BL: Tensor
) -> None:
    network = lively(config).eval()
    tokens_BL = torch.randint(100, 150, (2, 6))
    layout = TokenLayout.causal(document_BL, PLACES)
    whole_BD = last_states(network, tokens_BL, layout, [6])
    for cuts in ([5, 6], [4, 5, 6], [1, 2, 3, 4, 5, 6], [3, 5, 6], [4, 6]):
        torch.testing.assert_close(last_states(network, tokens_BL, layout, cuts), whole_BD, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("prompts", "made"), [([[5, 6, 7], [4, 3, 8]], 0), ([[5, 6, 7], [4, 3]], 2)])
@torch.inference_mode()
def test_no_mask_is_made_where_no_prompt_is_padded(
    prompts: list[list[int]], made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    make = View._make_bias
    monkeypatch.setattr(View, "_make_bias", lambda *given: [calls.append(0), make(*given)][1])
    writing = begin(lively(tiny("decoder")).eval(), prompts, max_new_tokens=3)
    assert len(calls) == 1  # the prompts' own
    for tokens in ([3, 4], [7, 5]):
        writing.write(torch.tensor(tokens))
        writing.read()
    assert len(calls) == 1 + made
