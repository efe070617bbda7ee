"""Noise on embeddings: drawn for each row, uniform (NEFTune), or along the gradient of one document (FGM, SMART)."""

import math
from dataclasses import dataclass

import pytest
import torch
from regulariser_support import (
    FAMILIES,
    KEY,
    SIZE,
    Losing,
    by_name,
    divergence,
    documents_of,
    embeddings_of,
    labelled_batch,
    logits,
    nats,
    network_of,
    weighted,
    wrapped,
)
from torch import Tensor, nn

from support import PACKED, PACKED_SOURCE
from trivium.core.batch import Batch, Term
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.loader import micro_batches
from trivium.objectives.base import labelled
from trivium.objectives.regularisers.build import regularised
from trivium.objectives.regularisers.config import (
    FgmConfig,
    NeftuneConfig,
    RegulariserConfig,
    SmartConfig,
)
from trivium.objectives.regularisers.noise import document_sums, with_noise

pytestmark = pytest.mark.usefixtures("float64")


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


def test_a_loss_that_reads_no_embeddings_cannot_be_attacked() -> None:
    @dataclass(frozen=True)
    class Blind(Losing):
        def loss(self, network: nn.Module, batch: Batch, key: Key) -> tuple[Term, ...]:
            return (Term("blind", sum(p.sum() for p in network.parameters())),)  # type: ignore[arg-type]

    network = network_of("encoder")
    learned = regularised((FgmConfig(),), Blind(), name="blind", network=network, hidden_size=SIZE)
    with pytest.raises(ConfigError, match="reads none of them"):
        learned.loss(network, labelled_batch("encoder"), KEY)


def test_sums_over_documents() -> None:
    document_BL = torch.tensor([[0, 0, 1, -1], [2, 2, 2, 0]])
    values_BL = torch.tensor([[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]])
    assert document_sums(values_BL, document_BL).tolist() == [[3.0, 3.0, 4.0, 8.0], [7.0, 7.0, 7.0, 8.0]]
