"""Batches ahead of time are the batches in time; errors come through; nothing is left running."""

import threading
import time

import numpy as np
import pytest
import torch

from support import SPECIAL, VOCABULARY_SIZE, made_up_text, packed_batch, random_rows
from trivium.core.batch import Batch
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.loader import ahead, micro_batches, step_batches
from trivium.data.packing import RowReader
from trivium.objectives.masked import Masked, MaskedConfig
from trivium.objectives.spans import Spans, SpansConfig


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trivium-loader"]


def masked_steps() -> tuple[RowReader, Masked]:
    reader = RowReader(made_up_text(40), row_length=32, key=Key(0), pad=SPECIAL.pad)
    return reader, Masked(MaskedConfig(), SPECIAL, VOCABULARY_SIZE)


def tensors(batch: Batch) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    batch.map(lambda tensor: (found.append(tensor), tensor)[1])
    return found


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(tensors(first), tensors(second), strict=True))


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_what_is_made_ahead_is_what_is_made_in_time(depth: int) -> None:
    reader, objective = masked_steps()
    batch = step_batches(reader, objective.make, rows_per_step=4, key=Key(1))
    in_time = list(ahead(batch, 3, 40, depth=0))
    in_advance = list(ahead(batch, 3, 40, depth=depth))
    assert len(in_time) == len(in_advance) == 37
    assert all(equal(one, other) for one, other in zip(in_time, in_advance, strict=True))
    assert not loaders()


def test_a_batch_is_a_function_of_its_step_alone() -> None:
    reader, objective = masked_steps()
    batch = step_batches(reader, objective.make, rows_per_step=4, key=Key(1))
    again = step_batches(*masked_steps()[:1], objective.make, rows_per_step=4, key=Key(1))
    steps = np.random.default_rng(0).permutation(30).tolist()
    forward = {step: batch(step) for step in range(30)}
    assert all(equal(again(step), forward[step]) for step in steps)
    assert not equal(forward[0], forward[1])


def test_rows_do_not_depend_on_how_many_make_a_step() -> None:
    reader, objective = masked_steps()
    small = step_batches(reader, objective.make, rows_per_step=2, key=Key(1))
    large = step_batches(reader, objective.make, rows_per_step=6, key=Key(1))
    for step in range(6):
        assert equal(large(step).rows(2, 4), small(3 * step + 1))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_an_error_in_make_is_raised_where_its_batch_is_due(depth: int) -> None:
    def make(number: int) -> int:
        if number == 5:
            raise RuntimeError("no fifth")
        return number

    seen = []
    with pytest.raises(RuntimeError, match="no fifth"):
        for number in ahead(make, 2, 10, depth=depth):
            seen.append(number)
    assert seen == [2, 3, 4]
    assert not loaders()


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_closing_early_leaves_no_thread(taken: int) -> None:
    stream = ahead(lambda number: number, 0, 1_000_000, depth=2)
    assert [next(stream) for _ in range(taken)] == list(range(taken))
    assert len(loaders()) == min(taken, 1)
    stream.close()  # type: ignore[attr-defined]
    assert not loaders()


def test_no_more_is_made_than_the_depth_allows() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    stream = ahead(make, 0, 100, depth=2)
    next(stream)
    time.sleep(0.3)
    # One was taken, two wait, one is in the maker's hand.
    assert len(made) == 4
    stream.close()  # type: ignore[attr-defined]


def test_nothing_to_make_is_nothing() -> None:
    assert list(ahead(lambda number: number, 5, 5, depth=2)) == list(ahead(lambda number: number, 5, 5, depth=0)) == []


@pytest.mark.parametrize("family", ["encoder", "encoder_decoder"])
def test_micro_batches_put_together_are_the_batch(family: str) -> None:
    batch = packed_batch(family)
    parts = micro_batches(batch, 3)
    assert len(parts) == 3
    for part in zip(tensors(batch), *(tensors(micro) for micro in parts), strict=True):
        assert torch.equal(part[0], torch.cat(part[1:]))


def test_micro_batches_of_spans_hold_their_own_sources() -> None:
    batch = Spans(SpansConfig(), SPECIAL).make(random_rows([[20, 30]] * 4, 48), Key(0))
    parts = micro_batches(batch, 2)
    assert batch.source is not None and parts[1].source is not None
    assert torch.equal(parts[1].source.tokens_BL, batch.source.tokens_BL[2:])
    assert sum(part.num_tokens for part in parts) == batch.num_tokens


def test_rows_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 does not divide 3"):
        micro_batches(packed_batch("encoder"), 2)
