"""The type in which a cache keeps keys and values, and what is written with it."""

import pytest
import torch
from torch import Tensor

from support import layout_of, lively, tiny
from trivium.core.batch import Batch, reading
from trivium.model.heads import Network
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
