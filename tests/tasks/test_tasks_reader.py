"""What fine-tuning begins with and what is asked of it beside: layers drawn anew, stochastic depth, regularisers."""

import pytest
import torch
from task_support import FAMILIES, classify_examples, label_examples, start
from torch import Tensor

from support import equal, lively, parameters_of
from trivium.core.errors import ConfigError
from trivium.core.random import Key
from trivium.data.labelled import ClassifyExample, LabelExample
from trivium.model.config import DEFAULT_READOUT
from trivium.model.dropout import StochasticDepth
from trivium.model.parts import Looped
from trivium.tasks.build import learned_task
from trivium.tasks.class_answers import score_classes
from trivium.tasks.config import finetune_config
from trivium.tasks.fit import Fitted, fit
from trivium.tasks.reader import begin_reader, redraw_top
from trivium.tasks.start import Start

QUICK = ["epochs=2", "rows=4", "dropout=0.0", "precision=float32"]
KINDS = ("label_smoothing", "z_loss", "r_drop", "fgm", "smart", "neftune")


def pretrained(family: str = "encoder") -> Start:
    """A start with large weights, as if it had been pretrained."""
    begin = start(family)
    return begin._replace(network=lively(begin.config, seed=9))


def fitted(begin: Start, assignments: list[str], task: str = "label") -> Fitted:
    train: list[LabelExample] | list[ClassifyExample]
    train, valid = (
        (label_examples(30, seed=1), label_examples(10, seed=2))
        if task == "label"
        else (classify_examples(30, seed=1), classify_examples(10, seed=2))
    )
    learned = learned_task(task, train)
    encoded = (learned.encode(examples, begin.reading()) for examples in (train, valid))
    return fit(begin, learned, *encoded, finetune_config(task, [*QUICK, *assignments]))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_layers_and_the_final_norm_are_drawn_anew(family: str) -> None:
    begin = pretrained(family)
    before = parameters_of(begin.reader(0))
    config = finetune_config("label", ["reinitialise_layers=1"])
    reader = begin_reader(begin, config, DEFAULT_READOUT, Key(1))
    after = parameters_of(reader.part)
    assert equal(before, parameters_of(begin.reader(0)))
    top = {name for name in before if name.startswith(("blocks.1.", "final_norm."))}
    assert reader.redrawn == top and 5 < len(top) < len(before)
    assert equal(reader.pretrained(), {name: tensor for name, tensor in before.items() if name not in top})
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == (name not in top), name
    # Drawn as the model's own initialisation draws: the large weights are small again, norms are 1 and shifts 0.
    matrix = after["blocks.1.feed_forward.branch.up.weight"]
    assert float(matrix.std()) == pytest.approx(0.02, rel=0.1)
    assert set(after["final_norm.weight"].tolist()) == {1.0}
    other = parameters_of(begin_reader(begin, config, DEFAULT_READOUT, Key(2)).part)
    assert not torch.equal(other["blocks.1.feed_forward.branch.up.weight"], matrix)
    assert equal(parameters_of(begin_reader(begin, config, DEFAULT_READOUT, Key(1)).part), after)


def test_no_layer_is_drawn_anew_unless_asked_for() -> None:
    begin = pretrained()
    reader = begin_reader(begin, finetune_config("label"), DEFAULT_READOUT, Key(1))
    assert reader.redrawn == frozenset() and reader.config == begin.config
    assert equal(parameters_of(reader.part), parameters_of(begin.reader(0)))


def test_layers_that_are_not_there_or_not_their_own_are_refused() -> None:
    begin = pretrained()
    with pytest.raises(ConfigError, match="at most the 2 layers there are: 3"):
        begin_reader(begin, finetune_config("label", ["reinitialise_layers=3"]), DEFAULT_READOUT, Key(1))
    family = begin.config.family
    stack = family.stack.model_copy(update={"sharing": Looped(num_blocks=1)})  # type: ignore[union-attr]
    shared = begin.config.model_copy(update={"family": family.model_copy(update={"stack": stack})})
    with pytest.raises(ConfigError, match="share their weights with lower ones"):
        redraw_top(lively(shared).reader, shared, 1, DEFAULT_READOUT, Key(1))
    assert len(redraw_top(lively(shared).reader, shared, 2, DEFAULT_READOUT, Key(1))) > 5


