"""Replaced tokens: ELECTRA's two losses, a generator that is sampled as it says, and who learns from what."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from support import SPECIAL, VOCABULARY, VOCABULARY_SIZE, random_rows, shrink, without_dropout
from trivium.core.batch import Batch
from trivium.core.random import Key
from trivium.model.config import ModelConfig
from trivium.model.count import num_parameters
from trivium.model.heads import LanguageModel
from trivium.model.initialise import initialise
from trivium.model.narrow import narrower
from trivium.model.presets import PRESETS, preset
from trivium.objectives.build import build_objective
from trivium.objectives.replaced import GeneratorAndReader, Replaced, ReplacedConfig, replaced_tokens

LENGTH = 48


def config() -> ModelConfig:
    return without_dropout(shrink(preset("encoder-tiny")))


def objective(**settings: object) -> Replaced:
    built = build_objective(ReplacedConfig.model_validate(settings), VOCABULARY)
    assert isinstance(built, Replaced)
    return built


def pair(learned: Replaced, *, scale: float = 0.3) -> GeneratorAndReader:
    built = learned.network(config())
    assert isinstance(built, GeneratorAndReader)
    initialise(built, config(), Key(2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(0.0, scale, generator=generator)
    return built.double()


def made(learned: Replaced, seed: int = 0) -> Batch:
    return learned.make(random_rows([[20, 29], [49], [5]], LENGTH), Key(seed))


def test_the_losses_are_those_of_the_paper() -> None:
    learned = objective()
    both, batch = pair(learned), made(learned)
    masked, replaced = learned.loss(both, batch, Key(0))
    # Equation 1, place by place.
    logits_BLV = both.generator.head(both.generator(batch))
    tokens_BL, generated = batch.tokens_BL.clone(), 0.0
    original_BL = batch.tokens_BL.clone()
    for b, slot in np.argwhere(batch.weights_BN.numpy() > 0):
        place, label = int(batch.places_BN[b, slot]), int(batch.labels_BN[b, slot])
        assert batch.tokens_BL[b, place] == SPECIAL.mask
        generated -= float(logits_BLV[b, place].log_softmax(-1)[label].detach())
        edges = logits_BLV[b, place].softmax(-1).cumsum(-1)
        assert batch.chances_BN is not None
        tokens_BL[b, place] = int((edges < float(batch.chances_BN[b, slot])).sum())
        original_BL[b, place] = label
    states = both.reader(batch.__class__(**{**vars(batch), "tokens_BL": tokens_BL}))
    scores_BL = both.detector.projection(functional.gelu(both.detector.transform.dense(states)))[..., 0]
    detected, used = 0.0, 0
    for b in range(3):
        for place in range(LENGTH):
            if batch.layout.document_BL[b, place] >= 0:
                is_replaced = tokens_BL[b, place] != original_BL[b, place]
                probability = float(torch.sigmoid(scores_BL[b, place].detach()))
                detected -= float(np.log(probability if is_replaced else 1.0 - probability))
                used += 1
    counts = learned.counts(batch)
    assert counts["masked"] == float((batch.weights_BN > 0).sum()) > 10
    assert float(masked.sum.detach()) == pytest.approx(generated, rel=1e-9)
    assert (counts["replaced"], replaced.weight) == (float(used), 50.0)
    assert float(replaced.sum.detach()) == pytest.approx(detected, rel=1e-9)
    changed = tokens_BL != original_BL
    assert 5 < int(changed.sum()) <= int(counts["masked"])


def test_draws_follow_the_generator() -> None:
    logits_V = torch.randn(1, VOCABULARY_SIZE, generator=torch.Generator().manual_seed(1)) * 2
    learned = objective(masked={"rate": 0.5, "mask_share": 1.0, "random_share": 0.0})
    batch = learned.make(random_rows([[LENGTH + 1]] * 400, LENGTH), Key(0))
    tokens_BL, replaced_BL = replaced_tokens(batch, logits_V.expand(batch.labels_BN.numel(), -1))
    drawn = tokens_BL.gather(1, batch.places_BN).flatten()
    shares = torch.bincount(drawn, minlength=VOCABULARY_SIZE) / len(drawn)
    expected = logits_V.softmax(-1)[0]
    assert float((shares - expected).abs().max()) < 4.5 * float((expected * (1 - expected) / len(drawn)).sqrt().max())
    # What the generator got right is original.
    right = drawn.view_as(batch.labels_BN) == batch.labels_BN
    assert int(right.sum()) > 20
    assert (replaced_BL.gather(1, batch.places_BN) == ~right).all()
    assert int(replaced_BL.sum()) == int((~right).sum())


def gradients(embeddings: str, term: int) -> tuple[GeneratorAndReader, dict[str, torch.Tensor]]:
    learned = objective(embeddings=embeddings)
    both = pair(learned)
    learned.loss(both, made(learned), Key(0))[term].sum.backward()
    return both, {name: p.grad for name, p in both.named_parameters() if p.grad is not None and p.grad.any()}


def test_detection_teaches_the_generator_nothing_but_shared_embeddings() -> None:
    for embeddings, allowed in (
        ("separate", set()),
        ("disentangled", set()),
        ("shared", {"generator.stack.embedding.tokens.weight"}),
    ):
        both, found = gradients(embeddings, 1)
        assert {name for name in found if name.startswith("generator.")} == allowed
        assert any(name.startswith("detector.") for name in found)
        own = {"separate": "reader.embedding.tokens.weight", "disentangled": "reader.embedding.tokens.offset"}
        assert embeddings == "shared" or own[embeddings] in found
        assert (both.reader.embedding.tokens is both.generator.reader.embedding.tokens) == (embeddings == "shared")


def test_the_generators_loss_teaches_the_generator_only() -> None:
    for embeddings in ("separate", "disentangled", "shared"):
        _, found = gradients(embeddings, 0)
        assert found
        assert all(name.startswith("generator.") for name in found)


def test_disentangled_vectors_begin_as_the_generators_and_are_kept_as_their_sum() -> None:
    learned = objective()
    built = learned.network(config())
    assert isinstance(built, GeneratorAndReader)
    initialise(built, config(), Key(2))
    base = built.generator.reader.embedding.tokens.weight
    assert torch.equal(built.reader.embedding.tokens.weight, base)
    with torch.no_grad():
        built.reader.embedding.tokens.offset.normal_()
    kept = learned.exported(built)
    assert isinstance(kept, LanguageModel)
    torch.testing.assert_close(kept.stack.embedding.tokens.weight, base + built.reader.embedding.tokens.offset)


@pytest.mark.parametrize("name", PRESETS)
def test_a_narrower_network_can_be_built_of_every_preset(name: str) -> None:
    whole = preset(name)
    half = narrower(whole, 0.5)
    assert half.hidden_size == round(whole.hidden_size / 16) * 8
    assert [stack.num_layers for stack in half.stacks()] == [stack.num_layers for stack in whole.stacks()]
    assert half.embedding_size == (whole.embedding_size or whole.hidden_size)
    small = shrink(whole)
    built = build_objective(ReplacedConfig(), VOCABULARY).network(small) if len(small.stacks()) == 1 else None
    assert built is None or num_parameters(built) > 0
