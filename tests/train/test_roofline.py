"""What the log says of speed: operations counted, a peak that is measured once, seconds by phase; and the profile."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_support import STEPS, config_of, model_bytes, run
from torch.utils.flop_counter import FlopCounterMode

from stopping import Lines
from training import run_config, trial
from trivium.core.random import Key
from trivium.evaluate.run_words import speed_words
from trivium.model.build import build_network
from trivium.model.initialise import initialise
from trivium.model.kernels import KernelName
from trivium.train import roofline
from trivium.train.log import read_log
from trivium.train.loop import PHASES, StepReport
from trivium.train.profile import COSTS, TRACE
from trivium.train.roofline import FlopCounter, Meter, matmul_peak


def added(into: torch.Size, left: torch.Size, right: torch.Size, **kwargs: object) -> int:
    return 2 * left[0] * left[1] * right[1]


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize("name", ["decoder-tiny", "encoder-tiny", "bert-tiny", "t5-small", "gpt2"])
def test_operations_are_those_that_pytorch_counts(name: str, kernel: KernelName) -> None:
    attempt = trial(run_config(name))
    network = build_network(attempt.config.model, kernel=kernel)
    initialise(network, attempt.config.model, Key(0))

    def work() -> None:
        terms = attempt.objective.loss(network, attempt.batch(0), Key(0))
        sum((term.sum for term in terms), start=torch.zeros(())).backward()

    # A product that is added in place, the gradient of the vocabulary's table, is not in PyTorch's own registry ...
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added}) as theirs:
        work()
    with FlopCounter() as ours:
        work()
    # ... nor is the fused attention of a CPU.
    query_places = theirs.get_total_flops() if kernel == "matmul" else ours.flops
    assert ours.flops == query_places > 0
    if kernel == "sdpa":
        assert ours.flops > theirs.get_total_flops()


def test_three_products_of_the_vocabulary_are_counted() -> None:
    attempt = trial(run_config("decoder-tiny"))
    batch, network = attempt.batch(0), attempt.network
    with FlopCounter() as whole:
        (term,) = attempt.objective.loss(network, batch, Key(0))
        term.sum.backward()
    hidden_ND = torch.randn(int(batch.labels_BN.numel()), attempt.config.model.hidden_size, requires_grad=True)
    with FlopCounter() as head:
        network.head.summed_nats(hidden_ND, batch.labels_BN.flatten(), batch.weights_BN.flatten()).backward()
    vocabulary, size = network.head.projection.weight.shape
    assert head.flops == 3 * 2 * len(hidden_ND) * size * vocabulary
    assert whole.flops > head.flops


def test_fused_attention_of_a_cpu_counts_as_its_products() -> None:
    query, key, value = (torch.randn(2, 3, size, 8, requires_grad=True) for size in (5, 7, 7))
    with FlopCounter() as forward:
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert forward.flops == 2 * (2 * 2 * 3 * 5 * 7 * 8)
    with FlopCounter() as backward:
        mixed.sum().backward()
    assert backward.flops == 5 * (2 * 2 * 3 * 5 * 7 * 8)  # the scores are computed again


def test_counting_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from trivium.train.roofline import FlopCounter\n"
        "with FlopCounter() as counter:\n"
        "    weight = torch.ones(4, 3, requires_grad=True)\n"
        "    (torch.ones(2, 4) @ weight).sum().backward()\n"
        "print(counter.flops, 'torch._dynamo' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(2 * 2 * 4 * 3 * 2), "False"]


def report_of(step: int, **seconds: float) -> StepReport:
    return StepReport(step, 1.0, {}, 1.0, 1e-3, 10, dict.fromkeys(PHASES, 0.0) | seconds)


def test_the_meter_reads_means_and_counts_anew_where_steps_change() -> None:
    def reports() -> object:
        for step in range(12):
            size = 2 if step < 6 else 4
            torch.ones(size, 3) @ torch.ones(3, 5)
            yield report_of(step + 1, forward=0.5, backward=1.0)

    asked: list[float] = []

    def peak(reached: float) -> float:
        asked.append(reached)
        return 100.0

    meter = Meter(peak, anew=lambda step: step == 6)
    steps = meter.over(reports(), start=0)  # type: ignore[arg-type]
    for _ in range(6):
        next(steps)
    first = meter.read()
    assert first.flops_per_second == pytest.approx(2 * 2 * 3 * 5 / 1.5)
    assert first.peak_share == pytest.approx(0.4)
    assert first.seconds_by_phase == dict.fromkeys(PHASES, 0.0) | {"forward": 0.5, "backward": 1.0}
    assert len(list(steps)) == 6
    second = meter.read()
    assert second.flops_per_second == pytest.approx(2 * first.flops_per_second)
    assert asked == [first.flops_per_second, second.flops_per_second]
    assert second.line()["seconds_backward"] == 1.0


def test_of_a_mixture_the_mean_of_some_steps_is_taken() -> None:
    def reports() -> object:
        for step in range(8):
            torch.ones(1 + step % 2, 3) @ torch.ones(3, 5)
            yield report_of(step + 1, forward=1.0)

    meter = Meter(lambda reached: 1.0)
    assert len(list(meter.over(reports(), start=0))) == 8  # type: ignore[arg-type]
    # The counted ones are 30, 60, 30, 60; the running mean of the first ones is taken for themselves.
    assert meter.read().flops_per_second == pytest.approx((30 + 45 + 40 + 45 * 5) / 8)


def test_a_peak_is_measured_once_and_again_where_a_run_comes_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = iter([100.0, 80.0, 200.0, 7.0])
    monkeypatch.setattr(roofline, "measured_peak", lambda precision, device: next(found))
    cpu = torch.device("cpu")
    assert matmul_peak("float32", cpu) == 100.0
    assert matmul_peak("float32", cpu) == matmul_peak("float32", cpu, above=89.0) == 100.0
    assert matmul_peak("float32", cpu, above=95.0) == 100.0  # measured on a busy machine: 80
    assert matmul_peak("float32", cpu, above=95.0) == 200.0
    assert matmul_peak("bfloat16", cpu) == 7.0
    assert sorted(json.loads((tmp_path / "trivium" / "peaks.json").read_text()).values()) == [7.0, 200.0]


@pytest.mark.parametrize("text", ["", "[]", '{"a": "b"}', '{"a": null}', "\x00"])
def test_a_damaged_cache_is_measured_again(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(roofline, "measured_peak", lambda precision, device: 5.0)
    (tmp_path / "trivium").mkdir()
    (tmp_path / "trivium" / "peaks.json").write_text(text)
    assert matmul_peak("float32", torch.device("cpu")) == 5.0
    monkeypatch.setattr(roofline, "measured_peak", lambda precision, device: 6.0)
    assert matmul_peak("float32", torch.device("cpu")) == 5.0


def test_a_home_that_cannot_be_written_to_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(roofline, "measured_peak", lambda precision, device: 5.0)
    assert matmul_peak("float32", torch.device("cpu")) == 5.0


def test_a_measured_peak_is_one() -> None:
    assert 1e8 < roofline.measured_peak("float32", torch.device("cpu")) < 1e14


def test_lines_of_the_log_say_how_fast_the_steps_were(tmp_path: Path) -> None:
    lines = Lines()
    run(config_of(), tmp_path / "run", progress=lines)
    training = [line for line in read_log(tmp_path / "run" / "log.jsonl") if "split" not in line]
    assert len(training) == STEPS
    for line in training:
        phases = [line[f"seconds_{phase}"] for phase in PHASES]
        assert all(seconds >= 0.0 for seconds in phases)
        assert line["seconds_forward"] > 0.0 and line["seconds_backward"] > 0.0 and line["seconds_optimiser"] > 0.0
        flops = line["flops_per_second"] * sum(phases)
        assert flops == pytest.approx(training[0]["flops_per_second"] * total(training[0]), rel=1e-5)
    words = speed_words(training)
    assert "GFLOP/s" in words["matrix products"] and "backward" in words["a step"]
    assert speed_words([{"step": 1, "loss": 2.0}]) == {}


def total(line: dict[str, float]) -> float:
    return sum(line[f"seconds_{phase}"] for phase in PHASES)


def test_a_profile_is_written_told_of_and_changes_nothing(tmp_path: Path) -> None:
    lines = Lines()
    run(config_of(), tmp_path / "profiled", progress=lines, profile=True)
    run(config_of(), tmp_path / "plain")
    assert model_bytes(tmp_path / "profiled") == model_bytes(tmp_path / "plain")
    costs = json.loads((tmp_path / "profiled" / "profile" / COSTS).read_text())
    assert len(costs) == 10
    assert [cost["seconds_a_step"] for cost in costs] == sorted(
        (cost["seconds_a_step"] for cost in costs), reverse=True
    )
    assert 0.2 < sum(cost["share"] for cost in costs) <= 1.0
    told = [line for line in lines.lines if costs[0]["operation"][:44] in line]
    assert told and "ms" in told[0]
    with gzip.open(tmp_path / "profiled" / "profile" / TRACE) as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"aten::mm", "aten::addmm"} & names


def test_a_run_shorter_than_the_warm_up_has_no_profile(tmp_path: Path) -> None:
    config = config_of()
    short = config.model_copy(update={"train": config.train.model_copy(update={"steps": 3})})
    run(short, tmp_path / "run", profile=True)
    assert not (tmp_path / "run" / "profile").exists()
