"""What holds of every objective: pure batches of one shape, counts known before, micro-batches that change nothing."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from every_objective import CASES, small
from support import SPECIAL, VOCABULARY, VOCABULARY_SIZE, made_up_text, random_rows, with_dropout
from trivium.core.batch import AnyBatch, Batch, MixedBatch, Rows
from trivium.core.layout import TokenLayout, visible
from trivium.core.random import Key
from trivium.data.loader import micro_batches
from trivium.data.packing import RowReader
from trivium.model.config import ModelConfig
from trivium.model.heads import LanguageModel, SequenceToSequence
from trivium.model.initialise import initialise
from trivium.objectives.base import Objective
from trivium.objectives.build import build_objective

LENGTH, ROWS = 48, 8
NAMES = list(CASES)
COUNTS_V = np.arange(VOCABULARY_SIZE)


def objective(name: str) -> Objective:
    return build_objective(CASES[name][1], VOCABULARY._replace(counts_V=lambda: COUNTS_V))


def reader(seed: int = 0) -> RowReader:
    return RowReader(made_up_text(200, seed=seed), row_length=LENGTH, key=Key(seed), pad=SPECIAL.pad)


def tensors(value: Any) -> list[Tensor | None]:
    """All tensors of a batch, in a fixed order."""
    if isinstance(value, Tensor) or value is None:
        return [value]
    if is_dataclass(value):
        return [tensor for field in fields(value) for tensor in tensors(getattr(value, field.name))]
    return [tensor for part in value for tensor in tensors(part)] if isinstance(value, tuple) else []


def alike(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def parts(batch: AnyBatch) -> list[Batch]:
    return [batch] if isinstance(batch, Batch) else [part for part in batch.parts if part is not None]


def quiet(name: str) -> ModelConfig:
    """The case's network without dropout, or with one that the objective cannot do without."""
    return with_dropout(small(name), 0.1 if name == "contrastive" else 0.0)


