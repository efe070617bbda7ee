"""Objectives from their configuration, and what scores a prediction."""

import pytest
import torch

from support import VOCABULARY, family_of, lively, logits_of, random_rows, shrink, without_dropout
from training import one_objective
from trivium.core.random import Key
from trivium.model.presets import PRESETS, preset
from trivium.objectives.base import score_labels
from trivium.objectives.build import MixedConfig, build_objective, usual_objective


@pytest.mark.parametrize("name", PRESETS)
def test_every_family_has_a_usual_objective_that_fits_it(name: str) -> None:
    config = shrink(preset(name))
    usual = usual_objective(config)
    kinds = [part.objective.kind for part in usual.parts] if isinstance(usual, MixedConfig) else [usual.kind]
    written = ["spans"] if name.startswith("t5") else ["spans", "masked"]
    assert kinds == {"encoder": ["masked"], "decoder": ["causal"], "encoder_decoder": written}[family_of(config)]
    objective = build_objective(usual, VOCABULARY)
    network = objective.network(config)
    assert objective.exported(network) is network


@pytest.mark.parametrize("name", ["encoder-tiny", "decoder-tiny", "seq2seq-tiny"])
@torch.inference_mode()
def test_scores_are_nats_and_hits_at_each_labelled_place(name: str) -> None:
    config = without_dropout(shrink(preset(name)))
    network = lively(config)
    batch = build_objective(one_objective(config), VOCABULARY).make(random_rows([[20, 30], [50]], 48), Key(0))
    scored = score_labels(network, batch)
    logits_BLV = logits_of(network, batch)
    checked = 0
    for row in range(2):
        for slot, (place, label) in enumerate(zip(batch.places_BN[row], batch.labels_BN[row], strict=True)):
            logits_V = logits_BLV[row, place]
            assert float(scored.nats_BN[row, slot]) == pytest.approx(float(-logits_V.log_softmax(0)[label]), rel=1e-4)
            assert bool(scored.correct_BN[row, slot]) == (int(logits_V.argmax()) == int(label))
            checked += 1
    assert checked == batch.labels_BN.numel() > 10
