"""Updates that are not finite: skipped, counted, and if they go on, the end of the run or a way around them."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from run_support import STEPS, config_of, log_of, model_bytes, run

from stopping import Killed, KilledAt, Lines
from trivium.core.batch import Batch
from trivium.core.errors import DivergedError
from trivium.train.checkpoint import checkpoints
from trivium.train.log import read_log
from trivium.train.material import Material
from trivium.train.validate import HeldOut


def spoil(monkeypatch: pytest.MonkeyPatch, *rows: int) -> None:
    """Make the loss of these steps' rows not a number, in whichever step they are read."""
    batches = Material.batches

    def spoilt(self: Material, steps: int, *, passed_over: int = 0) -> Callable[[int], Batch]:
        make = batches(self, steps, passed_over=passed_over)

        def batch(step: int) -> Batch:
            made = make(step)
            assert isinstance(made, Batch)
            bad = step + passed_over in rows
            return replace(made, weights_BN=made.weights_BN * math.nan) if bad else made

        return batch

    monkeypatch.setattr(Material, "batches", spoilt)


def test_a_skipped_update_is_counted_and_changes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 4, 7)
    results = run(config_of(log_steps=5), tmp_path / "out")
    assert results["skipped"] == {"updates": 2, "rollbacks": 0}
    lines = [line for line in read_log(tmp_path / "out" / "log.jsonl") if "split" not in line]
    assert [(line["step"], line["loss"] is None, line.get("skipped", 0)) for line in lines] == [
        (5, True, 1),
        (8, True, 2),
        (10, False, 2),
        (12, False, 2),
    ]
    assert all(math.isfinite(value) for value in results["valid"].values())  # type: ignore[attr-defined]
    assert "NaN" not in (tmp_path / "out" / "log.jsonl").read_text()


def test_a_run_with_skipped_updates_is_resumed_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 4, 5, 9)
    run(config_of(), tmp_path / "unbroken")
    for progress in (KilledAt(5), KilledAt(10)):
        with pytest.raises(Killed):
            run(config_of(), tmp_path / "broken", progress=progress, resume=True)
    run(config_of(), tmp_path / "broken", resume=True)
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "unbroken")


def test_too_many_in_a_row_end_the_run_and_the_last_checkpoint_is_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, *range(4, STEPS))
    with pytest.raises(DivergedError, match=r"step 7: .* 3 updates in a row were not made"):
        run(config_of(max_skipped=2), tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
    assert checkpoints(tmp_path / "out")[-1].name == "step-000006"


def test_a_run_that_may_goes_back_and_passes_over_what_led_to_nothing_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 4, 5, 6)
    told = Lines()
    results = run(config_of(max_skipped=2, max_rollbacks=1), tmp_path / "out", progress=told)
    assert results["skipped"] == {"updates": 3, "rollbacks": 1}
    assert any("Going back to the last checkpoint" in line for line in told.lines)
    assert log_of(tmp_path / "out")[-1]["step"] == STEPS
    state = json.loads((checkpoints(tmp_path / "out")[-1] / "state.json").read_text())
    # From step 7 back to the checkpoint after step 6: one step's rows are passed over.
    assert (state["passed_over"], state["rollbacks"], state["skipped_in_a_row"]) == (1, 1, 0)
    with pytest.raises(Killed):
        run(config_of(max_skipped=2, max_rollbacks=1), tmp_path / "broken", progress=KilledAt(9))
    run(config_of(max_skipped=2, max_rollbacks=1), tmp_path / "broken", resume=True)
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "out")


def test_it_goes_back_no_more_often_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, *range(4, 4 * STEPS))
    told = Lines()
    with pytest.raises(DivergedError):
        run(config_of(max_skipped=1, max_rollbacks=2), tmp_path / "out", progress=told)
    assert sum("Going back" in line for line in told.lines) == 2


def test_a_held_out_loss_that_is_not_finite_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.train.run.held_out", lambda *_: HeldOut(math.nan, {"causal": math.nan}))
    with pytest.raises(DivergedError, match="step 4: the held-out loss is nan"):
        run(config_of(), tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
    assert checkpoints(tmp_path / "out")[-1].name == "step-000003"
