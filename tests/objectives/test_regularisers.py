"""Regularisers against their papers' formulas, computed by hand in float64 on small random networks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from support import PACKED, PACKED_SOURCE, VOCABULARY_SIZE, lively, packed_batch, tiny, with_dropout
from training import ROWS, STEPS, run_config, trial
from trivium.core.batch import Batch, Term
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.loader import micro_batches
from trivium.model.heads import Network
from trivium.objectives.base import Learned, Predicted, labelled, predicted_tokens
from trivium.objectives.regularisers.build import regularised
from trivium.objectives.regularisers.config import (
    FgmConfig,
    LabelSmoothingConfig,
    NeftuneConfig,
    RDropConfig,
    RegulariserConfig,
    SmartConfig,
    ZLossConfig,
)
from trivium.objectives.regularisers.noise import document_sums, with_noise

SIZE, CAPACITY = 32, 6
KEY = Key(7)
ALL: tuple[RegulariserConfig, ...] = (
    LabelSmoothingConfig(),
    ZLossConfig(),
    RDropConfig(),
    FgmConfig(),
    SmartConfig(),
    NeftuneConfig(),
)
FAMILIES = ("encoder", "decoder", "encoder_decoder")


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@dataclass(frozen=True)
class Tokens:
    """The plainest thing that predicts; it keeps the batches that it is asked about."""

    seen: list[Batch]

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"tokens": float(batch.weights_BN.sum())}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        return self.predicted(network, batch, key).terms

    def predicted(self, network: nn.Module, batch: Batch, key: Key) -> Predicted:
        self.seen.append(batch)
        assert isinstance(network, Network)
        return predicted_tokens("tokens", network, batch)


@dataclass(frozen=True)
class Losing:
    """A loss without logits: the squares of the hidden states."""

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"squares": float(batch.num_tokens)}

    def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
        return (Term("squares", network(batch).square().sum(), float(batch.num_tokens)),)


def network_of(family: str, dropout: float = 0.0) -> Network:
    return lively(with_dropout(tiny(family), dropout)).double().train()


def labelled_batch(family: str, seed: int = 3) -> Batch:
    """Packed documents with labels at some places; some of the capacity is not used, some labels weigh a half."""
    batch, rng = packed_batch(family, seed=seed), torch.Generator().manual_seed(seed)
    used_B = torch.tensor([sum(document >= 0 for document in row) for row in PACKED])
    shape = (len(used_B), CAPACITY)
    weights_BN = torch.tensor([0.0, 0.5, 1.0])[torch.randint(0, 3, shape, generator=rng)]
    return replace(
        batch,
        places_BN=torch.randint(0, 1000, shape, generator=rng) % used_B[:, None],
        labels_BN=torch.randint(0, VOCABULARY_SIZE, shape, generator=rng),
        weights_BN=weights_BN.float(),
    )


def wrapped(*configs: RegulariserConfig, network: nn.Module, seen: list[Batch] | None = None) -> Learned:
    tokens = Tokens([] if seen is None else seen)
    return regularised(configs, tokens, name="tokens", network=network, hidden_size=SIZE)


def logits(network: Network, batch: Batch) -> Tensor:
    return predicted_tokens("tokens", network, batch).logits_NV


def weighted(values_N: Tensor, batch: Batch) -> float:
    return float((values_N.detach() * batch.weights_BN.reshape(-1)).sum())


def nats(logits_NV: Tensor, batch: Batch) -> Tensor:
    return -logits_NV.softmax(-1).gather(1, batch.labels_BN.reshape(-1, 1))[:, 0].log()


def divergence(one_NV: Tensor, other_NV: Tensor) -> Tensor:
    p, q = one_NV.softmax(-1), other_NV.softmax(-1)
    return (p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)


def total(terms: tuple[Term, ...]) -> float:
    return sum(term.weight * float(term.sum.detach()) for term in terms)


def by_name(terms: tuple[Term, ...]) -> dict[str, Term]:
    found = {term.name: term._replace(sum=term.sum.detach()) for term in terms}
    assert len(found) == len(terms)
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)
def test_the_counts_are_those_of_the_terms(config: RegulariserConfig, family: str) -> None:
    network, batch = network_of(family, 0.1), labelled_batch(family)
    learned = wrapped(config, network=network)
    terms = by_name(learned.loss(network, batch, KEY))
    assert {name: term.count for name, term in terms.items()} == learned.counts(batch)
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


def documents_of(batch: Batch) -> Iterator[tuple[int, Tensor]]:
    for row, document_L in enumerate(batch.layout.document_BL):
        for document in sorted(set(document_L.tolist()) - {-1}):
            yield row, document_L == document


def embeddings_of(network: Network, batch: Batch) -> dict[str, Tensor]:
    """What each stack embeds."""
    stacks = {"own": network.writer} if batch.source is None else {"own": network.writer, "source": network.reader}
    reads = {"own": batch, "source": batch.source}
    return {name: stack.embedding(reads[name]) for name, stack in stacks.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_fgm_moves_each_document_by_epsilon_along_its_gradient(family: str) -> None:
    network, batch, seen = network_of(family), labelled_batch(family), []
    terms = wrapped(FgmConfig(epsilon=0.3, weight=0.5), network=network, seen=seen).loss(network, batch, KEY)
    _, moved = seen
    # The gradient by differences: the loss with one number of an embedding moved a little.
    document_BN = batch.layout.document_BL.gather(1, batch.places_BN)
    learned = {(int(row), int(document_BN[row, n])) for row, n in batch.weights_BN.nonzero().tolist()}
    checked = 0
    rng = torch.Generator().manual_seed(0)
    reads = [(batch, moved)] if batch.source is None else [(batch, moved), (batch.source, moved.source)]
    for which, (part, moved_part) in enumerate(reads):
        move_BLD = moved_part.noise_BLD
        assert torch.equal(
            move_BLD[part.layout.document_BL < 0], torch.zeros_like(move_BLD)[part.layout.document_BL < 0]
        )
        for row, mine_L in documents_of(part):
            document = int(part.layout.document_BL[row, mine_L][0])
            length = 0.3 if (row, document) in learned else 0.0
            assert float(move_BLD[row, mine_L].norm()) == pytest.approx(length, rel=1e-9)

        def loss_at(noise_BLD: Tensor, which: int = which) -> float:
            zeros = [torch.zeros_like(other.noise_BLD) for _, other in reads]
            zeros[which] = noise_BLD
            return weighted(nats(logits(network, with_noise(batch, zeros)), batch), batch)

        for _ in range(2):
            direction = torch.randn(move_BLD.shape, generator=rng) * (part.layout.document_BL >= 0)[..., None]
            for row, mine_L in documents_of(part):
                only = torch.zeros_like(direction)
                only[row, mine_L] = direction[row, mine_L]
                slope = (loss_at(1e-5 * only) - loss_at(-1e-5 * only)) / 2e-5
                along = float((only * move_BLD).sum())
                uphill = torch.zeros_like(move_BLD)
                uphill[row, mine_L] = move_BLD[row, mine_L] / 0.3
                steepest = (loss_at(1e-5 * uphill) - loss_at(-1e-5 * uphill)) / 2e-5
                # slope = g . direction, move = 0.3 g / |g|, steepest = |g|
                assert slope == pytest.approx(along * steepest / 0.3, rel=1e-4, abs=1e-6)
                checked += steepest > 0
    assert checked == 2 * len(reads) * len(learned) > 8
    expected = {
        "tokens": weighted(nats(logits(network, batch), batch), batch),
        "fgm_tokens": weighted(nats(logits(network, moved), batch), batch),
    }
    assert {term.name: float(term.sum.detach()) for term in terms} == pytest.approx(expected, rel=1e-10)
    assert by_name(terms)["fgm_tokens"].weight == 0.5
    assert expected["fgm_tokens"] > expected["tokens"]


@pytest.mark.parametrize("family", FAMILIES)
def test_smart_climbs_once_from_noise_and_stays_within_its_bounds(family: str) -> None:
    network, batch, seen = network_of(family), labelled_batch(family), []
    config = SmartConfig(epsilon=0.02, std=0.005, step=0.018, weight=0.7)
    terms = by_name(wrapped(config, network=network, seen=seen).loss(network, batch, KEY))
    _, tried, moved = seen
    clean_NV = logits(network, batch)
    assert float(terms["smart"].sum) == pytest.approx(
        weighted(divergence(clean_NV, logits(network, moved)), batch), rel=1e-8
    )
    assert terms["smart"].weight == 0.7
    assert float(terms["tokens"].sum) == pytest.approx(weighted(nats(clean_NV, batch), batch), rel=1e-10)
    starts = [part.noise_BLD.detach() for part in (tried, tried.source) if part is not None]
    ends = [part.noise_BLD for part in (moved, moved.source) if part is not None]
    reads = [part for part in (batch, batch.source) if part is not None]
    leaves = [start.clone().requires_grad_() for start in starts]
    apart = (
        divergence(clean_NV.detach(), logits(network, with_noise(batch, leaves))) * batch.weights_BN.reshape(-1)
    ).sum()
    gradients = torch.autograd.grad(apart, leaves)
    compared = 0
    for part, start, end, gradient in zip(reads, starts, ends, gradients, strict=True):
        used = part.layout.document_BL >= 0
        assert float(start[used].std()) == pytest.approx(0.005, rel=0.1)
        assert not start[~used].any() and not end[~used].any()
        assert float(end.abs().max()) <= 0.02
        for row, mine_L in documents_of(part):
            g = gradient[row, mine_L]
            if float(g.abs().max()) == 0.0:
                torch.testing.assert_close(end[row, mine_L], start[row, mine_L].clamp(-0.02, 0.02))
                continue
            torch.testing.assert_close(
                end[row, mine_L],
                (start[row, mine_L] + 0.018 * g / g.abs().max()).clamp(-0.02, 0.02),
                rtol=1e-6,
                atol=1e-9,
            )
            compared += 1
    assert compared >= 3


def test_smarts_passes_drop_out_the_same() -> None:
    network, batch = network_of("encoder", 0.3), labelled_batch("encoder")
    still = SmartConfig(epsilon=1e-9, std=1e-9, step=1e-9)
    terms = by_name(wrapped(still, network=network).loss(network, batch, KEY))
    assert abs(float(terms["smart"].sum)) < 1e-9
    torch.manual_seed(0)
    again = by_name(wrapped(still, network=network).loss(network, batch, KEY))
    assert float(again["tokens"].sum) == float(terms["tokens"].sum)


def test_neftunes_noise_is_uniform_and_scaled_by_each_documents_numbers() -> None:
    network, batch, seen = network_of("encoder_decoder"), labelled_batch("encoder_decoder"), []
    wrapped(NeftuneConfig(alpha=4.0), network=network, seen=seen).loss(network, batch, KEY)
    (noisy,) = seen
    shares = []
    for part in (noisy, noisy.source):
        assert part is not None and part.noise_BLD is not None
        assert not part.noise_BLD[part.layout.document_BL < 0].any()
        for row, mine_L in documents_of(part):
            noise = part.noise_BLD[row, mine_L] * math.sqrt(int(mine_L.sum()) * SIZE) / 4.0
            assert float(noise.abs().max()) <= 1.0
            shares.append(noise.flatten())
    drawn = torch.cat(shares)
    assert len(drawn) == SIZE * sum(sum(d >= 0 for d in row) for row in PACKED + PACKED_SOURCE)
    histogram = torch.histc(drawn, bins=8, min=-1, max=1) / len(drawn)
    torch.testing.assert_close(histogram, torch.full((8,), 0.125), atol=0.02, rtol=0)
    # What is read is the embedded tokens and the noise, nothing else.
    embedded, with_it = embeddings_of(network, batch), embeddings_of(network, noisy)
    torch.testing.assert_close(with_it["own"] - embedded["own"], noisy.noise_BLD)
    torch.testing.assert_close(with_it["source"] - embedded["source"], noisy.source.noise_BLD)


@pytest.mark.parametrize("config", [NeftuneConfig(), SmartConfig()], ids=lambda config: config.kind)
def test_noise_is_drawn_by_key_and_row(config: RegulariserConfig) -> None:
    network, batch = network_of("encoder_decoder"), labelled_batch("encoder_decoder")

    def noises(part: Batch, key: Key) -> Tensor:
        seen: list[Batch] = []
        wrapped(config, network=network, seen=seen).loss(network, part, key)
        noise_BLD = seen[-1].noise_BLD
        assert noise_BLD is not None
        return noise_BLD.detach()

    whole = noises(batch, KEY)
    torch.testing.assert_close(torch.cat([noises(part, KEY) for part in micro_batches(batch, 3)]), whole)
    assert not torch.equal(noises(batch, Key(8)), whole)
    assert not torch.equal(whole[0, :5], whole[1, :5])


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


def test_nothing_is_learned_through_the_move() -> None:
    network, batch, seen = network_of("encoder"), labelled_batch("encoder"), []
    terms = wrapped(FgmConfig(), network=network, seen=seen).loss(network, batch, KEY)
    total_ = sum(term.sum for term in terms)
    gradients = torch.autograd.grad(total_, list(network.parameters()), allow_unused=True)
    plain = labelled(
        "moved", -logits(network, seen[1]).log_softmax(-1).gather(1, batch.labels_BN.reshape(-1, 1))[:, 0], batch
    )
    clean = labelled(
        "clean", -logits(network, batch).log_softmax(-1).gather(1, batch.labels_BN.reshape(-1, 1))[:, 0], batch
    )
    expected = torch.autograd.grad(plain.sum + clean.sum, list(network.parameters()), allow_unused=True)
    assert len(gradients) > 10
    for one, other in zip(gradients, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


def test_all_of_them_fit_together_in_any_order() -> None:
    network, batch = network_of("encoder", 0.1), labelled_batch("encoder")
    for configs in (ALL, ALL[::-1], ALL[3:] + ALL[:3]):
        learned = wrapped(*configs, network=network)
        terms = by_name(learned.loss(network, batch, KEY))
        assert {name: term.count for name, term in terms.items()} == learned.counts(batch)
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
        assert {term.name: term.count for term in learned.loss(network, batch, KEY)} == learned.counts(batch)
        return
    with pytest.raises(ConfigError, match=f"`{config.kind}` needs logits of labels, and `losing` shows none"):
        regularised((NeftuneConfig(), config), Losing(), name="losing", network=network, hidden_size=SIZE)


def test_r_drop_is_refused_where_nothing_makes_its_passes_differ() -> None:
    with pytest.raises(ConfigError, match="drops nothing out"):
        wrapped(RDropConfig(), network=network_of("encoder"))
    wrapped(NeftuneConfig(), RDropConfig(), network=network_of("encoder"))


def test_a_loss_that_reads_no_embeddings_cannot_be_attacked() -> None:
    @dataclass(frozen=True)
    class Blind(Losing):
        def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
            return (Term("blind", sum(p.sum() for p in network.parameters()), 1.0),)  # type: ignore[arg-type]

    network = network_of("encoder")
    learned = regularised((FgmConfig(),), Blind(), name="blind", network=network, hidden_size=SIZE)
    with pytest.raises(ConfigError, match="reads none of them"):
        learned.loss(network, labelled_batch("encoder"), KEY)


def test_sums_over_documents() -> None:
    document_BL = torch.tensor([[0, 0, 1, -1], [2, 2, 2, 0]])
    values_BL = torch.tensor([[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]])
    assert document_sums(values_BL, document_BL).tolist() == [[3.0, 3.0, 4.0, 8.0], [7.0, 7.0, 7.0, 8.0]]


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
