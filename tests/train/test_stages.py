"""Rows that change in number and length over a run: the text is gone on with, and a batch depends on its step alone."""

from pathlib import Path

import numpy as np
import pytest
from test_run import config_of, log_of, model_bytes, run

from stopping import Killed, KilledAt
from support import numbered_split
from trivium.core.batch import Rows
from trivium.core.config import override, parse
from trivium.core.errors import ConfigError
from trivium.core.progress import Silent
from trivium.core.random import Key
from trivium.data.loader import StepRows, staged_batches, step_batches
from trivium.data.packing import RowReader
from trivium.train.config import RunConfig, Stage, TrainConfig

LENGTHS = [40, 7, 90, 13, 55, 31, 64, 22]


def reader(row_length: int, *, key: Key | None = None) -> RowReader:
    return RowReader(numbered_split(LENGTHS), row_length=row_length, key=key, pad=-1)


def rows_alone(rows: Rows, key: Key, done: float) -> Rows:
    return rows


def read(batches: list[Rows]) -> list[int]:
    """The tokens of all rows, the last of each left out, which the next row begins with."""
    return [int(token) for rows in batches for row in rows.tokens_BL for token in row[:-1] if token >= 0]


def test_without_stages_it_is_step_batches() -> None:
    plain = step_batches(reader(16), rows_alone, rows_per_step=3, key=Key(0))  # type: ignore[arg-type]
    staged = staged_batches([StepRows(0, reader(16), 3)], rows_alone, key=Key(0), steps=100)  # type: ignore[arg-type]
    for step in range(12):
        assert np.array_equal(staged(step).tokens_BL, plain(step).tokens_BL)


def test_the_text_is_gone_on_with_and_less_than_a_row_is_passed_over() -> None:
    total = sum(LENGTHS)
    stages = [StepRows(0, reader(8), 2), StepRows(5, reader(12), 3), StepRows(7, reader(16), 1)]
    batch = staged_batches(stages, rows_alone, key=Key(0), steps=100)  # type: ignore[arg-type]
    made = [batch(step) for step in range(18)]
    assert [rows.tokens_BL.shape for rows in made] == [(2, 9)] * 5 + [(3, 13)] * 2 + [(1, 17)] * 11  # type: ignore[attr-defined]
    tokens = read(made)  # type: ignore[arg-type]
    # 80 tokens in rows of 8, from 84 in rows of 12 to 156, from 160 in rows of 16.
    assert tokens == [*range(80), *range(84, 156), *range(160, min(160 + 11 * 16, total))]
    again = staged_batches(stages, rows_alone, key=Key(0), steps=100)  # type: ignore[arg-type]
    for step in (17, 0, 6, 5, 7):
        assert np.array_equal(again(step).tokens_BL, made[step].tokens_BL)  # type: ignore[attr-defined]


def test_the_epoch_is_gone_on_with_too() -> None:
    order = Key(3)
    epoch = reader(8, key=order).rows_per_epoch
    stages = [StepRows(0, reader(8, key=order), 1), StepRows(epoch + 2, reader(16, key=order), 1)]
    batch = staged_batches(stages, rows_alone, key=Key(0), steps=100)  # type: ignore[arg-type]
    rows: Rows = batch(epoch + 2)  # type: ignore[assignment]
    assert (rows.epoch_B.tolist(), rows.row_B.tolist()) == ([1], [1])
    # At the very end of an epoch the next one begins.
    stages[1] = StepRows(epoch, reader(16, key=order), 1)
    rows = staged_batches(stages, rows_alone, key=Key(0), steps=100)(epoch)  # type: ignore[arg-type,assignment]
    assert (rows.epoch_B.tolist(), rows.row_B.tolist()) == ([1], [0])


def staged(name: str = "decoder-tiny", **train: object) -> RunConfig:
    stages = (Stage(until=0.25, rows=4, row_length=16), Stage(until=0.5, row_length=32))
    return config_of(name, stages=stages, **train)


@pytest.mark.parametrize("name", ["bert-tiny", "decoder-tiny", "t5-small"])
def test_a_run_in_stages_is_killed_and_resumed_with_the_same_bits(name: str, tmp_path: Path) -> None:
    config = staged(name, accumulation=2)
    run(config, tmp_path / "unbroken")
    places = [line["tokens"] for line in log_of(tmp_path / "unbroken") if "split" not in line]
    if name == "decoder-tiny":
        steps = np.diff([0, *places])  # type: ignore[arg-type]
        assert steps.tolist() == [4 * 16] * 3 + [8 * 32] * 3 + [8 * 48] * 6
    for progress in (KilledAt(2), KilledAt(5), KilledAt(7), Silent()):
        try:
            run(config, tmp_path / "broken", progress=progress, resume=True)
        except Killed:
            continue
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "unbroken")
    with pytest.raises(ConfigError, match=r"train\.stages"):
        run(config_of(name, accumulation=2, stages=(Stage(until=0.3),)), tmp_path / "broken", resume=True)


def test_minutes_are_measured_stage_by_stage(tmp_path: Path) -> None:
    results = run(staged(steps=None, validate_steps=None, checkpoint_steps=None), tmp_path / "r", minutes=0.05)
    assert results["tokens"] > 0  # type: ignore[operator]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each end after"):
        parse(TrainConfig, override({}, ["stages=[{until=0.5}, {until=0.4}]"]), "here")
    with pytest.raises(ConfigError, match="does not divide 3"):
        run(config_of(accumulation=2, stages=(Stage(until=0.5, rows=3),)), tmp_path / "r")
    with pytest.raises(ConfigError, match="rows of 100 tokens do not fit"):
        run(config_of("bert-tiny", stages=(Stage(until=0.5, row_length=100),)), tmp_path / "r")
    assert not (tmp_path / "r").exists()
