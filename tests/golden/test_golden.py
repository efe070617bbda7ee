"""Loss curves of short runs, kept as text: a change that moves them is seen, and must be meant.

To write them anew after such a change: `TRIVIUM_WRITE_GOLDEN=1 python -m pytest tests/golden`, then look at the
difference before it is committed.
"""

import os
from pathlib import Path

import pytest

from every_objective import CASES
from training import STEPS, run_config, trial
from trivium.core.files import write_text
from trivium.train.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from trivium.train.state import TrainState

HERE = Path(__file__).parent
OBJECTIVES = tuple(name for name in CASES if name not in ("masked", "causal", "spans"))  # these have their presets'
NAMES = ("encoder-tiny", "decoder-tiny", "seq2seq-tiny", "bert-tiny", "gpt2", "t5-small")
# Another processor adds in another order; after 30 steps that shows in the fourth digit at most.
TOLERANCE = 2e-3


def golden(name: str) -> list[float]:
    lines = [line.split() for line in (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()]
    assert [int(step) for step, _ in lines] == list(range(1, STEPS + 1))
    return [float(loss) for _, loss in lines]


@pytest.mark.parametrize("name", NAMES)
def test_the_curve_is_the_golden_one(name: str) -> None:
    losses = trial(run_config(name)).losses()
    if os.environ.get("TRIVIUM_WRITE_GOLDEN"):
        write_text(HERE / f"{name}.txt", "".join(f"{step} {loss:.6f}\n" for step, loss in enumerate(losses, 1)))
    assert losses == pytest.approx(golden(name), rel=TOLERANCE, abs=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_curve_of_each_objective_is_the_golden_one(name: str) -> None:
    model, objective = CASES[name]
    losses = trial(run_config(model, objective=objective, dropout=0.1 if name == "contrastive" else 0.0)).losses()
    if os.environ.get("TRIVIUM_WRITE_GOLDEN"):
        write_text(HERE / f"{name}.txt", "".join(f"{step} {loss:.6f}\n" for step, loss in enumerate(losses, 1)))
    assert losses == pytest.approx(golden(name), rel=TOLERANCE, abs=1e-5)


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_curve_is_golden_with_accumulation_too(name: str) -> None:
    whole, parts = trial(run_config(name)).losses(), trial(run_config(name, accumulation=4)).losses()
    assert parts == pytest.approx(golden(name), rel=TOLERANCE)
    assert parts == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_curve_is_golden_when_killed_and_resumed_too(name: str, tmp_path: Path) -> None:
    whole, broken = trial(run_config(name)).losses(), []
    for start, stop in ((0, 7), (7, 20), (20, STEPS)):
        attempt = trial(run_config(name))
        if start:
            load_checkpoint(checkpoint_path(tmp_path, start), attempt.network, attempt.optimiser)
        broken += attempt.losses(start, stop)
        save_checkpoint(tmp_path, attempt.network, attempt.optimiser, TrainState(step=stop))
    assert broken == whole
    assert broken == pytest.approx(golden(name), rel=TOLERANCE)
