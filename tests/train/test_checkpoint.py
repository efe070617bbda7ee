"""Checkpoints: exact, checksummed, rotated; a damaged one is passed over."""

import json
import shutil
from pathlib import Path

import pytest

from support import equal, parameters_of
from training import STEPS, Trial, run_config, trial
from trivium.core.errors import CheckpointError
from trivium.model.folder import load_model
from trivium.train.checkpoint import checkpoint_path, checkpoints, latest_good, load_checkpoint, save_checkpoint
from trivium.train.optimisers import optimiser_tensors
from trivium.train.state import TrainState


def save(run: Path, attempt: Trial, step: int, best: int | None = None) -> None:
    state = TrainState(step=step, tokens=10 * step, seconds=0.1 * step, best_loss=0.1 + 0.2, best_step=best)
    save_checkpoint(run, attempt.network, attempt.optimiser, state)


def steps_of(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoints(run)]


def damage(path: Path, name: str = "weights.safetensors") -> None:
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)


@pytest.fixture(scope="module")
def trained() -> Trial:
    attempt = trial(run_config("decoder-tiny"))
    attempt.reports(0, 2)
    return attempt


def test_a_checkpoint_gives_everything_back(trained: Trial, tmp_path: Path) -> None:
    save(tmp_path, trained, 2, best=2)
    other = trial(run_config("decoder-tiny", seed=9))
    state = load_checkpoint(checkpoint_path(tmp_path, 2), other.network, other.optimiser)
    assert state == TrainState(step=2, tokens=20, seconds=0.2, best_loss=0.1 + 0.2, best_step=2)
    assert equal(parameters_of(trained.network), parameters_of(other.network))
    assert equal(
        optimiser_tensors(trained.optimiser, trained.network), optimiser_tensors(other.optimiser, other.network)
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["bert-tiny", "decoder-tiny", "t5-small"])
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(name: str, precision: str, tmp_path: Path) -> None:
    config = run_config(name, dropout=0.1, accumulation=2, precision=precision)  # type: ignore[arg-type]
    unbroken = trial(config)
    losses = unbroken.losses(0, 12)
    broken: list[float] = []
    for start, stop in ((0, 5), (5, 6), (6, 12)):
        attempt = trial(config)  # as a new process begins
        if start:
            assert load_checkpoint(checkpoint_path(tmp_path, start), attempt.network, attempt.optimiser).step == start
        broken += attempt.losses(start, stop)
        save(tmp_path, attempt, stop)
    assert broken == losses
    assert equal(parameters_of(unbroken.network), parameters_of(attempt.network))
    assert equal(
        optimiser_tensors(unbroken.optimiser, unbroken.network), optimiser_tensors(attempt.optimiser, attempt.network)
    )


def test_the_last_two_and_the_best_are_kept(trained: Trial, tmp_path: Path) -> None:
    save(tmp_path, trained, 10, best=10)
    save(tmp_path, trained, 20, best=10)
    assert steps_of(tmp_path) == [10, 20]
    save(tmp_path, trained, 30, best=10)
    save(tmp_path, trained, 40, best=10)
    assert steps_of(tmp_path) == [10, 30, 40]
    save(tmp_path, trained, 50, best=50)
    assert steps_of(tmp_path) == [40, 50]


def test_order_is_that_of_numbers_not_of_names(trained: Trial, tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 1_000_001):
        save(tmp_path, trained, step)
    assert steps_of(tmp_path) == [1_000_000, 1_000_001]


def test_nothing_else_is_taken_for_a_checkpoint_or_removed(trained: Trial, tmp_path: Path) -> None:
    for name in ("step-abc", "notes", ".step-000007.partial"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    for step in (1, 2, 3):
        save(tmp_path, trained, step)
    assert steps_of(tmp_path) == [2, 3]
    assert (tmp_path / "checkpoints" / "notes").is_dir()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(trained: Trial, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "optimiser.safetensors", "state.json", "checksums.json"):
        for step in (1, 2):
            save(tmp_path, trained, step)
        damage(checkpoint_path(tmp_path, 2), name)
        path, complaints = latest_good(tmp_path)
        assert path == checkpoint_path(tmp_path, 1)
        assert len(complaints) == 1 and "step-000002" in complaints[0]


def test_a_checkpoint_with_a_file_missing_is_damaged(trained: Trial, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "optimiser.safetensors", "state.json", "checksums.json"):
        save(tmp_path, trained, 1)
        save(tmp_path, trained, 2)
        (checkpoint_path(tmp_path, 2) / name).unlink()
        assert latest_good(tmp_path)[0] == checkpoint_path(tmp_path, 1)


def test_when_all_are_damaged_it_is_an_error_of_one_line(trained: Trial, tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, trained, step)
        damage(checkpoint_path(tmp_path, step))
    with pytest.raises(CheckpointError, match="No earlier checkpoint is whole") as caught:
        latest_good(tmp_path)
    assert "\n" not in str(caught.value)


def test_before_the_first_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert latest_good(tmp_path) == (None, [])


def test_a_checkpoint_after_damaged_ones_is_kept_and_they_go(trained: Trial, tmp_path: Path) -> None:
    save(tmp_path, trained, 10, best=10)
    for step in (30, 40):
        save(tmp_path, trained, step, best=10)
        damage(checkpoint_path(tmp_path, step))
    assert latest_good(tmp_path)[0] == checkpoint_path(tmp_path, 10)
    save(tmp_path, trained, 15, best=10)  # the run that went on from step 10
    assert steps_of(tmp_path) == [10, 15]
    assert latest_good(tmp_path) == (checkpoint_path(tmp_path, 15), [])


def test_a_failure_while_writing_leaves_the_earlier_ones(
    trained: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, trained, 1)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trivium.train.checkpoint.write_checksums", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, trained, 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
    assert latest_good(tmp_path)[0] == checkpoint_path(tmp_path, 1)


def test_a_checkpoint_of_another_model_is_refused(trained: Trial, tmp_path: Path) -> None:
    save(tmp_path, trained, 2)
    other = trial(run_config("bert-tiny"))
    before = parameters_of(other.network)
    with pytest.raises(CheckpointError, match="another model"):
        load_checkpoint(checkpoint_path(tmp_path, 2), other.network, other.optimiser)
    assert equal(before, parameters_of(other.network))


def test_equal_states_give_equal_bytes(trained: Trial, tmp_path: Path) -> None:
    for run in ("first", "second"):
        save(tmp_path / run, trained, 2)
    files = sorted(path.name for path in checkpoint_path(tmp_path / "first", 2).iterdir())
    assert files == ["checksums.json", "optimiser.safetensors", "state.json", "weights.safetensors"]
    for name in files:
        first, second = (checkpoint_path(tmp_path / run, 2) / name for run in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_a_checkpoint_is_no_model_folder(trained: Trial, tmp_path: Path) -> None:
    save(tmp_path, trained, 2)
    with pytest.raises(CheckpointError, match="not a model folder"):
        load_model(checkpoint_path(tmp_path, 2))


def test_the_state_is_readable(trained: Trial, tmp_path: Path) -> None:
    save(tmp_path, trained, STEPS)
    state = json.loads((checkpoint_path(tmp_path, STEPS) / "state.json").read_text())
    assert state["step"] == STEPS
    shutil.rmtree(checkpoint_path(tmp_path, STEPS))
    assert checkpoints(tmp_path) == []
