"""Regularisers against their papers' formulas, computed by hand in float64 on small random networks."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from regulariser_support import (
    ALL,
    FAMILIES,
    KEY,
    SIZE,
    Losing,
    Tokens,
    by_name,
    divergence,
    labelled_batch,
    logits,
    nats,
    network_of,
    total,
    weighted,
    wrapped,
)
from torch import nn

from one_device import META, OneDevice
from support import VOCABULARY_SIZE, lively, tiny, with_dropout
from training import ROWS, STEPS, run_config, trial
from trivium.core.errors import ConfigError
from trivium.data.loader import micro_batches
from trivium.model.config import Decoder
from trivium.model.parts import Gated, MixtureOfExpertsConfig
from trivium.objectives.causal import Causal
from trivium.objectives.regularisers.build import regularised
from trivium.objectives.regularisers.config import (
    FgmConfig,
    LabelSmoothingConfig,
    NeftuneConfig,
    RDropConfig,
    RegulariserConfig,
    ZLossConfig,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)
def test_the_counts_are_those_of_the_terms(config: RegulariserConfig, family: str) -> None:
    network, batch = network_of(family, 0.1), labelled_batch(family)
    learned = wrapped(config, network=network)
    terms = by_name(learned.loss(network, batch, KEY))
    assert set(terms) == set(learned.counts(batch)) and min(learned.counts(batch).values()) > 0
    parts = [learned.counts(micro) for micro in micro_batches(batch, 3)]
    assert {name: sum(part[name] for part in parts) for name in terms} == learned.counts(batch)


def test_smoothed_labels_are_a_mixture() -> None:
    network, batch = network_of("encoder"), labelled_batch("encoder")
    terms = wrapped(LabelSmoothingConfig(share=0.2), network=network).loss(network, batch, KEY)
    logits_NV = logits(network, batch)
    target_NV = torch.full_like(logits_NV, 0.2 / VOCABULARY_SIZE)
    target_NV[torch.arange(len(target_NV)), batch.labels_BN.reshape(-1)] += 0.8
    assert total(terms) == pytest.approx(weighted(-(target_NV * logits_NV.softmax(-1).log()).sum(-1), batch), rel=1e-12)
    # What is logged as the objective's own stays the plain cross-entropy.
    assert float(by_name(terms)["tokens"].sum) == pytest.approx(weighted(nats(logits_NV, batch), batch), rel=1e-12)


def test_z_loss_is_the_square_of_the_logarithm_of_the_sum() -> None:
    network, batch = network_of("decoder"), labelled_batch("decoder")
    terms = by_name(wrapped(ZLossConfig(weight=0.03), network=network).loss(network, batch, KEY))
    expected = weighted(logits(network, batch).exp().sum(-1).log() ** 2, batch)
    assert float(terms["z_loss"].sum) == pytest.approx(expected, rel=1e-12)
    assert terms["z_loss"].weight == 0.03 and terms["tokens"].weight == 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_r_drop_is_two_passes_and_what_is_between_them(family: str) -> None:
    network, batch = network_of(family, 0.2), labelled_batch(family)
    torch.manual_seed(5)
    terms = wrapped(RDropConfig(weight=3.0), network=network).loss(network, batch, KEY)
    torch.manual_seed(5)
    one, other = logits(network, batch), logits(network, batch)
    paper = weighted(nats(one, batch) + nats(other, batch) + 3.0 * divergence(one, other) / 2, batch)
    assert 2 * total(terms) == pytest.approx(paper, rel=1e-10)
    assert float(by_name(terms)["r_drop"].sum) > 0.01


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)
@pytest.mark.parametrize("family", ["encoder", "encoder_decoder"])
def test_the_gradient_is_the_same_however_a_step_is_cut(config: RegulariserConfig, family: str) -> None:
    # Without dropout: what it draws depends on the micro-batch. Two passes then differ by the noise between them.
    network, batch = network_of(family), labelled_batch(family)
    configs = (NeftuneConfig(), config) if isinstance(config, RDropConfig) else (config,)
    learned = wrapped(*configs, network=network)
    counts, gradients = learned.counts(batch), []
    for accumulation in (1, 3):
        network.zero_grad()
        for micro in micro_batches(batch, accumulation):
            terms = learned.loss(network, micro, KEY)
            sum(term.weight * term.sum / counts[term.name] for term in terms).backward()  # type: ignore[union-attr]
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 10
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("config", [c for c in ALL if c.kind != "r_drop"], ids=lambda config: config.kind)
def test_training_is_the_same_however_its_steps_are_cut(config: RegulariserConfig) -> None:
    torch.set_default_dtype(torch.float32)
    reports = []
    for accumulation in (1, 4):
        attempt = trial(run_config("encoder-tiny", accumulation=accumulation))
        attempt.objective = regularised(  # type: ignore[assignment]
            (config,), attempt.objective, name="masked", network=attempt.network, hidden_size=SIZE
        )
        reports.append(attempt.reports(0, 6))
    assert len(reports[0]) == len(reports[1]) == 6
    for one, other in zip(*reports, strict=True):
        assert other.terms == pytest.approx(one.terms, abs=1e-5)
        assert other.loss == pytest.approx(one.loss, abs=1e-5)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-3)


def test_all_of_them_fit_together_in_any_order() -> None:
    network, batch = network_of("encoder", 0.1), labelled_batch("encoder")
    for configs in (ALL, ALL[::-1], ALL[3:] + ALL[:3]):
        learned = wrapped(*configs, network=network)
        terms = by_name(learned.loss(network, batch, KEY))
        assert set(terms) == set(learned.counts(batch))
        assert math.isfinite(total(tuple(terms.values())))
        assert {"tokens", "label_smoothing", "z_loss", "r_drop", "smart", "fgm_tokens"} <= set(terms)


def test_a_batch_without_labels_gives_zeros_and_not_nan() -> None:
    network, batch = network_of("decoder", 0.1), labelled_batch("decoder")
    batch = replace(batch, weights_BN=torch.zeros_like(batch.weights_BN))
    learned = wrapped(*ALL, network=network)
    terms = learned.loss(network, batch, KEY)
    assert {float(term.sum.detach()) for term in terms} == {0.0}
    torch.stack([term.sum for term in terms]).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_with_none_nothing_is_wrapped() -> None:
    tokens = Tokens([])
    assert regularised((), tokens, name="tokens", network=nn.Linear(1, 1), hidden_size=SIZE) is tokens


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)
def test_what_needs_logits_is_refused_where_there_are_none(config: RegulariserConfig) -> None:
    network, batch = network_of("encoder", 0.1), labelled_batch("encoder")
    if isinstance(config, FgmConfig | NeftuneConfig):
        learned = regularised((config,), Losing(), name="losing", network=network, hidden_size=SIZE)
        assert {term.name for term in learned.loss(network, batch, KEY)} == set(learned.counts(batch))
        return
    with pytest.raises(ConfigError, match=f"`{config.kind}` needs logits of labels, and `losing` shows none"):
        regularised((NeftuneConfig(), config), Losing(), name="losing", network=network, hidden_size=SIZE)


def test_r_drop_is_refused_where_nothing_makes_its_passes_differ() -> None:
    with pytest.raises(ConfigError, match="drops nothing out"):
        wrapped(RDropConfig(), network=network_of("encoder"))
    wrapped(NeftuneConfig(), RDropConfig(), network=network_of("encoder"))


def test_each_kind_is_named_once() -> None:
    torch.set_default_dtype(torch.float32)
    config = run_config()
    with pytest.raises(ValidationError, match="found `z_loss` 2 times"):
        type(config).model_validate(config.model_dump() | {"regularisers": [{"kind": "z_loss"}, {"kind": "z_loss"}]})


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_with_one_lowers_the_loss(config: RegulariserConfig, precision: str) -> None:
    torch.set_default_dtype(torch.float32)
    attempt = trial(run_config("encoder-tiny", dropout=0.1, precision=precision))  # type: ignore[arg-type]
    learned = regularised((config,), attempt.objective, name="masked", network=attempt.network, hidden_size=SIZE)
    attempt.objective = learned  # type: ignore[assignment]
    terms = [report.terms for report in attempt.reports()]
    assert len(terms) == STEPS and ROWS == 8
    assert sum(term["masked"] for term in terms[-5:]) < 0.97 * sum(term["masked"] for term in terms[:5])


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)
def test_the_load_of_experts_is_balanced_beside(config: RegulariserConfig) -> None:
    model = with_dropout(tiny("decoder"), 0.1)
    experts = MixtureOfExpertsConfig(num_experts=4, top_k=2, expert=Gated(size=16, activation="silu"))
    assert isinstance(model.family, Decoder)
    block = model.family.stack.pattern[0].model_copy(update={"feed_forward": experts})
    stack = model.family.stack.model_copy(update={"pattern": (block,)})
    network = lively(model.model_copy(update={"family": Decoder(stack=stack)})).double().train()
    learned = regularised((config,), Causal(balanced=True), name="causal", network=network, hidden_size=SIZE)
    batch = labelled_batch("decoder")
    terms = by_name(learned.loss(network, batch, KEY))
    assert "balance" in terms and set(terms) == set(learned.counts(batch))


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)
def test_every_regulariser_is_on_one_device(config: RegulariserConfig) -> None:
    network, batch = network_of("encoder", 0.1).to(META), labelled_batch("encoder")
    learned = wrapped(config, network=network)
    with OneDevice():
        terms = learned.loss(network, batch.to(META), KEY)
        torch.stack([term.weight * term.sum for term in terms]).sum().backward()
