"""The learning rate of fine-tuning: that which is said, or the usual one for the width of the model."""

from pathlib import Path

import numpy as np
import pytest
from task_support import classify_examples, tokenizer
from test_tasks_several import tasks_file

from support import tiny
from trivium.core.config import read_toml
from trivium.core.errors import ConfigError
from trivium.model.config import MuP
from trivium.tasks.build import learned_task
from trivium.tasks.config import finetune_config, with_lr
from trivium.tasks.finetune import finetune
from trivium.tasks.fit import fit
from trivium.tasks.several.config import several_config
from trivium.tasks.several.finetune import finetune_several
from trivium.tasks.start import Start, random_start
from trivium.train.log import Log, read_log
from trivium.train.optimiser_config import OPTIMISERS, OptimiserKind


def usual(width: int, *assignments: str) -> float:
    architecture = tiny("encoder").model_copy(update={"hidden_size": width})
    return with_lr(finetune_config("label", assignments), architecture).optimiser.lr


def wide() -> Start:
    """A start of 256 hidden units."""
    return random_start("encoder-mini", tokenizer(), row_length=64)


def test_it_falls_with_the_width() -> None:
    known = {8: 1e-3, 64: 1e-3, 128: 1e-3, 256: 5e-4, 768: 5e-5, 1024: 3e-5, 4096: 3e-5}
    assert {width: usual(width) for width in known} == known
    widths = np.sort(np.random.default_rng(0).integers(1, 3000, 60)).tolist()
    rates = [usual(width) for width in widths]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) > 10
    assert usual(512) == pytest.approx(5e-4 * 10 ** -(np.log(2) / np.log(3)), rel=0.03)
    grown = tiny("encoder").model_copy(update={"hidden_size": 768, "parametrisation": MuP(base_hidden_size=128)})
    assert with_lr(finetune_config("label"), grown).optimiser.lr == 1e-3


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_rate_that_is_said_stays_and_other_optimisers_keep_their_proportion(kind: OptimiserKind) -> None:
    asked = [f"optimiser.kind={kind}", "optimiser.weight_decay=0.03"]
    for width in np.random.default_rng(1).integers(32, 2000, 5).tolist():
        own = usual(32, *asked)
        assert usual(width, *asked) == pytest.approx(own * usual(width) / 1e-3, rel=0.06)
        assert usual(width, *asked, f"optimiser.lr={own}") == own
        assert usual(width, "optimiser.lr=0.001", "optimiser.weight_decay=0.03") == 1e-3


def test_a_run_writes_the_rate_it_has_learned_with_and_goes_on_with_it(tmp_path: Path) -> None:
    tasks_file(tmp_path, "classify")
    files = {split: tmp_path / "classify" / f"{split}.jsonl" for split in ("train", "valid")}
    config = finetune_config("classify", ["max_steps=2", "precision=float32", "schedule.warmup_share=0.5"])
    run = tmp_path / "run"
    finetune(wide(), config, **files, out=run)
    assert read_toml(run / "config.toml")["optimiser"]["lr"] == 5e-4
    assert max(line["lr"] for line in read_log(run / "log.jsonl") if "lr" in line) == 5e-4
    finetune(wide(), config, **files, out=run, resume=True)
    other = finetune_config("classify", ["max_steps=2", "precision=float32", "optimiser.lr=0.001"])
    with pytest.raises(ConfigError, match=r"`optimiser\.lr` was 0\.0005 when the run began, now 0\.001"):
        finetune(wide(), other, **files, out=run, resume=True)


def test_several_tasks_and_tasks_in_memory_learn_with_it_too(tmp_path: Path) -> None:
    file = tasks_file(tmp_path, "label", "classify")
    config = several_config(file, ["max_steps=1", "precision=float32", "rows=2"])
    finetune_several(wide(), config, out=tmp_path / "run")
    finetune_several(wide(), config, out=tmp_path / "run", resume=True)
    for settings in (tmp_path / "run" / "config.toml", tmp_path / "run" / "tasks" / "label" / "config.toml"):
        assert read_toml(settings)["optimiser"]["lr"] == 5e-4
    said = several_config(file, ["max_steps=1", "optimiser.lr=0.002"])
    assert with_lr(said, wide().config).optimiser.lr == 0.002
    examples, begin = classify_examples(20, seed=1), wide()
    task = learned_task("classify", examples)
    encoded = task.encode(examples, begin.reading())
    own = finetune_config("classify", ["max_steps=2", "precision=float32", "schedule.warmup_share=0.5"])
    fit(begin, task, encoded, encoded, own, log=Log(tmp_path / "log.jsonl"))
    assert max(line["lr"] for line in read_log(tmp_path / "log.jsonl") if "lr" in line) == 5e-4
