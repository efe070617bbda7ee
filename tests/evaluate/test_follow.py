"""A run's folder followed while it grows, is cut back, and taken away."""

import json
import os
from pathlib import Path

import pytest

from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.files import alone, write_text
from trivium.evaluate.follow import CHECKPOINTS, CONFIG, LOG, RESULTS, Tail, follow, look, read_on
from trivium.train import run as train_run
from trivium.train.checkpoint import checkpoint_path

PRETRAINING = 'objective = {kind = "causal"}\ntrain = {steps = 40}\n'


def line(step: int) -> str:
    return json.dumps({"step": step, "loss": 1.0, "tokens": step, "seconds": float(step)}) + "\n"


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    log = tmp_path / LOG
    assert read_on(log, Tail()) == (Tail(), [], True)
    log.write_text(line(1) + line(2) + '{"step": 3, "lo')
    tail, lines, afresh = read_on(log, Tail())
    assert [each["step"] for each in lines] == [1, 2] and afresh
    assert read_on(log, tail) == (tail, [], False)
    with log.open("a") as file:
        file.write('ss": 1.0}\n' + "no json\n[1]\n" + line(4))
    tail, lines, afresh = read_on(log, tail)
    assert [each["step"] for each in lines] == [3, 4] and not afresh
    assert tail.offset == log.stat().st_size


def test_a_log_that_is_cut_back_is_read_from_the_start(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text("".join(map(line, range(1, 9))))
    tail = read_on(log, Tail())[0]
    write_text(log, line(1) + line(2) + "".join(map(line, range(30, 50))))  # replaced, and longer than before
    assert [each["step"] for each in read_on(log, tail)[1]] == [1, 2, *range(30, 50)]
    tail = read_on(log, Tail())[0]
    os.truncate(log, len(line(1)))
    assert read_on(log, tail)[1:] == ([json.loads(line(1))], True)


def test_a_run_is_followed_over_a_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / CONFIG).write_text(PRETRAINING)
    followed, seen = look(follow(run), now=0.0)
    assert (seen.run, seen.state, seen.step, seen.steps) == (str(run), "killed", 0, 40)
    with alone(run / CONFIG):
        (run / LOG).write_text(line(1) + line(2) + line(3))
        followed, seen = look(followed, now=(run / LOG).stat().st_mtime + 7)
        assert (seen.state, seen.step, seen.silent_seconds) == ("running", 3, 7.0)
        seen = look(followed, now=(run / LOG).stat().st_mtime + 99)[1]
        assert (seen.state, seen.overdue) == ("running", True)
    assert look(followed, now=0.0)[1].state == "killed"
    write_text(run / LOG, line(1))
    with (run / LOG).open("a") as file:
        file.write(line(2))
    checkpoint_path(run, 2).mkdir(parents=True)
    checkpoint_path(run, 1).mkdir()
    (run / CHECKPOINTS / ".step-000003.partial").mkdir()
    followed, seen = look(followed, now=checkpoint_path(run, 2).stat().st_mtime + 4)
    assert [step for step, _ in seen.training_curve] == [1, 2]
    assert (seen.checkpoint_step, seen.checkpoint_seconds) == (2, 4.0)
    (run / RESULTS).write_text("{}")
    assert look(followed, now=0.0)[1].state == "finished"


def test_fine_tuning_is_followed_as_pretraining_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / CONFIG).write_text('task = "classify"\nsteps = 5\ntrain = "train.csv"\n')
    with alone(run / CONFIG):
        followed, seen = look(follow(run), now=1e12)
        assert (seen.state, seen.learns, seen.step, seen.steps, seen.overdue) == ("running", "classify", 0, 5, True)
        (run / LOG).write_text(line(1))
        followed, seen = look(followed, now=0.0)
        assert (seen.state, seen.step, seen.overdue) == ("running", 1, False)
    assert look(followed, now=0.0)[1].state == "killed"
    (run / RESULTS).write_text("{}")
    followed, seen = look(followed, now=0.0)
    assert (seen.state, seen.step) == ("finished", 1) and len(seen.training_curve) == 1


@pytest.mark.parametrize("logged", [True, False])
def test_a_run_that_is_taken_away_is_said_to_be_gone(logged: bool, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(PRETRAINING)
    if logged:
        (tmp_path / LOG).write_text(line(1))
    followed, _ = look(follow(tmp_path), now=0.0)
    (tmp_path / CONFIG).unlink()
    with pytest.raises(CheckpointError, match=r"there no more\.$"):
        look(followed, now=0.0)


def test_folders_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not a run's folder: it has no config\.toml\.$"):
        follow(tmp_path)
    with pytest.raises(CheckpointError, match=r"no such run folder\.$"):
        follow(tmp_path / "missing")
    (tmp_path / CONFIG).write_text("= no TOML")
    with pytest.raises(ConfigError, match="not valid TOML"):
        follow(tmp_path)


def test_damaged_results_are_results(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(PRETRAINING)
    (tmp_path / RESULTS).write_text("{")
    assert look(follow(tmp_path), now=0.0)[1].state == "finished"


def test_the_names_of_a_runs_files_are_those_it_is_written_with(tmp_path: Path) -> None:
    assert (CONFIG, LOG, RESULTS) == (train_run.CONFIG, train_run.LOG, train_run.RESULTS)
    assert checkpoint_path(tmp_path, 3).parent == tmp_path / CHECKPOINTS
