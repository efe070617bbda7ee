"""Where a run is, from the lines of its log."""

from typing import Any

import pytest

from trivium.evaluate.live import Held, Known, RunNow, extended, run_now

CONFIG = {"objective": {"kind": "causal"}, "model": {"vocabulary_size": 100}, "train": {"steps": 40}}
TUNING = {"task": "classify", "epochs": 3, "steps": 21, "train": "train.csv"}


def lines(*steps: int, **more: Any) -> list[dict[str, Any]]:
    """Two seconds and 64 tokens a step."""
    return [
        {"step": step, "loss": 8.0 / step, "tokens": 64 * step, "seconds": 2.0 * step, "lr": 1e-3, "gradient_norm": 0.5}
        | more
        for step in steps
    ]


def now(log: list[dict[str, Any]], config: dict[str, Any] = CONFIG, **held: Any) -> RunNow:
    return run_now("run", config, extended(Known(), log), Held(**held))


def test_a_run_that_goes_on() -> None:
    log = [*lines(*range(1, 11)), {"step": 5, "split": "validation", "loss": 2.0}]
    log += [{"step": 10, "split": "validation", "loss": 2.5, "causal": 2.5, "tokens": 640}]
    run = now(log, locked=True, checkpoint_step=10, checkpoint_seconds=3.0)
    assert (run.state, run.learns, run.step, run.steps, run.share) == ("running", "causal", 10, 40, 0.25)
    assert run.seconds_left == pytest.approx(60.0) and run.tokens_per_second == pytest.approx(32.0)
    assert run.loss == 0.8 and run.smoothed_loss == pytest.approx(sum(8.0 / s for s in range(6, 11)) / 5)
    assert run.validation == {"step": 10, "loss": 2.5, "causal": 2.5, "best_loss": 2.0, "best_step": 5}
    assert run.normal == {"uniform": pytest.approx(4.60517)}
    assert (run.lr, run.gradient_norm, run.skipped) == (1e-3, 0.5, 0)
    assert run.training_curve == tuple((step, 8.0 / step) for step in range(1, 11))
    assert "training_curve" not in run.as_json() and run.as_json()["checkpoint_step"] == 10


def test_lines_in_parts_say_what_they_say_at_once() -> None:
    log = lines(*range(1, 60))
    log.insert(30, {"step": 30, "split": "validation", "loss": 1.0})
    known = Known()
    for first in range(0, len(log), 7):
        known = extended(known, log[first : first + 7])
    assert known == extended(Known(), log)


def test_before_the_first_line_nothing_is_known() -> None:
    run = now([], locked=True)
    assert (run.state, run.step, run.share) == ("running", 0, 0.0)
    assert run.loss is run.lr is run.seconds_left is run.tokens_per_second is None
    assert run.validation == {} and run.as_json()["tokens"] is None


@pytest.mark.parametrize(
    ("state", "config", "held"),
    [
        ("running", CONFIG, {"locked": True, "silent_seconds": 20.0}),
        ("running", CONFIG, {"locked": True, "silent_seconds": 1e6}),
        ("running", CONFIG, {"locked": None, "silent_seconds": 20.0}),  # a system without locks
        ("stopped", CONFIG, {"locked": None, "silent_seconds": 40.0}),
        ("killed", CONFIG, {"locked": False, "silent_seconds": 1.0}),
        ("killed", CONFIG, {"locked": False, "checkpoint_step": 2}),
        ("stopped", CONFIG, {"locked": False, "checkpoint_step": 3}),  # by a signal: all of it is saved
        ("finished", CONFIG, {"locked": False, "results": {}}),
        ("finished", CONFIG, {"locked": None, "results": {}}),
        ("running", CONFIG, {"locked": True, "results": {}}),  # gone on with
        ("running", TUNING, {"locked": True, "silent_seconds": 40.0}),
        ("killed", TUNING, {"locked": False}),
        ("finished", TUNING, {"locked": False, "results": {}, "silent_seconds": 1e6}),
    ],
)
def test_states(state: str, config: dict[str, Any], held: dict[str, Any]) -> None:
    run = now(lines(1, 2, 3), config, **held)
    assert run.state == state
    assert (run.seconds_left is not None) == (state in ("running", "stopped"))


def test_a_run_of_long_intervals_may_be_silent_for_longer() -> None:
    log = [*lines(1), *lines(101)]  # 200 seconds
    assert now(log, locked=None, silent_seconds=900.0).state == "running"
    assert now(log, locked=None, silent_seconds=1100.0).state == "stopped"
    assert not now(log, locked=True, silent_seconds=900.0).overdue
    assert now(log, locked=True, silent_seconds=1100.0).overdue


def test_fine_tuning_knows_its_steps_from_the_beginning() -> None:
    assert now([], TUNING).steps == 21
    log = [*lines(1, 2), {"step": 7, "split": "validation", "loss": 1.0, "accuracy": 0.5}]
    run = now(log, TUNING)
    assert (run.step, run.steps, run.learns, run.normal) == (7, 21, "classify", {})
    assert run.validation["accuracy"] == 0.5
    assert now(log, {"task": "classify", "epochs": 3}).steps is None  # of a run that did not write it


def test_results_tell_what_is_normal_and_lines_what_was_skipped() -> None:
    told = {"normal": {"uniform": 4.6, "unigram": 3.0, "note": "x"}}
    assert now(lines(1), results=told).normal == {"uniform": 4.6, "unigram": 3.0}
    assert now(lines(1), CONFIG | {"objective": {"kind": "replaced"}}).normal == {}
    parts: list[dict[str, Any]] = [{"objective": {"kind": "spans"}}, {"objective": {"kind": "masked"}}]
    assert "uniform" in now(lines(1), CONFIG | {"objective": {"kind": "mixed", "parts": parts}}).normal
    parts[0]["weight"] = 2.0  # the sum is no mean over tokens
    assert now(lines(1), CONFIG | {"objective": {"kind": "mixed", "parts": parts}}).normal == {}
    assert now(lines(1, 2, skipped=3)).skipped == 3


@pytest.mark.parametrize("line", [{}, {"step": "x"}, {"step": 1, "loss": None}, {"step": 2, "loss": float("nan")}])
def test_lines_that_lack_things_are_no_trouble(line: dict[str, Any]) -> None:
    run = now([line, line | {"split": "validation"}])
    assert run.training_curve == () and run.loss is None
