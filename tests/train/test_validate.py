"""Validation: the same places every time, however they are batched, and nothing of the training is touched."""

import pytest
import torch

from support import SPECIAL, equal, made_up_text, parameters_of
from training import run_config, trial
from trivium.core.random import Key
from trivium.data.packing import RowReader
from trivium.train.validate import held_out_loss


def reader() -> RowReader:
    return RowReader(made_up_text(30, seed=8, name="validation"), row_length=48, key=None, pad=SPECIAL.pad)


@pytest.mark.parametrize("name", ["bert-tiny", "decoder-tiny", "t5-small"])
def test_the_mean_does_not_depend_on_how_rows_are_batched(name: str) -> None:
    attempt = trial(run_config(name, dropout=0.5))
    attempt.network.train()
    before = parameters_of(attempt.network)
    terms = [
        held_out_loss(attempt.network, attempt.objective, reader(), rows=20, rows_per_batch=size, key=Key(1)).terms
        for size in (1, 3, 20, 64)
    ]
    (term,) = terms[0]
    assert [found[term] for found in terms] == pytest.approx([terms[0][term]] * 4, rel=1e-5)
    assert attempt.network.training
    assert equal(before, parameters_of(attempt.network))


def test_no_row_is_counted_twice_where_the_split_has_fewer() -> None:
    attempt = trial(run_config("decoder-tiny"))
    count = reader().rows_per_epoch
    few, many = (
        held_out_loss(attempt.network, attempt.objective, reader(), rows=rows, rows_per_batch=7, key=Key(1))
        for rows in (count, 10 * count)
    )
    assert few == many


def test_the_random_state_of_training_is_left_alone() -> None:
    attempt = trial(run_config("bert-tiny", dropout=0.5))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    held_out_loss(attempt.network, attempt.objective, reader(), rows=5, rows_per_batch=5, key=Key(1))
    assert torch.equal(torch.rand(4), expected)
