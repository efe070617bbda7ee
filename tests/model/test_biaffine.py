"""The head of spans against its equation, place by place, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from trivium.core.random import Key
from trivium.model.biaffine import SpanHead
from trivium.model.build import build_span_head
from trivium.model.config import ReadoutConfig, TransformConfig
from trivium.model.initialise import initialise
from trivium.model.parts import LayerNormConfig
from trivium.model.presets import preset
from trivium.model.roles import readout_matrices


def drawn(seed: int, *, max_words: int, bias: bool = True) -> SpanHead:
    generator = torch.Generator().manual_seed(seed)
    head = SpanHead(
        transform=nn.Identity(),
        hidden_size=7,
        size=5,
        num_classes=3,
        max_words=max_words,
        activation=functional.gelu,
        dropout=nn.Identity(),
        bias=bias,
    ).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter, 0.0, 0.5, generator=generator)
    return head


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("max_words", [1, 4, 12])
def test_each_span_scores_what_the_equation_says(max_words: int, bias: bool) -> None:
    head = drawn(max_words, max_words=max_words, bias=bias)
    hidden_ND = torch.randn(9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores_NWC = head(hidden_ND)
    assert scores_NWC.shape == (9, max_words, 3)
    bilinear_CKK = head.both.weight.view(3, 5, 5)
    compared = 0
    for first in range(9):
        for width in range(max_words):
            last = first + width
            start = functional.gelu(head.first(hidden_ND[first]))
            end = functional.gelu(head.last(hidden_ND[last])) if last < 9 else torch.zeros(5, dtype=torch.float64)
            for number in range(3):
                # U is kept the other way round: the numbers of the first word make those that the last is held against.
                expected = end @ bilinear_CKK[number] @ start
                expected = expected + head.of_first(start)[number] + head.of_last.weight[number] @ end
                torch.testing.assert_close(scores_NWC[first, width, number], expected, rtol=0.0, atol=1e-12)
                compared += 1
    assert compared == 9 * max_words * 3


def test_every_parameter_learns_from_the_spans_that_there_are() -> None:
    head, generator = drawn(3, max_words=4), torch.Generator().manual_seed(1)
    hidden_ND = torch.randn(6, 7, dtype=torch.float64, generator=generator).requires_grad_()
    scores_NWC = head(hidden_ND)
    there_NW = torch.arange(6)[:, None] + torch.arange(4) < 6
    scores_NWC[there_NW].logsumexp(-1).sum().backward()
    for name, tensor in [*head.named_parameters(), ("hidden", hidden_ND)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.abs().max() > 0, name
    assert torch.autograd.gradcheck(head, (hidden_ND.detach().requires_grad_(),))


def test_it_is_drawn_so_that_scores_are_of_the_size_of_states_and_equal_keys_give_equal_weights() -> None:
    for name in ("encoder-tiny", "seq2seq-tiny"):
        config = preset(name)
        readout = ReadoutConfig(transform=TransformConfig(activation="tanh", norm=LayerNormConfig()))
        sizes = {"hidden_size": config.hidden_size, "size": 128, "num_classes": 9, "max_words": 8, "dropout": 0.0}
        heads = [build_span_head(readout, **sizes) for _ in range(2)]
        for head in heads:
            initialise(head, config, Key(5))
        assert all(torch.equal(a, b) for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True))
        scores_NWC = heads[0](torch.randn(200, config.hidden_size, generator=torch.Generator().manual_seed(2)))
        assert 0.1 < float(scores_NWC.detach().std()) < 3.0
        assert readout_matrices(heads[0]) == {"first.weight", "last.weight"}
