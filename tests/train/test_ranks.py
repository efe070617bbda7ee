"""One run on several processes: the same batches, the same losses, checkpoints that any number of them can read."""

import math
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_support import on_ranks, parts_of
from run_support import MadeUpData, config_of, log_of, run

from every_objective import CASES
from stopping import Lines
from support import with_dropout
from trivium.core.errors import ConfigError
from trivium.core.progress import Silent
from trivium.objectives.build import CausalConfig, MaskedConfig, MixedConfig
from trivium.objectives.regularisers.config import NeftuneConfig
from trivium.train.checkpoint import checkpoints
from trivium.train.config import RunConfig, TrainConfig
from trivium.train.distributed import Ranks
from trivium.train.run import pretrain

ROWS = 24
NAMES = ("decoder-tiny", "encoder-tiny", "seq2seq-tiny")


def rows_of(name: str, **train: object) -> RunConfig:
    return config_of(name, **{"rows": ROWS, "steps": 6, "validate_steps": 3, "validate_rows": 12, **train})


def fits(count: int, accumulation: int) -> bool:
    return ROWS % (count * accumulation) == 0


def make(ranks: Ranks, folder: str, kinds: tuple[tuple[str, int], ...]) -> None:
    for name, (parallel, accumulation) in product(NAMES, kinds):
        config = rows_of(name, accumulation=accumulation, parallel=parallel)
        if fits(ranks.count, accumulation):
            results = pretrain(config, MadeUpData(), Path(folder, parallel, name, str(accumulation)), **shown(ranks))
            assert results["task"] == config.objective.kind


def shown(ranks: Ranks) -> dict[str, Any]:
    return {"progress": Silent(), "ranks": ranks}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    make(Ranks(), str(folder), (("ddp", 1),))
    return folder / "ddp"


def same_log(out: Path, other: Path) -> int:
    """Assert that two runs' logs are the same to 1e-5 but for seconds; return how many lines there are."""
    ours, theirs = log_of(out), log_of(other)
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        expected = {
            key: value if isinstance(value, str) else pytest.approx(value, abs=1e-5, rel=1e-5)
            for key, value in two.items()
        }
        assert one == expected
    return len(ours)


BRIEF = (("ddp", 1), ("fsdp", 4))
ALL = tuple(product(("ddp", "fsdp"), (1, 2, 8)))


@pytest.mark.parametrize(("count", "kinds"), [(2, BRIEF), pytest.param(3, ALL, marks=pytest.mark.slow)])
def test_ranks_and_accumulation_change_no_loss(
    count: int, kinds: tuple[tuple[str, int], ...], alone: Path, tmp_path: Path
) -> None:
    on_ranks(count, make, str(tmp_path), kinds)
    compared = 0
    for name, (parallel, accumulation) in product(NAMES, kinds):
        if fits(count, accumulation):
            out = tmp_path / parallel / name / str(accumulation)
            assert same_log(out, alone / name / "1") == 8
            sizes = {(run / "model" / "weights.safetensors").stat().st_size for run in (out, alone / name / "1")}
            assert len(sizes) == 1
            compared += 1
    assert compared >= 2 * len(NAMES)


def elastic(ranks: Ranks, out: str, parallel: str, steps: int) -> None:
    """Go on with a run to step `steps` of 6, or to its end."""
    resume = (Path(out) / "config.toml").is_file()
    ranks.wait()
    config = rows_of("decoder-tiny", parallel=parallel, checkpoint_steps=1)
    with suppress(_Stopped):
        pretrain(config, MadeUpData(), Path(out), progress=_Stop(steps), resume=resume, ranks=ranks)


class _Stopped(Exception):
    pass


class _Stop(Silent):
    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, done: float, note: str = "") -> None:
        if done == self.step < 6:
            raise _Stopped


