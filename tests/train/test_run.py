"""A whole run on text in memory: killed, resumed, signalled and repeated, it ends with the same bits."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from run_support import (
    STEPS,
    MadeUpData,
    MadeUpTokenizer,
    config_of,
    log_of,
    model_bytes,
    newest_step,
    run,
)

from stopping import Killed, KilledAt, Lines
from support import VOCABULARY_SIZE, shrink
from training import run_config
from trivium.core.config import parse, read_toml
from trivium.core.errors import CheckpointError, ConfigError, DivergedError, Interrupted
from trivium.core.progress import Silent
from trivium.model.folder import load_model
from trivium.model.presets import preset
from trivium.model.warm_start import written_from
from trivium.train.checkpoint import checkpoints
from trivium.train.config import RunConfig
from trivium.train.log import read_log


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    run(config_of(), out)
    return out


def test_a_run_leaves_what_the_contract_says(unbroken: Path) -> None:
    assert {path.name for path in unbroken.iterdir()} == {
        "config.toml",
        "log.jsonl",
        "checkpoints",
        "model",
        "results.json",
    }
    log = log_of(unbroken)
    training = [line for line in log if "split" not in line]
    assert [line["step"] for line in training] == list(range(1, STEPS + 1))
    assert [line["step"] for line in log if line.get("split") == "validation"] == [4, 8, 12]
    assert set(training[0]) == {"step", "loss", "tokens", "lr", "gradient_norm", "causal"}
    assert [line["tokens"] for line in training] == sorted(line["tokens"] for line in training)  # type: ignore[type-var]
    assert training[0]["tokens"] == 8 * 48
    assert all(path.name.startswith("step-") for path in (unbroken / "checkpoints").iterdir())


def test_the_step_of_the_lowest_validation_loss_is_noted_and_its_checkpoint_kept(unbroken: Path) -> None:
    validated = [line for line in read_log(unbroken / "log.jsonl") if line.get("split") == "validation"]
    best = min(validated, key=lambda line: line["loss"])
    state = json.loads((checkpoints(unbroken)[-1] / "state.json").read_text())
    assert state["best_step"] == best["step"]
    assert state["best_loss"] == pytest.approx(best["loss"])
    assert best["step"] in [int(path.name.removeprefix("step-")) for path in checkpoints(unbroken)]


@pytest.mark.parametrize("name", ["bert-tiny", "decoder-tiny", "t5-small"])
def test_killed_and_resumed_it_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    config = config_of(name)
    results = run(config, tmp_path / "unbroken")
    killed = 0
    for progress in (KilledAt(2), KilledAt(7), KilledAt(11), Silent()):
        try:
            again = run(config, tmp_path / "broken", progress=progress, resume=True)
        except Killed:
            killed += 1
    assert killed == 3
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "unbroken")
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in results.items() if k != "seconds"}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_by_the_system_at_any_moment_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    config = config_of(steps=45, validate_steps=5, checkpoint_steps=1)
    run(config, tmp_path / "unbroken")
    rng, reached = np.random.default_rng(0), [0]
    while len(reached) < 4:
        child = os.fork()
        if child == 0:
            try:
                run(config, tmp_path / "broken", resume=True)
            finally:
                os._exit(0)
        goal, begun = reached[-1] + int(rng.integers(2, 8)), time.monotonic()
        while newest_step(tmp_path / "broken") < goal and time.monotonic() - begun < 60:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0.0, 0.03)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reached.append(newest_step(tmp_path / "broken"))
    assert reached == sorted(set(reached)) and reached[-1] < 45
    run(config, tmp_path / "broken", resume=True)
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "unbroken")


@pytest.mark.parametrize("change", [{"prefetch": 0}, {"prefetch": 5}, {"log_steps": 5}, {"checkpoint_steps": 5}])
def test_what_only_looks_on_changes_no_bit(change: dict[str, int], unbroken: Path, tmp_path: Path) -> None:
    run(config_of(**change), tmp_path / "out")
    assert model_bytes(tmp_path / "out") == model_bytes(unbroken)


def test_validation_changes_no_bit_of_a_run_with_dropout(tmp_path: Path) -> None:
    run(config_of("bert-tiny", validate_steps=1), tmp_path / "often")
    run(config_of("bert-tiny", validate_steps=12), tmp_path / "once")
    assert model_bytes(tmp_path / "often") == model_bytes(tmp_path / "once")


def test_the_written_configuration_repeats_the_run(unbroken: Path, tmp_path: Path) -> None:
    config = parse(RunConfig, read_toml(unbroken / "config.toml"), "config.toml")
    run(config, tmp_path / "out")
    assert model_bytes(tmp_path / "out") == model_bytes(unbroken)
    assert (tmp_path / "out" / "config.toml").read_bytes() == (unbroken / "config.toml").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_and_the_run_goes_on(number: int, unbroken: Path, tmp_path: Path) -> None:
    class Signalled(Silent):
        def advance(self, done: float, note: str = "") -> None:
            if done == 4:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="step 5"):
        run(config_of(), tmp_path / "out", progress=Signalled())
    assert signal.getsignal(number) == before
    assert checkpoints(tmp_path / "out")[-1].name == "step-000005"
    assert not (tmp_path / "out" / "model").exists()
    run(config_of(), tmp_path / "out", resume=True)
    assert model_bytes(tmp_path / "out") == model_bytes(unbroken)


def test_a_damaged_newest_checkpoint_is_passed_over(unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(config_of(), tmp_path / "out", progress=KilledAt(7))
    newest = checkpoints(tmp_path / "out")[-1]
    assert newest.name == "step-000006"
    (newest / "weights.safetensors").write_bytes(b"")
    progress = Lines()
    run(config_of(), tmp_path / "out", progress=progress, resume=True)
    assert any("step-000006" in line and "damaged" in line for line in progress.lines)
    assert any("resumed at step 4" in line for line in progress.lines)
    assert model_bytes(tmp_path / "out") == model_bytes(unbroken)
    assert log_of(tmp_path / "out") == log_of(unbroken)


def test_when_all_checkpoints_are_damaged_nothing_is_lost(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(config_of(), tmp_path / "out", progress=KilledAt(7))
    for path in checkpoints(tmp_path / "out"):
        (path / "optimiser.safetensors").unlink()
    log = (tmp_path / "out" / "log.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="missing"):
        run(config_of(), tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "log.jsonl").read_bytes() == log
    assert len(checkpoints(tmp_path / "out")) >= 2


def test_a_finished_run_is_resumed_to_the_same_end(unbroken: Path, tmp_path: Path) -> None:
    run(config_of(), tmp_path / "out")
    run(config_of(), tmp_path / "out", resume=True)
    assert model_bytes(tmp_path / "out") == model_bytes(unbroken)
    assert log_of(tmp_path / "out") == log_of(unbroken)


def test_resuming_what_never_began_begins_it(unbroken: Path, tmp_path: Path) -> None:
    run(config_of(), tmp_path / "out", resume=True)
    assert model_bytes(tmp_path / "out") == model_bytes(unbroken)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_refused_and_left_alone(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    for out in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(ConfigError, match=r"[nN]othing was changed"):
            run(config_of(), out, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_existing_run_is_refused_and_left_alone(unbroken: Path) -> None:
    before = model_bytes(unbroken)
    with pytest.raises(ConfigError, match="already exists"):
        run(config_of(), unbroken)
    assert model_bytes(unbroken) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "`seed` was 0"),
        ({"optimiser": run_config().optimiser.model_copy(update={"lr": 0.5})}, "`optimiser.lr` was 0.003"),
        ({"model": shrink(preset("gpt2"))}, "model"),
    ],
)
def test_resuming_with_other_settings_is_refused(change: dict[str, object], message: str, unbroken: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(config_of().model_copy(update=change), unbroken, resume=True)
    assert "\n" not in str(caught.value)


def test_resuming_on_other_data_is_refused(unbroken: Path) -> None:
    with pytest.raises(ConfigError, match="data has changed"):
        run(config_of(), unbroken, resume=True, data=MadeUpData(seed=6))


def test_a_run_from_an_earlier_one_begins_with_its_weights(unbroken: Path, tmp_path: Path) -> None:
    config = config_of(steps=1).model_copy(update={"start_from": str(unbroken)})
    config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"lr": 1e-12})})
    run(config, tmp_path / "out")
    earlier, later = load_model(unbroken / "model"), load_model(tmp_path / "out" / "model")
    assert later.config == earlier.config
    for one, other in zip(earlier.network.parameters(), later.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6)


def test_a_run_from_an_earlier_one_is_resumed_exactly(unbroken: Path, tmp_path: Path) -> None:
    config = config_of().model_copy(update={"start_from": str(unbroken), "seed": 4})
    run(config, tmp_path / "unbroken")
    with pytest.raises(Killed):
        run(config, tmp_path / "broken", progress=KilledAt(5))
    run(config, tmp_path / "broken", resume=True)
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")


def test_an_encoder_decoder_from_one_stack_is_resumed_exactly(unbroken: Path, tmp_path: Path) -> None:
    """Stopped before its first checkpoint, and after one."""
    config = config_of("seq2seq-tiny", checkpoint_steps=5)
    begun = written_from(load_model(unbroken / "model").config)
    config = config.model_copy(update={"start_from": str(unbroken), "model": begun, "mixout": 0.2})
    run(config, tmp_path / "unbroken")
    for step in (2, 7):
        with pytest.raises(Killed):
            run(config, tmp_path / "broken", progress=KilledAt(step), resume=(tmp_path / "broken").is_dir())
    run(config, tmp_path / "broken", resume=True)
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "unbroken")


@pytest.mark.parametrize("name", ["vocabulary_size", "hidden_size"])
def test_a_run_from_one_of_another_size_is_refused(name: str, unbroken: Path, tmp_path: Path) -> None:
    model = load_model(unbroken / "model").config
    for other in (model, written_from(model)):
        kind = "seq2seq-tiny" if other is not model else "decoder-tiny"
        sized = other.model_copy(update={name: 64 + getattr(model, name)})
        config = config_of(kind).model_copy(update={"start_from": str(unbroken), "model": sized})
        with pytest.raises(ConfigError, match=f"expected a model whose `{name}` is the run's, "):
            run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_from_one_with_another_tokenizer_is_refused(unbroken: Path, tmp_path: Path) -> None:
    config = config_of().model_copy(update={"start_from": str(unbroken)})
    with pytest.raises(CheckpointError, match="tokenizer"):
        run(config, tmp_path / "out", data=MadeUpData(tokenizer=MadeUpTokenizer(b"another")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": config_of(accumulation=3).train}, "3 does not divide 8"),
        ({"objective": run_config("seq2seq-tiny").objective}, "one stack"),
        ({"data": run_config().data.model_copy(update={"row_length": 4096}), "model": preset("gpt2")}, "row_length"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(config_of().model_copy(update=change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_diverges_keeps_its_last_checkpoint(tmp_path: Path) -> None:
    config = config_of(checkpoint_steps=1, max_gradient_norm=1e9)
    config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"lr": 1e30})})
    with pytest.raises(DivergedError, match=r"optimiser\.lr"):
        run(config, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_the_settings_left_open_are_settled_and_written(tmp_path: Path) -> None:
    config = config_of(steps=20, log_steps=None, validate_steps=None, checkpoint_steps=None, precision="auto")
    run(config, tmp_path / "out")
    written = parse(RunConfig, read_toml(tmp_path / "out" / "config.toml"), "config.toml")
    assert (written.train.log_steps, written.train.validate_steps, written.train.checkpoint_steps) == (1, 2, 2)
    assert written.train.precision in ("float32", "bfloat16")
    assert written.data.fingerprint == MadeUpData().fingerprint
    assert written.model.vocabulary_size == VOCABULARY_SIZE


def test_steps_are_chosen_to_fill_the_minutes_and_never_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivium.train.settle.seconds_a_step", lambda *arguments, **settings: 0.05)
    config = config_of(steps=None, validate_steps=None, checkpoint_steps=None)
    with pytest.raises(Killed):
        run(config, tmp_path / "out", minutes=0.05, progress=KilledAt(9))
    steps = parse(RunConfig, read_toml(tmp_path / "out" / "config.toml"), "config.toml").train.steps
    assert steps is not None and 10 <= steps <= 3 / 0.05

    def measured(*arguments: object) -> float:
        raise AssertionError("measured again")

    monkeypatch.setattr("trivium.train.settle.seconds_a_step", measured)
    run(config, tmp_path / "out", minutes=0.05, resume=True)
    assert log_of(tmp_path / "out")[-1]["step"] == steps


@pytest.mark.slow
def test_a_run_of_so_many_minutes_takes_so_many(tmp_path: Path) -> None:
    begun = time.perf_counter()
    run(config_of(steps=None, validate_steps=None, checkpoint_steps=None), tmp_path / "out", minutes=0.5)
    assert 20 < time.perf_counter() - begun < 1.15 * 30


def test_measuring_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.train.measure._MIN_SECONDS", 0.05)
    run(config_of(steps=None), tmp_path / "measured", minutes=0.01)
    steps = parse(RunConfig, read_toml(tmp_path / "measured" / "config.toml"), "config.toml").train.steps
    run(config_of(steps=steps), tmp_path / "told")
    assert model_bytes(tmp_path / "measured") == model_bytes(tmp_path / "told")


def test_the_model_folder_is_the_trained_network(unbroken: Path) -> None:
    weights = checkpoints(unbroken)[-1] / "weights.safetensors"
    assert checkpoints(unbroken)[-1].name == "step-000012"
    assert weights.read_bytes() == (unbroken / "model" / "weights.safetensors").read_bytes()
