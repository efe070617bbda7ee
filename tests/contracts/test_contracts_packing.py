"""Packed rows give each document exactly what it would get alone: hidden states, logits and gradients."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from support import (
    FAMILIES,
    POSITIONS,
    VOCABULARY,
    alone,
    documents_of,
    family_of,
    lively,
    logits_of,
    packed_batch,
    padded,
    places_of,
    random_rows,
    shrink,
    tiny,
    without_dropout,
)
from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.model.config import ModelConfig
from trivium.model.presets import PRESETS, preset
from trivium.objectives.build import ObjectiveConfig, build_objective
from trivium.objectives.causal import CausalConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.spans import SpansConfig

KERNELS = ("reference", "matmul", "sdpa")


def check_packed_is_alone(network: nn.Module, batch: Batch) -> None:
    network = network.double()  # unscaled scores of lively weights leave float32 no fifth digit
    with torch.inference_mode():
        packed_hidden, packed_logits = network(batch), logits_of(network, batch)
        checked = 0
        for row, document in documents_of(batch.layout):
            single = alone(batch, row, document)
            places = places_of(batch.layout, row, document)
            torch.testing.assert_close(packed_hidden[row, places], network(single)[0], atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(packed_logits[row, places], logits_of(network, single)[0], atol=1e-9, rtol=1e-9)
            checked += 1
    assert checked == 7


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_documents_alone(family: str, position: str, kernel: str, window: int | None) -> None:
    config = tiny(family, position, window=window, groups=2)
    check_packed_is_alone(lively(config, kernel=kernel), packed_batch(family))


@pytest.mark.parametrize("name", PRESETS)
def test_packed_rows_are_documents_alone_for_every_preset(name: str) -> None:
    check_packed_is_alone(lively(shrink(preset(name))), packed_batch(family_of(preset(name))))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_agree(family: str, position: str) -> None:
    batch = packed_batch(family)
    used = batch.layout.document_BL >= 0
    for window, groups in itertools.product((None, 3), (1, 2, 4)):
        config = tiny(family, position, window=window, groups=groups)
        with torch.inference_mode():
            reference, *others = (lively(config, kernel=kernel)(batch)[used] for kernel in KERNELS)
        assert len(others) == 2
        for other in others:
            torch.testing.assert_close(other, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", [position for position in POSITIONS if position != "none"])
def test_a_position_scheme_tells_order(position: str) -> None:
    network = lively(tiny("encoder", position))
    batch = packed_batch("encoder")
    swapped = batch.map(torch.clone)
    swapped.tokens_BL[1, [4, 9]] = batch.tokens_BL[1, [9, 4]]
    with torch.inference_mode():
        assert float((network(batch)[1, 0] - network(swapped)[1, 0]).abs().max()) > 1e-4


def test_a_window_hides_what_is_farther() -> None:
    batch = packed_batch("decoder")
    other = batch.map(torch.clone)
    other.tokens_BL[1, 0] = other.tokens_BL[1, 0] - 1
    network = lively(tiny("decoder", window=3))
    with torch.inference_mode():
        changed = (network(batch)[1] != network(other)[1]).any(-1)
    # Two layers that each look 2 places back.
    assert changed.tolist() == [True] * 5 + [False] * 19


def test_unused_places_change_nothing() -> None:
    for family in FAMILIES:
        network = lively(tiny(family))
        batch = packed_batch(family)
        other = batch.map(torch.clone)
        other.tokens_BL[batch.layout.document_BL < 0] = 7
        if other.source is not None:
            other.source.tokens_BL[other.source.layout.document_BL < 0] = 7
        used = batch.layout.document_BL >= 0
        with torch.inference_mode():
            assert torch.equal(network(batch)[used], network(other)[used])


ROWS = random_rows([[15, 1, 20, 2, 11], [49], [30, 3, 12], [49]], 48, seed=3)
OBJECTIVES: list[tuple[str, ObjectiveConfig]] = [
    ("encoder", MaskedConfig(rate=0.3)),
    ("decoder", CausalConfig()),
    ("encoder_decoder", SpansConfig(rate=0.3)),
]


def gradients(network: nn.Module, objective: ObjectiveConfig, batch: Batch) -> tuple[float, dict[str, Tensor]]:
    network.zero_grad(set_to_none=True)
    (term,) = build_objective(objective, VOCABULARY).loss(network, batch, Key(0))
    term.sum.backward()
    return float(term.sum.detach()), {
        name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None
    }


def check_packed_gradients(config: ModelConfig, objective: ObjectiveConfig) -> None:
    network = lively(config).double()
    packed = build_objective(objective, VOCABULARY).make(ROWS, Key(4))
    one_a_row = padded(packed)
    assert len(one_a_row.tokens_BL) > len(packed.tokens_BL)
    assert float(one_a_row.weights_BN.sum()) == float(packed.weights_BN.sum()) > 40
    packed_loss, packed_gradients = gradients(network, objective, packed)
    padded_loss, padded_gradients = gradients(network, objective, one_a_row)
    assert packed_loss == pytest.approx(padded_loss, rel=1e-12)
    assert packed_gradients.keys() == padded_gradients.keys() and len(packed_gradients) > 10
    for name, gradient in packed_gradients.items():
        torch.testing.assert_close(gradient, padded_gradients[name], atol=1e-9, rtol=1e-6, msg=name)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("family", "objective"), OBJECTIVES)
def test_gradients_of_packed_rows_are_those_of_padded_ones(
    family: str, objective: ObjectiveConfig, position: str
) -> None:
    check_packed_gradients(tiny(family, position), objective)


@pytest.mark.parametrize("name", PRESETS)
def test_gradients_of_packed_rows_are_those_of_padded_ones_for_every_preset(name: str) -> None:
    (objective,) = [objective for family, objective in OBJECTIVES if family == family_of(preset(name))]
    check_packed_gradients(without_dropout(shrink(preset(name))), objective)
