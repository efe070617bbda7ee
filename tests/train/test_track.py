"""What is sent to trackers: the numbers of the log, from a thread that can neither stop nor change the run."""

import random
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_support import STEPS, config_of, log_of, model_bytes, run

from stopping import Killed, KilledAt, Lines
from trivium.core.progress import Silent
from trivium.train import track
from trivium.train.log import Log, read_log
from trivium.train.track import flat, followed, numbers


class Kept:
    """A tracker that keeps what it gets."""

    name = "kept"

    def __init__(self) -> None:
        self.began: list[int] = []
        self.config: Mapping[str, Any] = {}
        self.sent: list[tuple[int, dict[str, float]]] = []
        self.ended: list[bool] = []
        self.open = False

    def seen_by(self, run: Path) -> str:
        return f"look at {run.name}"

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        assert not self.open  # else what it holds back would come after what makes it void
        self.open = True
        self.began.append(step)
        self.config = config
        self.sent = [(at, values) for at, values in self.sent if at <= step]

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        random.random(), np.random.rand(3)  # as packages do
        self.sent.append((step, dict(numbers)))

    def end(self, *, finished: bool) -> None:
        self.open = False
        self.ended.append(finished)


class Failing(Kept):
    """A tracker that raises, or never comes back, at some call."""

    def __init__(self, where: str, error: BaseException | None) -> None:
        super().__init__()
        self.where, self.error, self.calls = where, error, 0
        self.let_go = threading.Event()

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        self._at("begin")

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        self._at("send")

    def end(self, *, finished: bool) -> None:
        self._at("end")

    def _at(self, where: str) -> None:
        self.calls += 1
        if where == self.where:
            if self.error is None:
                self.let_go.wait(60)
            else:
                raise self.error


def test_what_is_tracked_is_what_is_logged_and_the_run_is_the_same(tmp_path: Path) -> None:
    run(config_of("bert-tiny"), tmp_path / "alone")
    tracker, lines = Kept(), Lines()
    run(config_of("bert-tiny"), tmp_path / "tracked", trackers=[tracker], progress=lines)
    assert model_bytes(tmp_path / "tracked") == model_bytes(tmp_path / "alone")
    assert log_of(tmp_path / "tracked") == log_of(tmp_path / "alone")
    log = read_log(tmp_path / "tracked" / "log.jsonl")
    assert tracker.sent == [(line["step"], numbers(line)) for line in log]
    assert [step for step, sent in tracker.sent if "train/loss" in sent] == list(range(1, STEPS + 1))
    assert [step for step, sent in tracker.sent if "validation/loss" in sent] == [4, 8, 12]
    assert tracker.began == [0] and tracker.ended == [True]
    assert tracker.config["train"]["steps"] == STEPS
    assert lines.lines == ["tracked with kept; to see it: look at tracked"]


def test_a_run_that_was_killed_goes_on_in_the_same_tracked_run(tmp_path: Path) -> None:
    tracker = Kept()
    with pytest.raises(Killed):
        run(config_of(), tmp_path / "out", trackers=[tracker], progress=KilledAt(7))
    assert tracker.ended == [False] and tracker.sent[-1][0] == 7
    run(config_of(), tmp_path / "out", trackers=[tracker], resume=True)
    assert tracker.began == [0, 6] and tracker.ended == [False, True]
    log = read_log(tmp_path / "out" / "log.jsonl")
    assert tracker.sent == [(line["step"], numbers(line)) for line in log]


def test_a_run_that_goes_back_closes_the_tracked_run_before_it_goes_on_in_it(tmp_path: Path) -> None:
    tracker, lines = Kept(), Lines()
    with followed([tracker], tmp_path, {}, lines) as followers:
        log = Log(tmp_path / "log.jsonl", followers)
        for begun, steps in ((0, (1, 2, 3)), (1, (2, 3)), (2, (3, 4))):
            log.cut_after(begun)
            for step in steps:
                log.write(step=step, loss=0.5 + begun)
    assert not any("left out" in line for line in lines.lines)
    assert tracker.began == [0, 1, 2] and tracker.ended == [False, False, True]
    assert tracker.sent == [(line["step"], numbers(line)) for line in read_log(tmp_path / "log.jsonl")]
    assert [values["train/loss"] for _, values in tracker.sent] == [0.5, 1.5, 2.5, 2.5]


@pytest.mark.parametrize("error", [RuntimeError("no\nroom"), OSError(28, "full"), SystemExit(3), KeyError()])
@pytest.mark.parametrize("where", ["begin", "send", "end"])
def test_a_tracker_that_fails_is_left_out_with_one_line(where: str, error: BaseException, tmp_path: Path) -> None:
    failing, other, lines = Failing(where, error), Kept(), Lines()
    with followed([failing, other], tmp_path, {}, lines) as followers:
        log = Log(tmp_path / "log.jsonl", followers)
        log.cut_after(0)
        for step in (1, 2, 3):
            log.write(step=step, loss=0.5)
    assert failing.calls == {"begin": 1, "send": 2, "end": 5}[where]
    assert [step for step, _ in other.sent] == [1, 2, 3] and other.ended == [True]
    said = [line for line in lines.lines if "left out" in line]
    assert len(said) == 1 and said[0].startswith("kept failed and is left out; the run and log.jsonl go on. ")
    assert "\n" not in said[0] and type(error).__name__ in said[0]


def test_a_tracker_that_hangs_does_not_hold_up_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "_SECONDS_TO_END", 0.2)
    failing, lines = Failing("send", None), Lines()
    with followed([failing], tmp_path, {}, lines) as followers:
        log = Log(tmp_path / "log.jsonl", followers)
        log.write(step=1, loss=0.5)
        log.write(step=2, loss=0.5)
    failing.let_go.set()
    assert len(read_log(tmp_path / "log.jsonl")) == 2
    assert lines.lines[1:] == ["kept did not take everything in 0 s; log.jsonl has all of it."]


def test_numbers_have_the_names_of_their_split() -> None:
    training = {"step": 3, "loss": 1.5, "tokens": 96, "seconds": 2.0, "lr": 1e-3, "kind": "x", "good": True}
    assert numbers(training) == {"train/loss": 1.5, "train/tokens": 96, "train/seconds": 2.0, "train/lr": 1e-3}
    evaluation = {"step": 3, "split": "validation", "loss": 1.5, "tokens": 96, "seconds": 2.0, "accuracy": 0.5}
    assert numbers(evaluation) == {"validation/loss": 1.5, "validation/accuracy": 0.5}


def test_settings_become_one_table_of_dotted_names() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": "g"}) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": "g"}


def test_a_log_without_trackers_starts_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with followed([], tmp_path, {}, Silent()) as followers:
        assert followers == [] and threading.active_count() == before
