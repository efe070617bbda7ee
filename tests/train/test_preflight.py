"""Pre-flight says what a run will be, in time, and leaves no trace of itself."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch
from preflight_support import ROOMY, changed, looked, prepared, run_of, texts
from run_support import model_bytes

from stopping import Lines
from trivium.core.errors import ConfigError
from trivium.core.progress import Silent
from trivium.core.random import Key
from trivium.data.shards import PreparedData
from trivium.model.build import build_network
from trivium.model.config import with_vocabulary
from trivium.model.folder import SavedModel
from trivium.model.initialise import initialise
from trivium.model.presets import preset
from trivium.objectives.build import MixedConfig, PartConfig, Ul2Config, usual_objective
from trivium.objectives.causal import CausalConfig
from trivium.objectives.masked import MaskedConfig
from trivium.train.config import RunConfig
from trivium.train.findings import config_error, data_error, first_error
from trivium.train.optimisers import build_optimiser, optimiser_tensors
from trivium.train.preflight.footprint import disk_bytes, in_bytes, sizes_of, sketch
from trivium.train.preflight.label_checks import labelled_parts
from trivium.train.preflight.look import duration, preflight, report_lines
from trivium.train.preflight.plan_checks import amount_of, plan_lines, times
from trivium.train.preflight.readable import shown_examples
from trivium.train.preflight.rehearsal import LEAST_OVERFIT_STEPS, OVERFIT_STEPS
from trivium.train.run import pretrain
from trivium.train.settle import ready


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepared(tmp_path_factory.mktemp("preflight") / "data", texts(150), texts(15, seed=1))


def test_it_says_what_the_run_will_be(data: PreparedData, tmp_path: Path) -> None:
    found = looked(run_of("decoder-tiny"), data, tmp_path / "out")
    lines = list(report_lines(found))
    starts = [line.split()[0] for line in lines]
    assert starts[0] == "pre-flight"
    assert starts[1:] == [
        *("reads", "schedule", "example", "example", "example", "time", "memory", "disk", "first", "by"),
    ]
    assert "1,500 steps of 8 rows x 32 tokens = 256 tokens a step; 384,000 tokens" in lines[1]
    assert found.run_seconds is not None and found.peak is not None and found.rehearsal.overfit is not None
    assert found.rehearsal.overfit.rows == 8
    assert LEAST_OVERFIT_STEPS <= len(found.rehearsal.overfit.losses) <= OVERFIT_STEPS
    assert found.rehearsal.overfit.last < 0.8 * (found.rehearsal.first_loss or 0.0)
    assert found.rehearsal.first_loss == pytest.approx(np.log(data.tokenizer.vocabulary_size), abs=0.3)
    assert found.run_seconds > 1500 * (found.rehearsal.step_seconds or 0.0)
    assert not (tmp_path / "out").exists()


def test_the_runs_bits_do_not_depend_on_it(data: PreparedData, tmp_path: Path) -> None:
    config = changed(run_of("bert-base", steps=6), "model")
    looked_at = changed(config, "train", validate_steps=3)
    pretrain(looked_at, data, tmp_path / "without", progress=Silent())
    torch.manual_seed(7)
    before = torch.get_rng_state()
    lines = Lines()
    pretrain(looked_at, data, tmp_path / "with", progress=lines, preflight_seconds=5.0)
    assert lines.lines[0].startswith("pre-flight")
    assert model_bytes(tmp_path / "without") == model_bytes(tmp_path / "with")
    config, material = ready(looked_at, data, tmp_path / "more", progress=Silent())
    torch.set_rng_state(before)
    numpy_before = np.random.get_state()[1].copy()
    preflight(config, data, material, tmp_path, seconds=5.0, machine=ROOMY)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_a_short_run_is_only_glanced_at(data: PreparedData, tmp_path: Path) -> None:
    begun = perf_counter()
    found = looked(run_of("decoder-tiny", steps=10), data, tmp_path / "out", seconds=10.0)
    assert perf_counter() - begun < 10.0
    assert found.rehearsal.overfit is None and found.findings == ()
    assert "too little to be tried out first" in found.rehearsal.not_tried
    assert any(line.startswith("not tried") for line in found.lines)
    assert sum(line.startswith("example") for line in found.lines) == 3


def test_a_network_of_any_size_is_looked_at_in_time(data: PreparedData, tmp_path: Path) -> None:
    large = RunConfig(model=preset("gpt2"), objective=CausalConfig()).model_copy(update={"train": run_of("gpt2").train})
    begun = perf_counter()
    found = looked(large, data, tmp_path / "out", seconds=2.0)
    assert perf_counter() - begun < 20.0
    assert "are too many to be drawn and tried in" in found.rehearsal.not_tried
    assert found.run_seconds is None
    assert not found.errors


def test_what_does_not_fit_the_memory_is_not_tried(data: PreparedData, tmp_path: Path) -> None:
    found = looked(run_of("decoder-tiny"), data, tmp_path / "out", machine=ROOMY._replace(memory=100_000))
    assert "do not fit the memory" in found.rehearsal.not_tried
    assert [finding.check for finding in found.errors] == ["memory"]
    assert "raise train.accumulation" in found.errors[0].text


def test_an_error_stops_the_run_before_anything_is_written(data: PreparedData, tmp_path: Path) -> None:
    config = changed(run_of("decoder-tiny"), "model", initialisation={"kind": "normal", "std": 1e30})
    with pytest.raises(ConfigError, match=r"the first loss is|no parameter has a gradient"):
        pretrain(config, data, tmp_path / "run", progress=Silent(), preflight_seconds=5.0)
    assert not (tmp_path / "run").exists()


def test_findings() -> None:
    assert first_error([]) is None
    errors = [data_error("a", "one."), config_error("b", "two.")]
    assert str(first_error(errors)) == "one."
    assert [error.level for error in errors] == ["error", "error"]


def test_amounts(data: PreparedData, tmp_path: Path) -> None:
    config = changed(run_of("decoder-tiny", steps=100, accumulation=2), "data", row_length=32)
    staged = changed(config, "train", stages=({"until": 0.5, "rows": 4, "row_length": 16},))
    config, material = ready(config, data, tmp_path / "a", progress=Silent())
    staged, staged_material = ready(staged, data, tmp_path / "b", progress=Silent())
    whole, less = amount_of(config, material), amount_of(staged, staged_material)
    assert (whole.steps, whole.tokens) == (100, 100 * 8 * 32)
    assert whole.epochs == pytest.approx(whole.tokens / data.split("train").num_tokens, rel=0.01)
    assert less.tokens == 50 * 8 * 32 + 50 * 4 * 16
    assert "2 micro-batches of 4" in plan_lines(config, material)[0]
    assert "in the last of 2 stages" in plan_lines(staged, staged_material)[0]
    assert [times(epochs) for epochs in (0.004, 0.5, 3.21, 1234.0)] == [
        *("in part, 0.4 % of it", "in part, 50 % of it", "3.2 times", "1,234 times"),
    ]
    assert [duration(seconds) for seconds in (0.5, 100.0, 1000.0, 10000.0, 1e6)] == [
        *("0.5 s", "100 s", "16.7 minutes", "2.8 hours", "11.6 days"),
    ]
    assert [in_bytes(size) for size in (1500, 2.5e6, 999.9e6, 3e12)] == ["1.5 kB", "2.5 MB", "1,000 MB", "3 TB"]


@pytest.mark.parametrize("kind", ["adamw", "lion", "muon", "lamb", "adafactor"])
def test_bytes_follow_from_the_shapes(kind: str, data: PreparedData, tmp_path: Path) -> None:
    tree = run_of("decoder-tiny").model_dump()
    tree["optimiser"] = {"kind": kind, "lr": 1e-3}
    config, material = ready(RunConfig.model_validate(tree), data, tmp_path / "out", progress=Silent())
    sizes = sizes_of(config, sketch(config, material))
    network = material.objective.network(config.model)
    optimiser = build_optimiser(config.optimiser, network)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    state = sum(4 * tensor.numel() for tensor in optimiser_tensors(optimiser, network).values())
    assert sizes.weights == sum(4 * parameter.numel() for parameter in network.parameters())
    assert state - 1000 <= sizes.state <= 2.1 * state
    assert disk_bytes(config, sizes) == 4 * (sizes.weights + sizes.state) + 2 * sizes.weights


def test_examples_are_readable(data: PreparedData, tmp_path: Path) -> None:
    def shown(config: RunConfig) -> list[str]:
        config, material = ready(config, data, tmp_path / "out", progress=Silent())
        rows = material.parts[0].reader.rows(0, 8)
        batch = material.objective.make(rows, Key(0), 0.0)
        return shown_examples(labelled_parts(config.objective, rows, batch), data.tokenizer.token_texts)

    masked = shown(run_of("encoder-tiny"))
    assert len(masked) == 3 and all("[[MASK]→" in line for line in masked)
    causal = shown(run_of("decoder-tiny"))
    assert causal[0].startswith("[BOS]→")
    pairs = [pair.split("→") for pair in causal[0].split(" ")]
    assert len(pairs) == 12 and all(left[1] == right[0] for left, right in pairwise(pairs))
    spans = shown(run_of("seq2seq-tiny"))
    assert all(line.startswith("reads ") and " | writes [BOS]→<extra_id_0>" in line for line in spans)
    assert all("<extra_id_0>" in line.split(" | writes ")[0] for line in spans)
    mixed = shown(
        run_of(
            "decoder-tiny",
            objective=MixedConfig(parts=(PartConfig(objective=MaskedConfig()), PartConfig(objective=CausalConfig()))),
        )
    )
    assert {line.split(":")[0] for line in mixed} == {"masked", "causal"}
    assert len(shown(run_of("seq2seq-tiny", objective=Ul2Config()))) >= 3


def test_an_example_of_nothing_is_said_to_be_empty(data: PreparedData, tmp_path: Path) -> None:
    config, material = ready(run_of("decoder-tiny"), data, tmp_path / "out", progress=Silent())
    rows = material.parts[0].reader.rows(0, 2)
    part = labelled_parts(config.objective, rows, material.objective.make(rows, Key(0), 0.0))[0]
    unused = replace(part.batch.layout, document_BL=torch.full_like(part.batch.layout.document_BL, -1))
    empty = part._replace(batch=replace(part.batch, layout=unused, weights_BN=torch.zeros_like(part.batch.weights_BN)))
    assert shown_examples([empty], data.tokenizer.token_texts) == ["(an empty row)"] * 2


@pytest.mark.parametrize("accumulation", [1, 4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_a_mixture_of_which_a_few_rows_show_but_one_part_is_no_reason_to_warn(
    seed: int, accumulation: int, data: PreparedData, tmp_path: Path
) -> None:
    usual = usual_objective(run_of("seq2seq-tiny").model)
    config = changed(run_of("seq2seq-tiny", seed=seed, objective=usual), "train", accumulation=accumulation)
    found = looked(config, data, tmp_path / "out")
    assert found.rehearsal.first_loss == pytest.approx(np.log(data.tokenizer.vocabulary_size), abs=0.5)
    assert found.findings == ()


def test_an_encoder_decoder_that_begins_with_one_stack_need_not_have_learned_to_write(
    data: PreparedData, tmp_path: Path
) -> None:
    """A network of the same kind whose first loss is no better than chance has learned something else."""

    def warned(family: str) -> bool:
        size = data.tokenizer.vocabulary_size
        earlier = with_vocabulary(run_of(family).model, size)
        network = build_network(earlier)
        initialise(network, earlier, Key(5))
        saved = SavedModel(earlier, network, data.tokenizer.to_bytes())
        config = run_of("seq2seq-tiny")
        config = config.model_copy(update={"start_from": "runs/before", "model": with_vocabulary(config.model, size)})
        settled, material = ready(config, data, tmp_path / "out", progress=Silent(), start=lambda: saved)
        found = preflight(settled, data, material, tmp_path, seconds=2.0, machine=ROOMY)
        assert found.rehearsal.first_loss is not None
        return any("no better than chance" in finding.text for finding in found.findings)

    assert warned("seq2seq-tiny") and not warned("encoder-tiny")