def network(name: str, *, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The case's network, that drops nothing out."""
    built = objective(name).network(quiet(name)).eval()
    initialise(built, small(name), Key(1))
    return built.to(dtype)


def gradients(name: str, batches: list[AnyBatch]) -> dict[str, Tensor]:
    """Of the loss over all of these micro-batches, as the loop adds them up."""
    learned, built = objective(name), network(name)
    counts: dict[str, float] = {}
    for batch in batches:
        for term, count in learned.counts(batch).items():
            counts[term] = counts.get(term, 0.0) + count
    for number, batch in enumerate(batches):
        terms = learned.loss(built, batch, Key(0).child(number))
        torch.stack([term.weight * term.sum / (counts[term.name] or 1.0) for term in terms]).sum().backward()
    return {name: p.grad for name, p in built.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_made_alike_whatever_rows_are_with_it(name: str) -> None:
    learned = objective(name)
    group = learned.rows_together
    together = learned.make(reader().rows(0, 24), Key(1), 0.5)
    compared = 0
    for start in range(0, 24, group):
        alone = learned.make(reader().rows(start, start + group), Key(1), 0.5)
        for one, other in zip(tensors(alone), tensors(together.rows(start, start + group)), strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert torch.equal(one, other)
                compared += 1
    assert compared >= 24 // group * 5


@pytest.mark.parametrize("name", NAMES)
def test_shapes_never_change_and_rows_stay_as_they_are(name: str) -> None:
    learned = objective(name)
    hard = random_rows([[3], [1] * 49, [49], [2, 3, 4, 40], [], [20, 29], [7] * 7, [48, 1]], LENGTH)
    shapes: dict[int, set[tuple[Any, ...]]] = {}
    for seed, rows in enumerate([hard, *(reader(seed).rows(8 * seed, 8 * seed + 8) for seed in range(5))]):
        before = Rows(*(column.copy() for column in rows))
        batch = learned.make(rows, Key(seed), seed / 5)
        for column, old in zip(rows, before, strict=True):
            assert np.array_equal(column, old)
        found = batch.parts if isinstance(batch, MixedBatch) else (batch,)
        for number, part in enumerate(found):
            if part is not None:
                shape = tuple(None if t is None else (*t.shape[1:], t.dtype) for t in tensors(part))
                shapes.setdefault(number, set()).add(shape)
        assert batch.num_rows == 8
    assert shapes
    assert {len(found) for found in shapes.values()} == {1}


@pytest.mark.parametrize("name", NAMES)
def test_choices_follow_the_key_the_epoch_and_the_row(name: str) -> None:
    if name in ("causal", "contrastive"):
        pytest.skip("draws nothing")
    learned, rows = objective(name), reader().rows(0, ROWS)
    first = tensors(learned.make(rows, Key(0), 0.5))
    others = (
        (rows._replace(epoch_B=rows.epoch_B + 1), Key(0)),
        (rows._replace(row_B=rows.row_B + 8), Key(0)),
        (rows, Key(1)),
    )
    for other_rows, key in others:
        again = tensors(learned.make(other_rows, key, 0.5))
        assert len(again) == len(first)
        same = [
            one is other
            or (one is not None and other is not None and one.shape == other.shape and torch.equal(one, other))
            for one, other in zip(first, again, strict=True)
        ]
        assert not all(same)


@pytest.mark.parametrize("name", NAMES)
def test_labels_lie_in_used_places_and_every_place_sees_something(name: str) -> None:
    batch = objective(name).make(reader().rows(0, ROWS), Key(3), 0.5)
    labelled = 0
    for part in parts(batch):
        document_BN = part.layout.document_BL.gather(1, part.places_BN)
        assert (document_BN[part.weights_BN > 0] >= 0).all()
        assert set(part.weights_BN.unique().tolist()) <= {0.0, 1.0}
        assert visible(part.layout, part.layout).any(-1).all()
        labelled += int((part.weights_BN > 0).sum())
    assert labelled > 10 or name == "contrastive"


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_terms(name: str) -> None:
    learned = objective(name)
    batch = learned.make(reader().rows(0, ROWS), Key(3), 0.5)
    terms = learned.loss(network(name), batch, Key(0))
    counts = learned.counts(batch)
    assert {term.name for term in terms} == set(counts)
    assert all(counts[term.name] > 0 and float(term.sum.detach()) > 0 for term in terms)


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_give_the_gradient_of_the_whole(name: str) -> None:
    rows = 4 * objective(name).rows_together
    batch = objective(name).make(reader().rows(0, rows), Key(3), 0.5)
    whole, divided = gradients(name, [batch]), gradients(name, micro_batches(batch, 4))
    assert whole.keys() == divided.keys()
    assert len(whole) > 5
    for parameter, gradient in whole.items():
        torch.testing.assert_close(divided[parameter], gradient, rtol=1e-8, atol=1e-11)
    assert sum(float(gradient.abs().sum()) for gradient in whole.values()) > 0.0


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_a_network_of_the_architecture_that_reads_as_it_was_trained(name: str) -> None:
    learned, config = objective(name), quiet(name)
    built = network(name, dtype=torch.float32).eval()
    kept = learned.exported(built).eval()
    assert isinstance(kept, LanguageModel | SequenceToSequence)
    plain = objective("causal" if name != "ul2" and isinstance(kept, LanguageModel) else "spans")
    fresh = plain.network(config)
    assert {n: p.shape for n, p in kept.named_parameters()} == {n: p.shape for n, p in fresh.named_parameters()}
    if name.startswith("replaced"):
        batch = parts(learned.make(reader().rows(0, 2), Key(0)))[0]
        torch.testing.assert_close(kept.reader(batch), built.reader(batch))


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_the_only_chance_in_the_loss(name: str) -> None:
    learned, config = objective(name), with_dropout(small(name), 0.3)
    built = learned.network(config)
    initialise(built, config, Key(1))
    batch = learned.make(reader().rows(0, ROWS), Key(3), 0.5)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append([float(term.sum.detach()) for term in learned.loss(built.train(), batch, Key(0))])
    assert losses[0] == losses[1] != losses[2]
    built.eval()
    assert [float(t.sum.detach()) for t in learned.loss(built, batch, Key(0))] == [
        float(t.sum.detach()) for t in learned.loss(built, batch, Key(0))
    ]


def test_every_layout_kind_is_met() -> None:
    kinds = {part.layout.kind for name in NAMES for part in parts(objective(name).make(reader().rows(0, 8), Key(0)))}
    assert kinds == {"all", "past", "ranked"}
    assert isinstance(parts(objective("prefix").make(reader().rows(0, 8), Key(0)))[0].layout, TokenLayout)
