"""Learning a task: three families, the same bytes for the same seed, the same losses for any accumulation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from task_support import FAMILIES, WRITER, classify_examples, label_examples, start, task_files, tokenizer

from support import equal, parameters_of, tiny
from trivium.core.errors import ConfigError, DivergedError
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, LabelExample
from trivium.model.build import build_network
from trivium.model.initialise import initialise
from trivium.model.roles import layer_depths
from trivium.tasks.build import build_model, build_task, empty_model, learned_task
from trivium.tasks.class_answers import score_classes
from trivium.tasks.config import FinetuneConfig, finetune_config
from trivium.tasks.epochs import Epoch
from trivium.tasks.finetune import finetune, kept_epoch
from trivium.tasks.fit import Fitted, fit
from trivium.tasks.start import Start
from trivium.train.log import Log, read_log


def _fit(config: FinetuneConfig, begin: Start, *, count: int = 60, log: Log | None = None) -> Fitted:
    make = {"label": label_examples, "classify": classify_examples}[config.task]
    train: list[LabelExample] | list[ClassifyExample] = make(count, seed=1)
    valid = make(20, seed=2)
    task = learned_task(config.task, train, config.readout)
    reading = begin.reading(task.readout)
    return fit(begin, task, task.encode(train, reading), task.encode(valid, reading), config, log=log)


@pytest.mark.parametrize("task", ["label", "classify"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_network_learns_an_easy_task(family: str, task: str) -> None:
    config = finetune_config(task, ["optimiser.lr=0.01", "epochs=20", "rows=4", "precision=float32"])
    fitted = _fit(config, start(family), count=120)
    assert fitted.best.metrics["accuracy"] > 0.9
    assert fitted.best.metrics["coverage"] == 1.0
    assert len(fitted.epochs) == 20 and fitted.best in fitted.epochs
    make = {"label": label_examples, "classify": classify_examples}[task]
    fresh = fitted.tuned.task.encode(make(40, seed=3), fitted.tuned.reading)
    assert score_classes(fitted.tuned.model, fitted.tuned.task.labels, fresh).metrics["accuracy"] > 0.9


def test_the_best_epochs_weights_are_kept() -> None:
    train, valid = label_examples(40, seed=1), label_examples(12, seed=2)
    rng = np.random.default_rng(0)
    # Labels that nothing tells: the best epoch is whichever chance favours.
    valid = [e._replace(labels=tuple(rng.choice(["low", "high", "top"], len(e.labels)).tolist())) for e in valid]
    begin, task = start(), learned_task("label", train)
    encoded = task.encode(valid, begin.reading())
    config = finetune_config("label", ["epochs=8", "optimiser.lr=0.01", "precision=float32"])
    fitted = fit(begin, task, task.encode(train, begin.reading()), encoded, config)
    assert fitted.best.step < fitted.epochs[-1].step
    assert fitted.best.metrics["accuracy"] == max(epoch.metrics["accuracy"] for epoch in fitted.epochs)
    assert score_classes(fitted.tuned.model, task.labels, encoded).metrics == pytest.approx(fitted.valid.metrics)
    assert fitted.epochs[-1].metrics["loss"] != pytest.approx(fitted.best.metrics["loss"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(precision: str) -> None:
    config = finetune_config("label", ["epochs=2", f"precision={precision}"])
    first, again = _fit(config, start()), _fit(config, start())
    other = _fit(config.model_copy(update={"seed": 1}), start())
    assert equal(parameters_of(first.tuned.model), parameters_of(again.tuned.model))
    assert first.epochs == again.epochs
    assert not equal(parameters_of(first.tuned.model), parameters_of(other.tuned.model))
    assert all(parameter.dtype == torch.float32 for parameter in first.tuned.model.parameters())


@pytest.mark.parametrize("task", ["label", "classify"])
def test_accumulation_changes_nothing_but_memory(tmp_path: Path, task: str) -> None:
    losses = []
    for accumulation in (1, 4):
        log = Log(tmp_path / f"{accumulation}.jsonl")
        assignments = ["epochs=2", "rows=4", "dropout=0.0", "precision=float32", f"accumulation={accumulation}"]
        _fit(finetune_config(task, assignments), start("encoder_decoder"), log=log)
        losses.append([line["loss"] for line in read_log(log.path) if "split" not in line])
    assert len(losses[0]) == len(losses[1]) > 5
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_training_ends_after_max_steps_and_is_scored_there(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    fitted = _fit(finetune_config("label", ["epochs=5", "max_steps=3"]), start(), log=log)
    assert [epoch.step for epoch in fitted.epochs] == [3]
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3]
    assert {"loss", "tokens", "seconds", "lr", "gradient_norm", "label"} <= set(lines[0])
    assert lines[-1]["split"] == "validation" and lines[-1]["coverage"] == 1.0
    assert 0.0 < fitted.share_of_real_tokens <= 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_pretrained_weights_are_read_and_left_as_they_are(family: str) -> None:
    begin = start(family)
    network = build_network(begin.config)
    initialise(network, begin.config, Key(77))
    before = parameters_of(network)
    fitted = _fit(
        finetune_config("classify", ["max_steps=2", "optimiser.lr=1e-9", "precision=float32"]),
        begin._replace(network=network),
    )
    assert equal(before, parameters_of(network))
    read = parameters_of(fitted.tuned.model.reader)
    for name, parameter in parameters_of(network.reader).items():
        torch.testing.assert_close(read[name], parameter, atol=1e-6, rtol=0)
    assert fitted.tuned.reading.both_ways == (family != "decoder")
    assert fitted.tuned.model.head.projection.weight.shape == (3, 32)


def test_a_head_over_the_decoder_begins_with_both_pretrained_stacks_and_learns() -> None:
    begin = start("encoder_decoder")
    network = build_network(begin.config)
    initialise(network, begin.config, Key(77))
    begin = begin._replace(network=network)
    config = finetune_config("classify", ["max_steps=2", "optimiser.lr=1e-9", "precision=float32"])
    fitted = _fit(config.model_copy(update={"readout": WRITER}), begin)
    read, body = parameters_of(fitted.tuned.model.reader), parameters_of(network)
    body = {name: parameter for name, parameter in body.items() if not name.startswith("head.")}
    assert read.keys() == body.keys() and {name.split(".")[0] for name in read} == {"encoder", "decoder"}
    for name, parameter in body.items():
        torch.testing.assert_close(read[name], parameter, atol=1e-6, rtol=0)
    # The rest of the training is that of every family.
    config = finetune_config("classify", ["optimiser.lr=0.01", "epochs=20", "rows=4", "precision=float32"])
    fitted = _fit(config.model_copy(update={"readout": WRITER}), start("encoder_decoder"), count=120)
    assert fitted.best.metrics["accuracy"] > 0.9 and fitted.best.metrics["coverage"] == 1.0


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_a_head_over_a_decoder_needs_an_encoder_decoder(family: str) -> None:
    begin, task = start(family), build_task("classify", ("a", "b"), WRITER)
    calls = (
        lambda: begin.reading(WRITER),
        lambda: begin.reader(0, WRITER),
        lambda: empty_model(task, begin.config),
    )
    for call in calls:
        with pytest.raises(ConfigError, match=r"`readout\.stack` writer needs an encoder_decoder") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_losses_that_are_not_finite_stop_training() -> None:
    settings = ["optimiser.lr=1e30", "epochs=3"]
    with pytest.raises(DivergedError, match="must be finite"):
        _fit(finetune_config("label", [*settings, "max_skipped=0"]), start())
    with pytest.raises(DivergedError, match="the held-out loss is nan"):
        _fit(finetune_config("label", settings), start())


def test_random_weights_follow_the_seed() -> None:
    begin = start()
    assert begin.config.vocabulary_size == tokenizer().vocabulary_size
    one, same, other = (parameters_of(begin.reader(seed)) for seed in (1, 1, 2))
    assert equal(one, same) and not equal(one, other)
    assert tiny("encoder").vocabulary_size != begin.config.vocabulary_size


def test_layers_join_in_epoch_by_epoch_and_lower_ones_move_less() -> None:
    def moved(*assignments: str) -> dict[int, float]:
        """How far each depth is from where it began, as a share of the root mean square of AdamW's first update."""
        begin = start()._replace(network=None)
        config = finetune_config("label", ["precision=float32", "dropout=0.0", "rows=4", *assignments])
        fitted = _fit(config, begin)
        before = build_model(
            fitted.tuned.task, begin.config, begin.reader(0), dropout=0.0, key=Key(0).child("finetune")
        )
        old, new = parameters_of(before), parameters_of(fitted.tuned.model)
        far: dict[int, float] = {}
        for name, depth in layer_depths(before).items():
            # What the temperature has divided, as training left it.
            scale = fitted.temperature.value if fitted.temperature and name.startswith("head.projection") else 1.0
            far[depth] = max(far.get(depth, 0.0), float((scale * new[name] - old[name]).abs().max()))
        return far

    for epochs in (1, 2, 3):
        far = moved(f"epochs={epochs}", "unfreezing.kind=epochs", "optimiser.lr=0.02")
        assert {depth for depth, distance in far.items() if distance > 0} <= set(range(epochs))
    assert moved("epochs=3", "unfreezing.kind=epochs", "optimiser.lr=0.02")[3] == 0.0
    far = moved("max_steps=1", "layer_decay=0.5", "optimiser.weight_decay=0.0")
    # The first update of AdamW is the learning rate.
    assert [far[0] / far[depth] for depth in (1, 2, 3)] == pytest.approx([2.0, 4.0, 8.0], rel=1e-3)


