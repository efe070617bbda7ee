"""The permutation objective: XLNet's visibility (section 2.3), and predictions that are those of the definition."""

import numpy as np
import pytest
import torch

from support import SPECIAL, lively, random_rows, shrink, without_dropout
from trivium.core.batch import Batch, reading
from trivium.core.errors import ConfigError
from trivium.core.layout import TokenLayout, visible
from trivium.core.random import Key
from trivium.model.heads import labelled_states
from trivium.model.presets import preset
from trivium.objectives.base import vocabulary_logits
from trivium.objectives.permuted import Permuted, PermutedConfig

LENGTH = 48
ROWS = [[20, 29], [49], [1, 10, 38], [5]]


def made(seed: int, rate: float = 0.25) -> Batch:
    return Permuted(PermutedConfig(rate=rate), SPECIAL).make(random_rows(ROWS, LENGTH, seed=seed), Key(seed))


def test_visibility_is_that_of_two_streams() -> None:
    checked = 0
    for seed in range(10):
        batch = made(seed)
        mask_BLM, rank_BL, document_BL = (
            visible(batch.layout, batch.layout),
            batch.layout.rank_BL,
            batch.layout.document_BL,
        )
        for b in range(len(ROWS)):
            for query in range(LENGTH):
                if document_BL[b, query] < 0:
                    continue
                # h_z attends to what comes before it in the order, and to itself; nobody attends to a query.
                expected = [
                    key
                    for key in range(LENGTH)
                    if document_BL[b, key] == document_BL[b, query] and rank_BL[b, key] <= rank_BL[b, query]
                ]
                assert torch.flatten(mask_BLM[b, query].nonzero()).tolist() == expected
            for slot in torch.flatten(batch.weights_BN[b].nonzero()).tolist():
                place = LENGTH + slot
                (asked,) = [
                    key
                    for key in range(LENGTH)
                    if document_BL[b, key] == document_BL[b, place]
                    and batch.layout.position_BL[b, key] == batch.layout.position_BL[b, place]
                ]
                # g_z attends to what comes strictly before what it predicts.
                expected = [
                    key
                    for key in range(LENGTH)
                    if document_BL[b, key] == document_BL[b, asked] and rank_BL[b, key] < rank_BL[b, asked]
                ]
                assert torch.flatten(mask_BLM[b, place].nonzero()).tolist() == expected
                assert expected
                assert batch.labels_BN[b, slot] == batch.tokens_BL[b, asked]
                assert batch.tokens_BL[b, place] == SPECIAL.mask
                checked += 1
    assert checked > 200


def test_orders_are_permutations_with_special_tokens_first() -> None:
    rows = random_rows(ROWS, LENGTH)
    batch = Permuted(PermutedConfig(), SPECIAL).make(rows, Key(0))
    documents = 0
    for b in range(len(ROWS)):
        for number in range(rows.document_BL[b, :-1].max() + 1):
            mine = rows.document_BL[b, :-1] == number
            ranks = batch.layout.rank_BL[b, :LENGTH][torch.from_numpy(mine)].tolist()
            special = np.isin(rows.tokens_BL[b, :-1][mine], sorted(SPECIAL.all()))
            words = [rank for rank, is_special in zip(ranks, special, strict=True) if not is_special]
            assert sorted(words) == list(range(2, len(words) + 2))
            assert {rank for rank, is_special in zip(ranks, special, strict=True) if is_special} <= {1}
            documents += 1
    assert documents == 7


def test_the_last_of_the_order_are_predicted_at_the_rate() -> None:
    rows = random_rows([[LENGTH + 1]] * 200, LENGTH)
    batch = Permuted(PermutedConfig(), SPECIAL).make(rows, Key(0))
    assert batch.weights_BN.sum(1).tolist() == [LENGTH / 6] * 200
    ranks = batch.layout.rank_BL[:, LENGTH:] + 1
    assert (ranks.sort(1).values == torch.arange(LENGTH - 6, LENGTH + 2)).all()


@torch.inference_mode()
def test_each_prediction_is_that_of_a_network_that_reads_only_what_it_may() -> None:
    config = without_dropout(shrink(preset("encoder-tiny")))
    network, batch = lively(config, seed=1).double(), made(3)
    logits_BNV = vocabulary_logits(network, labelled_states(network, batch)).view(*batch.places_BN.shape, -1)
    ranks, checked = batch.layout.rank_BL, 0
    for b in range(2):
        for slot in torch.flatten(batch.weights_BN[b].nonzero()).tolist():
            place = LENGTH + slot
            same = batch.layout.document_BL[b, :LENGTH] == batch.layout.document_BL[b, place]
            context = torch.flatten((same & (ranks[b, :LENGTH] <= ranks[b, place])).nonzero())
            # The context alone in its order, and one mask at the place that is asked for, which nobody sees.
            rank = torch.cat((ranks[b, context], ranks[b, place, None]))[None]
            seen = torch.cat((ranks[b, context], torch.tensor([10_000], dtype=torch.int32)))[None]
            positions = torch.cat((batch.layout.position_BL[b, context], batch.layout.position_BL[b, place, None]))[
                None
            ]
            tokens = torch.cat((batch.tokens_BL[b, context], torch.tensor([SPECIAL.mask])))[None]
            layout = TokenLayout.ranked(torch.zeros_like(positions), positions, rank, seen)
            expected = vocabulary_logits(network, network(reading(tokens, layout))[:, -1])[0]
            torch.testing.assert_close(logits_BNV[b, slot], expected, rtol=1e-6, atol=1e-8)
            checked += 1
    assert checked > 15


def test_a_mask_token_and_one_stack_are_needed() -> None:
    with pytest.raises(ConfigError, match="no mask token"):
        Permuted(PermutedConfig(), SPECIAL._replace(mask=None))
    with pytest.raises(ConfigError, match="encoder-decoder"):
        Permuted(PermutedConfig(), SPECIAL).network(shrink(preset("t5-small")))
