"""A fine-tuning run that is stopped and goes on ends as the run that was never stopped."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_support import label_examples, start, task_files, tokenizer

from stopping import Killed, KilledAt, Lines
from support import equal, lively, parameters_of, tiny
from trivium.core.config import parse, read_toml
from trivium.core.errors import CheckpointError, ConfigError, DataError, Interrupted
from trivium.core.files import alone
from trivium.core.progress import Progress, Silent
from trivium.data.labelled import write_jsonl
from trivium.evaluate.report import run_report
from trivium.tasks.build import build_task, learned_task
from trivium.tasks.config import FinetuneConfig, finetune_config
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.folder import load_tuned
from trivium.tasks.start import Start, random_start
from trivium.train.checkpoint import checkpoints, step_of
from trivium.train.log import read_log

Files = dict[str, Path]
LABEL = ["epochs=3", "rows=4", "optimiser.lr=0.02"]


def pretrained(family: str = "encoder") -> Start:
    """Return a start with weights of its own."""
    begin = random_start(tiny(family), tokenizer(), row_length=64)
    return begin._replace(network=lively(begin.config), name="pretrained")


def run(out: Path, files: Files, begin: Start, config: FinetuneConfig, progress: Progress | None = None) -> None:
    """Run, or go on with, the whole of a run."""
    finetune(begin, config, **files, out=out, progress=progress or Silent(), resume=True)


def ended(out: Path) -> dict[str, Any]:
    """Return what a run leaves, but for how long it took."""
    results = json.loads((out / "results.json").read_text())
    results.pop("seconds")
    log = [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(out / "log.jsonl")]
    return {
        "model": {file.name: file.read_bytes() for file in (out / "model").iterdir()},
        "config": (out / "config.toml").read_bytes(),
        "results": json.dumps(results),
        "log": json.dumps(log),
    }


def killed_at_each_step(out: Path, files: Files, begin: Start, config: FinetuneConfig, steps: int) -> int:
    """Kill a run after every step that it comes to for the first time, then let it end; return how often it was."""
    kills = 0
    for step in range(1, steps + 1):
        try:
            run(out, files, begin, config, KilledAt(step))
        except Killed:
            kills += 1
    run(out, files, begin, config)
    return kills


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return task_files(tmp_path_factory.mktemp("files"), "label")


@pytest.fixture(scope="module")
def unbroken(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    run(out, files, start(), finetune_config("label", LABEL))
    return out


def steps_of(out: Path) -> int:
    return step_of(checkpoints(out)[-1])


@pytest.mark.parametrize(
    ("family", "assignments"),
    [
        ("encoder", ['averaging={kind="ema",decay=0.9}', 'regularisers=[{kind="r_drop"}]']),
        ("decoder", ["precision=bfloat16", 'averaging={kind="tail",share=0.5}', "accumulation=2"]),
        ("encoder", ["precision=bfloat16", "mixout=0.5", "reinitialise_layers=1", "stochastic_depth=0.2"]),
        (
            "encoder_decoder",
            ["optimiser.kind=muon", "optimiser.lr=0.01", "layer_decay=0.8", 'unfreezing={kind="epochs"}', "mixout=0.3"],
        ),
        (
            "encoder",
            [
                'regularisers=[{kind="label_smoothing"},{kind="smart"}]',
                'unfreezing={kind="steps",every=2}',
                "mixout=0.5",
            ],
        ),
    ],
)
def test_killed_after_every_step_it_ends_as_if_never_killed(
    family: str, assignments: list[str], files: Files, tmp_path: Path
) -> None:
    config = finetune_config("label", ["epochs=2", "rows=4", "checkpoint_steps=1", *assignments])
    begin = pretrained(family)
    run(tmp_path / "unbroken", files, begin, config)
    steps = steps_of(tmp_path / "unbroken")
    assert killed_at_each_step(tmp_path / "broken", files, begin, config, steps) == steps >= 4
    assert ended(tmp_path / "broken") == ended(tmp_path / "unbroken")


@pytest.mark.slow
def test_killed_once_after_any_step_it_ends_as_if_never_killed(files: Files, unbroken: Path, tmp_path: Path) -> None:
    config = finetune_config("label", LABEL)
    for step in range(1, steps_of(unbroken) + 1):
        out = tmp_path / str(step)
        with pytest.raises(Killed):
            run(out, files, start(), config, KilledAt(step))
        assert not (out / "model").exists() and not (out / "results.json").exists()
        run(out, files, start(), config)
        assert ended(out) == ended(unbroken)


def test_the_best_epochs_weights_outlive_their_checkpoint_and_a_kill(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = task_files(tmp_path, "label")
    rows = [json.loads(line) for line in files["valid"].read_text().splitlines()]
    for row in rows:  # labels that nothing tells: the best epoch is whichever chance favours
        row["labels"] = rng.choice(["low", "high", "top"], len(row["labels"])).tolist()
    write_jsonl(files["valid"], rows)
    config = finetune_config("label", ["epochs=8", "rows=16", "optimiser.lr=0.01", 'averaging={kind="ema",decay=0.3}'])
    run(tmp_path / "unbroken", files, start(), config)
    best = json.loads((tmp_path / "unbroken" / "results.json").read_text())["best_step"]
    kept = [step_of(path) for path in checkpoints(tmp_path / "unbroken")]
    assert best < kept[-2] and kept == [best, *kept[-2:]]
    with pytest.raises(Killed):
        run(tmp_path / "broken", files, start(), config, KilledAt(kept[-2]))
    shutil.rmtree(tmp_path / "broken" / "checkpoints" / f"step-{best:06d}")
    run(tmp_path / "broken", files, start(), config)
    assert ended(tmp_path / "broken") == ended(tmp_path / "unbroken")


def test_checkpoints_are_at_the_ends_of_epochs_and_within_long_ones(files: Files, tmp_path: Path) -> None:
    class Seen(Silent):
        def __init__(self, out: Path) -> None:
            self.out, self.steps = out, set[int]()

        def advance(self, done: float, note: str = "") -> None:
            self.steps |= {step_of(path) for path in checkpoints(self.out)}

    config = finetune_config("label", ["epochs=2", "rows=1", "checkpoint_steps=3"])
    seen = Seen(tmp_path / "run")
    run(seen.out, files, start(), config, seen)
    ends = [line["step"] for line in read_log(seen.out / "log.jsonl") if "split" in line]
    first, last = ends
    assert first > 6 and first % 3
    assert seen.steps == {*range(3, first, 3), first, *range(first + 3, last, 3), last}
    other = finetune_config("label", ["epochs=2", "rows=1"]).model_copy(update={"steps": 1})  # of another run
    run(tmp_path / "usual", files, start(), other)
    written = parse(FinetuneConfig, read_toml(tmp_path / "usual" / "config.toml"), "config.toml")
    assert (written.checkpoint_steps, written.steps) == (-(-last // 10), last)
    run(tmp_path / "usual", files, start(), other)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_and_the_run_goes_on(
    number: int, files: Files, unbroken: Path, tmp_path: Path
) -> None:
    class Signalled(Silent):
        def advance(self, done: float, note: str = "") -> None:
            if done == 1:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    config = finetune_config("label", LABEL)
    with pytest.raises(Interrupted, match=r"step 2.*--resume") as caught:
        run(tmp_path / "out", files, start(), config, Signalled())
    assert caught.value.signal_number == number and signal.getsignal(number) == before
    assert step_of(checkpoints(tmp_path / "out")[-1]) == 2
    assert "Not finished: step 2." in run_report(tmp_path / "out")
    run(tmp_path / "out", files, start(), config)
    assert ended(tmp_path / "out") == ended(unbroken)


def test_a_damaged_newest_checkpoint_is_passed_over(files: Files, unbroken: Path, tmp_path: Path) -> None:
    config, out = finetune_config("label", [*LABEL, "checkpoint_steps=1"]), tmp_path / "out"
    run(tmp_path / "unbroken", files, start(), config)
    with pytest.raises(Killed):
        run(out, files, start(), config, KilledAt(5))
    for name in ("weights", "optimiser", "epochs"):
        newest, progress = checkpoints(out)[-1], Lines()
        damaged = bytearray((newest / f"{name}.safetensors").read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (newest / f"{name}.safetensors").write_bytes(damaged)
        with pytest.raises(Killed):
            kill = KilledAt(5)
            kill.line = kill.warn = progress.line  # type: ignore[method-assign]
            run(out, files, start(), config, kill)
        assert [line for line in progress.lines if "step-000005" in line and "damaged" in line]
        assert "resumed at step 4" in " ".join(progress.lines)
    run(out, files, start(), config)
    assert ended(out) == ended(tmp_path / "unbroken")
    assert ended(out)["model"] == ended(unbroken)["model"]


def test_when_all_checkpoints_are_damaged_nothing_is_lost(files: Files, tmp_path: Path) -> None:
    config, out = finetune_config("label", LABEL), tmp_path / "out"
    with pytest.raises(Killed):
        run(out, files, start(), config, KilledAt(5))
    for path in checkpoints(out):
        (path / "optimiser.safetensors").unlink()
    log = (out / "log.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="missing"):
        run(out, files, start(), config)
    assert (out / "log.jsonl").read_bytes() == log and checkpoints(out)


def test_a_finished_run_is_resumed_to_the_same_end(files: Files, unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken, tmp_path / "out")
    run(tmp_path / "out", files, start(), finetune_config("label", LABEL))
    assert ended(tmp_path / "out") == ended(unbroken)


def _other_labels(files: Files, split: str) -> None:
    write_jsonl(files[split], [{"tokens": ["ba", "ze", "ke"], "labels": ["low", "top", "high"]}])


def _other_words(begin: Start) -> Start:
    with torch.no_grad():
        next(begin.network.parameters()).add_(1.0)  # type: ignore[union-attr]
    return begin


@pytest.mark.parametrize(
    ("spoil", "begin", "message"),
    [
        (lambda files: _other_labels(files, "train"), None, r"the training file has changed: .*train\.jsonl has"),
        (lambda files: _other_labels(files, "valid"), None, r"the validation file has changed: .*valid\.jsonl has"),
        (lambda files: _other_labels(files, "test"), None, r"the test file has changed: .*test\.jsonl has"),
        (lambda files: files.pop("test"), None, "the test file has changed: it is not given"),
        (None, _other_words(pretrained()), "the model to begin with has changed: pretrained has"),
        (None, pretrained("decoder"), "the model to begin with has changed"),
        (None, start(), "the model to begin with has changed"),
        (None, pretrained()._replace(tokenizer=tokenizer("wordpiece")), "the tokenizer has changed"),
    ],
)
def test_going_on_with_other_files_or_another_model_is_refused(
    spoil: Callable[[Files], object] | None, begin: Start | None, message: str, tmp_path: Path
) -> None:
    files, out, config = task_files(tmp_path, "label"), tmp_path / "out", finetune_config("label", LABEL)
    with pytest.raises(Killed):
        run(out, files, pretrained(), config, KilledAt(2))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (spoil or dict)(files)
    with pytest.raises(ConfigError, match=message) as caught:
        run(out, files, begin or pretrained(), config)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("--resume")
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("task", "assignments", "message"),
    [
        ("label", ["seed=3"], "`seed` was 0 when the run began, now 3"),
        ("label", ["optimiser.lr=0.5"], "`optimiser.lr` was 0.02 when the run began, now 0.5"),
        ("label", ["epochs=4"], "`epochs` was 3"),
        ("label", ["checkpoint_steps=1"], "`checkpoint_steps` was 2"),
        ("classify", [], "`task` was 'label'"),
        ("label", ["mixout=0.5"], "`mixout` was 0.0"),
    ],
)
def test_going_on_with_other_settings_is_refused(
    task: str, assignments: list[str], message: str, files: Files, unbroken: Path
) -> None:
    before = ended(unbroken)
    with pytest.raises(ConfigError, match=message) as caught:
        run(unbroken, files, start(), finetune_config(task, [*LABEL, *assignments]))
    assert "\n" not in str(caught.value)
    assert ended(unbroken) == before


def test_files_and_models_by_other_names_are_the_same(files: Files, unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken, tmp_path / "out")
    moved = {split: Path(shutil.copy(path, tmp_path / f"moved-{path.name}")) for split, path in files.items()}
    run(tmp_path / "out", moved, start()._replace(name="renamed"), finetune_config("label", LABEL))
    assert ended(tmp_path / "out") == ended(unbroken)


def test_a_file_that_is_gone_is_named(files: Files, unbroken: Path, tmp_path: Path) -> None:
    gone = files | {"train": tmp_path / "gone.jsonl"}
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        run(unbroken, gone, start(), finetune_config("label", LABEL))


def test_examples_in_memory_are_told_apart_too(tmp_path: Path) -> None:
    config, valid = finetune_config("label", LABEL), label_examples(10, seed=2)
    for out in (tmp_path / "unbroken", tmp_path / "broken"):
        progress = KilledAt(4) if out.name == "broken" else Silent()
        try:
            finetune(start(), config, train=label_examples(40, seed=1), valid=valid, out=out, progress=progress)
        except Killed:
            with pytest.raises(ConfigError, match="the training file has changed: it has the SHA-256"):
                finetune(start(), config, train=label_examples(40, seed=3), valid=valid, out=out, resume=True)
            finetune(start(), config, train=label_examples(40, seed=1), valid=valid, out=out, resume=True)
    assert ended(tmp_path / "broken") == ended(tmp_path / "unbroken")


def test_in_memory_the_same_is_learned(files: Files, unbroken: Path) -> None:
    config, begin = finetune_config("label", LABEL), start()
    task = build_task("label", ())
    train, valid = (task.read(files[split], min_classes=1).examples for split in ("train", "valid"))
    task = learned_task("label", train)
    fitted = fit(begin, task, task.encode(train, begin.reading()), task.encode(valid, begin.reading()), config)
    assert equal(parameters_of(fitted.tuned.model), parameters_of(load_tuned(unbroken).model))
    results = json.loads((unbroken / "results.json").read_text())
    assert fitted.valid.metrics == results["valid"] and fitted.best.step == results["best_step"]


def test_two_processes_do_not_train_in_one_folder(files: Files, unbroken: Path) -> None:
    before = ended(unbroken)
    with alone(unbroken / "config.toml"), pytest.raises(ConfigError, match="another process is at work"):
        run(unbroken, files, start(), finetune_config("label", LABEL))
    assert ended(unbroken) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(files: Files, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"Nothing was changed"):
        run(tmp_path, files, start(), finetune_config("label"))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    (tmp_path / "config.toml").write_text('[objective]\nkind = "causal"\n')
    with pytest.raises(ConfigError, match="a pretraining run; expected one that `trivium finetune` began"):
        run(tmp_path, files, start(), finetune_config("label"))