@pytest.mark.parametrize("metric", ["macro_f1", "matthews"])
def test_a_classifiers_best_epoch_may_be_that_of_another_metric(tmp_path: Path, metric: str) -> None:
    files = task_files(tmp_path, "classify")
    config = finetune_config("classify", ["epochs=3", f"settings.chosen_by={metric}", "precision=float32"])
    results = finetune(
        start(), config, train=files["train"], valid=files["valid"], test=files["test"], out=tmp_path / "r"
    )
    assert results["chosen_by"] == metric and list(results["intervals"]) == [metric]
    low, high = results["intervals"][metric]
    assert low <= results["test"][metric] <= high
    log = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    epochs = {line["step"]: line for line in log if line.get("split") == "validation"}
    best = max(epochs.values(), key=lambda line: (line[metric], -line["loss"]))
    assert results["best_step"] == best["step"]


def test_which_epoch_is_kept_is_said_and_why_there_are_no_more() -> None:
    epochs = [Epoch(10 * n, {"macro_f1": value, "loss": 1.0}) for n, value in enumerate((0.5, 0.7, 0.6, 0.65), start=1)]
    config = finetune_config("classify", ["epochs=9", "patience=2"])
    assert kept_epoch(epochs, epochs[1], "macro_f1", config) == (
        "kept: epoch 2 of 4, macro f1 0.7000 on validation; 2 more were no better, so that 5 were not trained"
    )
    for asked in (["epochs=4", "patience=2"], ["epochs=9"], ["epochs=9", "patience=3"]):  # the whole; `max_steps`
        said = kept_epoch(epochs, epochs[1], "macro_f1", finetune_config("classify", asked))
        assert said == "kept: epoch 2 of 4, macro f1 0.7000 on validation"
