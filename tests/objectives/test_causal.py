"""The causal objective: every token but a document's first is predicted once an epoch, from what precedes it."""

import numpy as np
import pytest
import torch

from support import SPECIAL, made_up_text, numbered_split, random_rows, shrink
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.model.presets import preset
from trivium.objectives.causal import Causal


def test_every_token_but_the_first_of_a_document_is_a_target_once_an_epoch() -> None:
    epochs = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 40, 30).tolist()
        split = numbered_split(lengths)
        first = {int(text[0]) for text in split.texts}
        reader = RowReader(split, row_length=int(rng.integers(1, 70)), key=Key(seed), pad=-1)
        for epoch in range(2):
            start = epoch * reader.rows_per_epoch
            batch = Causal().make(reader.rows(start, start + reader.rows_per_epoch), Key(0))
            targets = batch.labels_BN[batch.weights_BN > 0].tolist()
            assert sorted(targets) == sorted(set(range(split.num_tokens)) - first)
            epochs += 1
    assert epochs == 40


def test_each_target_follows_the_token_it_is_predicted_from() -> None:
    split = numbered_split([5, 1, 2, 40, 7, 3])
    reader = RowReader(split, row_length=9, key=Key(0), pad=-1)
    batch = Causal().make(reader.rows(0, reader.rows_per_epoch), Key(0))
    used = batch.weights_BN > 0
    asked_from = batch.tokens_BL.gather(1, batch.places_BN)
    assert int(used.sum()) == 58 - 6
    assert torch.equal(batch.labels_BN[used], asked_from[used] + 1)


def test_end_tokens_are_targets() -> None:
    split = made_up_text(50)
    reader = RowReader(split, row_length=32, key=Key(0), pad=SPECIAL.pad)
    batch = Causal().make(reader.rows(0, reader.rows_per_epoch), Key(0))
    targets = batch.labels_BN[batch.weights_BN > 0]
    assert int((targets == SPECIAL.eos).sum()) == 50
    assert int((targets == SPECIAL.bos).sum()) == int((targets == SPECIAL.pad).sum()) == 0


def test_a_place_sees_itself_and_what_precedes_it_in_its_document() -> None:
    batch = Causal().make(random_rows([[3, 2, 9]], 9), Key(0))
    assert batch.layout.kind == "past"
    assert batch.layout.position_BL.tolist() == batch.layout.rank_BL.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3]]
    assert batch.weights_BN.tolist() == [[1, 1, 0, 1, 0, 1, 1, 1, 1]]


def test_unused_places_are_not_targets() -> None:
    batch = Causal().make(random_rows([[4], []], 9), Key(0))
    assert batch.weights_BN.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0, 0], [0] * 9]
    assert batch.num_tokens == 4


def test_two_stacks_are_refused() -> None:
    with pytest.raises(ConfigError, match="encoder-decoder"):
        Causal().network(shrink(preset("t5-small")))
