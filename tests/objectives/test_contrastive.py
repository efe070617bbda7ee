"""Contrastive texts: the loss is SimCSE's equation, inside groups of rows and nowhere else."""

import numpy as np
import pytest
import torch

from support import lively, random_rows, shrink, without_dropout
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.model.presets import preset
from trivium.objectives.contrastive import Contrastive, ContrastiveConfig, nearest_nats

LENGTH = 48


def test_the_loss_is_the_papers_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(3, 5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 1]], dtype=torch.float32)
    expected = 0.0
    for g in range(3):
        used = [s for s in range(5) if weights[g, s]]
        for i in used:
            scores = {
                j: float(first[g, i] @ second[g, j] / first[g, i].norm() / second[g, j].norm()) / 0.05 for j in used
            }
            expected += np.log(sum(np.exp(score) for score in scores.values())) - scores[i]
    assert float(nearest_nats(first, second, weights, 0.05)) == pytest.approx(expected, rel=1e-9)


def test_what_is_not_compared_has_no_gradient() -> None:
    first, second = (torch.randn(1, 4, 6, requires_grad=True) for _ in range(2))
    nearest_nats(first, second, torch.tensor([[1.0, 0.0, 1.0, 0.0]]), 0.05).backward()
    for part in (first, second):
        assert part.grad is not None
        assert part.grad.isfinite().all()
        assert part.grad[0, [1, 3]].abs().max() == 0.0
        assert part.grad[0, [0, 2]].abs().max() > 0.0


def test_texts_are_means_of_documents_that_are_long_enough() -> None:
    config = without_dropout(shrink(preset("encoder-tiny")))
    network = lively(config).eval()
    learned = Contrastive(ContrastiveConfig(group_rows=2, min_tokens=10, temperature=0.5))
    rows = random_rows([[20, 5, 24], [49], [9, 40], [3, 12, 34]], LENGTH)
    batch = learned.make(rows, Key(0))
    hidden_BLD = network(batch)
    expected = 0.0
    texts = 0
    for group in ((0, 1), (2, 3)):
        means = []
        for b in group:
            for number in range(rows.document_BL[b, :-1].max() + 1):
                mine = torch.from_numpy(rows.document_BL[b, :-1] == number)
                if int(mine.sum()) >= 10:
                    means.append(torch.nn.functional.normalize(hidden_BLD[b][mine].mean(0), dim=0))
        stacked = torch.stack(means)
        scores = stacked @ stacked.T / 0.5
        expected += float((scores.logsumexp(-1) - scores.diagonal()).sum().detach())
        texts += len(means)
    (term,) = learned.loss(network, batch, Key(0))
    assert texts == learned.counts(batch)["contrastive"] == 6.0
    assert float(term.sum.detach()) == pytest.approx(expected, rel=1e-5)


def test_a_network_without_dropout_is_refused() -> None:
    with pytest.raises(ConfigError, match="drops nothing out"):
        Contrastive(ContrastiveConfig()).network(without_dropout(shrink(preset("bert-tiny"))))
    assert Contrastive(ContrastiveConfig()).network(shrink(preset("bert-tiny"))) is not None