@pytest.mark.parametrize("more", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_goes_on_with_any_number_of_ranks_whole_or_in_parts(more: int, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    on_ranks(2, elastic, str(out), "fsdp", 3)
    assert parts_of(checkpoints(out)[-1]) == [
        "checksums.json",
        *(f"optimiser/shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)),
        "state.json",
        *(f"weights/shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)),
    ]
    elastic(Ranks(), str(out), "ddp", 4)
    assert "weights.safetensors" in parts_of(checkpoints(out)[-1])
    on_ranks(more, elastic, str(out), "fsdp", 5)
    on_ranks(2, elastic, str(out), "ddp", 6)
    assert same_log(out, alone / "decoder-tiny" / "1") == 8


def test_how_a_step_is_computed_is_as_it_was_unless_asked_for_anew(tmp_path: Path) -> None:
    config = rows_of("decoder-tiny", accumulation=4, recompute=True)
    with pytest.raises(_Stopped):
        run(config, tmp_path / "out", progress=_Stop(3))
    fields = config.train.model_fields_set - {"accumulation", "recompute"}
    unsaid = TrainConfig.model_validate(config.train.model_dump(include=fields))
    told = Lines()
    run(config.model_copy(update={"train": unsaid}), tmp_path / "out", resume=True, progress=told)
    assert not any("goes on with" in line for line in told.lines)
    anew = unsaid.model_copy(update={"accumulation": 2})
    run(config.model_copy(update={"train": anew}), tmp_path / "out", resume=True, progress=told)
    assert any(line == "goes on with train.accumulation 2; it was 4" for line in told.lines)
    with pytest.raises(ConfigError, match=r"`train\.rows` was 24 when the run began, now 12"):
        changed = unsaid.model_copy(update={"rows": 12})
        run(config.model_copy(update={"train": changed}), tmp_path / "out", resume=True)


def many_kinds(ranks: Ranks, folder: str) -> None:
    for name, config in kinds().items():
        pretrain(config, MadeUpData(), Path(folder) / name, **shown(ranks))


def kinds() -> dict[str, RunConfig]:
    """Return runs that are shared among ranks in ways of their own."""
    plain = rows_of("decoder-tiny")
    parts = (
        {"objective": MaskedConfig(predicted_from="before"), "share": 1.0},
        {"objective": CausalConfig(), "share": 0.04},  # most ranks have no row of it in most steps
    )
    mixed = MixedConfig.model_validate({"parts": parts})
    train = plain.train.model_copy(update={"recompute": True, "accumulation": 2})
    return {
        "mixed": plain.model_copy(update={"objective": mixed}),
        "recomputed": plain.model_copy(update={"train": train}),
        "neftune": plain.model_copy(update={"regularisers": (NeftuneConfig(),)}),
    }


def test_mixtures_recomputed_blocks_and_noise_are_the_same_on_two_ranks(tmp_path: Path) -> None:
    many_kinds(Ranks(), str(tmp_path / "alone"))
    on_ranks(2, many_kinds, str(tmp_path / "two"))
    for name in kinds():
        assert same_log(tmp_path / "two" / name, tmp_path / "alone" / name) == 8


def test_recomputing_blocks_changes_no_bit(tmp_path: Path) -> None:
    for recompute in (False, True):
        run(config_of("bert-tiny", recompute=recompute), tmp_path / str(recompute))
    names = [tmp_path / str(recompute) / "model" / "weights.safetensors" for recompute in (False, True)]
    assert names[0].read_bytes() == names[1].read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": rows_of("decoder-tiny", rows=20, accumulation=2).train}, "multiple of 6.*found 20"),
        ({"train": rows_of("decoder-tiny", parallel="fsdp").train, "averaging": {"kind": "ema"}}, "`averaging` needs"),
        ({"train": rows_of("decoder-tiny", parallel="fsdp").train, "mixout": 0.5}, "`mixout` needs"),
        ({"train": rows_of("decoder-tiny", parallel="fsdp").train, "optimiser": {"kind": "muon"}}, "`optimiser.kind`"),
        (
            {"train": rows_of("decoder-tiny", parallel="fsdp").train, "regularisers": [{"kind": "fgm"}]},
            "`regularisers`",
        ),
        (
            {
                "train": rows_of("decoder-tiny", parallel="fsdp").train,
                "objective": {"kind": "mixed", "parts": [{"objective": {"kind": k}} for k in ("masked", "causal")]},
            },
            "`objective.kind` mixed are not all of one part",
        ),
    ],
)
def test_what_ranks_cannot_share_is_refused(change: dict[str, object], message: str) -> None:
    from trivium.train.material import make_material, require_ranks

    config = rows_of("decoder-tiny")
    tree = config.model_dump() | {
        key: value.model_dump() if isinstance(value, type(config.train)) else value for key, value in change.items()
    }
    changed = RunConfig.model_validate(tree)
    material = make_material(changed.model_copy(update={"mixout": 0.0}), MadeUpData(), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        require_ranks(changed, material, Ranks(0, 3))


def test_gradients_are_added_up_where_some_ranks_have_none(tmp_path: Path) -> None:
    on_ranks(2, add_up, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}


def add_up(ranks: Ranks, folder: str) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in (3, 5, 2)]
    parameters[0].grad = torch.full((3,), 1.0 + ranks.rank)
    if ranks.rank == 1:
        parameters[1].grad = torch.full((5,), math.pi)
    ranks.add_up(parameters)
    found = [None if parameter.grad is None else parameter.grad.tolist() for parameter in parameters]
    assert found == [[3.0] * 3, pytest.approx([math.pi] * 5), None]
    assert ranks.gathered([ranks.rank, 7.0]) == [[0.0, 7.0], [1.0, 7.0]]
    assert ranks.told(lambda: f"from {ranks.rank}") == "from 0"
    (Path(folder) / str(ranks.rank)).touch()


# Made-up text has no counts of tokens; what compares two readings needs dropout, which each rank draws for itself.
COMPARED = {name: case for name, case in CASES.items() if name not in ("masked-rare", "contrastive")}


def every(ranks: Ranks, folder: str, parallel: str) -> None:
    for name, (architecture, objective) in COMPARED.items():
        config = rows_of(architecture, parallel=parallel, recompute=parallel == "fsdp")
        # Each rank draws a dropout of its own.
        model = with_dropout(config.model, 0.0)
        config = config.model_copy(update={"objective": objective, "model": model})
        pretrain(config, MadeUpData(), Path(folder) / name, **shown(ranks))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_every_objective_is_the_same_on_two_ranks(parallel: str, tmp_path: Path) -> None:
    every(Ranks(), str(tmp_path / "alone"), "ddp")
    on_ranks(2, every, str(tmp_path / "two"), parallel)
    assert len(COMPARED) >= 20
    for name in COMPARED:
        assert same_log(tmp_path / "two" / name, tmp_path / "alone" / name) == 8, name