@pytest.mark.parametrize("family", FAMILIES)
def test_stochastic_depth_is_set_for_a_pretrained_model(family: str) -> None:
    begin = pretrained(family)
    reader = begin_reader(begin, finetune_config("label", ["stochastic_depth=0.3"]), DEFAULT_READOUT, Key(1))
    shares = [
        [module.probability for module in block.modules() if isinstance(module, StochasticDepth)]
        for block in reader.part.blocks
    ]
    assert shares == [[pytest.approx(0.15)] * 2, [pytest.approx(0.3)] * 2]
    assert equal(parameters_of(reader.part), parameters_of(begin.reader(0)))
    assert all(stack.stochastic_depth == 0.3 for stack in reader.config.stacks())
    done = fitted(begin, ["stochastic_depth=0.3", "max_steps=2"])
    plain = fitted(begin, ["max_steps=2"])
    assert not equal(parameters_of(done.tuned.model), parameters_of(plain.tuned.model))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", ["label", "classify"])
def test_a_task_is_learned_with_any_regulariser(task: str, kind: str) -> None:
    # Dropout, so that R-Drop has something to compare.
    assignments = [f'regularisers=[{{kind = "{kind}"}}]', "dropout=0.1", "optimiser.lr=0.01", "max_steps=8"]
    one, again = fitted(start(), assignments, task), fitted(start(), assignments, task)
    assert equal(parameters_of(one.tuned.model), parameters_of(again.tuned.model))
    plain = fitted(start(), [text for text in assignments if "kind" not in text], task)
    assert not equal(parameters_of(one.tuned.model), parameters_of(plain.tuned.model))
    assert one.epochs[0].metrics.keys() == plain.epochs[0].metrics.keys()


def test_regularisers_are_for_training_only() -> None:
    # With a learning rate of nearly nothing only what is measured could differ.
    still = ["optimiser.lr=1e-30", "max_steps=2"]
    plain = fitted(pretrained(), still).epochs
    heavy = 'regularisers=[{kind = "label_smoothing", share = 0.9}, {kind = "neftune", alpha = 100.0}]'
    assert fitted(pretrained(), [*still, heavy]).epochs == plain


def test_r_drop_without_dropout_is_refused() -> None:
    with pytest.raises(ConfigError, match="drops nothing out"):
        fitted(start(), ['regularisers=[{kind = "r_drop"}]'])


def as_trained(found: Fitted) -> dict[str, Tensor]:
    """Return the parameters of a fit without the temperature that its head was given at the end."""
    scale = found.temperature.value if found.temperature is not None else 1.0
    every = parameters_of(found.tuned.model)
    return {name: scale * each if name.startswith("head.projection") else each for name, each in every.items()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_average_is_what_is_scored_and_kept(precision: str) -> None:
    constant = ["schedule.kind=constant", "schedule.warmup_share=0", "schedule.cooldown_share=0"]
    assignments = [*constant, "rows=1", "epochs=1", "optimiser.lr=0.01", f"precision={precision}", "max_steps=5"]
    # A run cut short is the beginning of a longer one: its weights are those of each step.
    seen: list[dict[str, Tensor]] = []
    for steps in range(1, 6):
        short = fitted(pretrained(), [*assignments, f"max_steps={steps}"])
        assert short.best.step == steps
        seen.append(as_trained(short))
    averaged = fitted(pretrained(), [*assignments, 'averaging={kind = "tail", share = 0.6}'])
    assert averaged.best.step == 5
    kept = as_trained(averaged)
    assert len(kept) > 10
    for name, tensor in kept.items():
        mean = torch.stack([weights[name].double() for weights in seen[-3:]]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-4, atol=1e-6)
    encoded = averaged.tuned.task.encode(label_examples(10, seed=2), averaged.tuned.reading)
    scores = score_classes(averaged.tuned.model, averaged.tuned.task.labels, encoded).metrics
    assert scores["loss"] == pytest.approx(averaged.valid.metrics["loss"], rel=1e-6)
    assert scores["loss"] != short.valid.metrics["loss"]


def test_mixout_pulls_a_task_towards_what_was_pretrained() -> None:
    assignments = ["optimiser.lr=0.01", "mixout=0.7"]
    mixed, again = (parameters_of(fitted(pretrained(), assignments).tuned.model) for _ in range(2))
    plain = parameters_of(fitted(pretrained(), assignments[:1]).tuned.model)
    assert equal(mixed, again) and not equal(mixed, plain)
    with pytest.raises(ConfigError, match="random weights has none"):
        fitted(start(), assignments)
