"""Mistakes that users' runs die of, one by one: each is caught before step 0 or while the run is under way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from preflight_support import (
    LR,
    ROOMY,
    STEPS,
    Frozen,
    FrozenBlock,
    World,
    all_alike,
    changed,
    on_padding,
    prepared,
    run_of,
    sees_ahead,
    shifted,
    shuffled,
    spoilt,
    texts,
    too_many,
    unshifted,
)
from run_support import MadeUpData, MadeUpTokenizer

from support import SPECIAL
from trivium.core.batch import Batch
from trivium.core.errors import CheckpointError, ConfigError, DataError, UserError
from trivium.core.progress import Silent
from trivium.data.normal import normal_losses
from trivium.data.shards import PreparedData
from trivium.data.tokenizer import Tokenizer
from trivium.objectives.causal import CausalConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.spans import SpansConfig
from trivium.train.config import RunConfig, load_recipe
from trivium.train.distributed import ALONE
from trivium.train.log import Log, read_log
from trivium.train.material import Material
from trivium.train.pace_config import UnfreezeBySteps
from trivium.train.preflight.look import Preflight, preflight
from trivium.train.run import _Run, _train, pretrain
from trivium.train.settle import ready


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("mistakes")
    return prepared(folder / "data", texts(150), texts(15, seed=1))


@pytest.fixture
def world(shared: PreparedData, tmp_path: Path) -> World:
    return World(shared, tmp_path)


DECODER, ENCODER = "decoder-tiny", "encoder-tiny"


def wrong(world: World, mistake: Callable[[Batch], Batch], name: str = DECODER) -> Preflight:
    return world.look(run_of(name), change=lambda material: spoilt(material, mistake), seconds=1.0)


def frozen(world: World, kind: type[Frozen]) -> Preflight:
    return world.look(
        run_of(DECODER),
        change=lambda made: made._replace(objective=kind(made.objective, lambda batch: batch)),
    )


def drawn_from(std: float) -> RunConfig:
    return changed(run_of(DECODER), "model", initialisation={"kind": "normal", "std": std})


def small_vocabulary(world: World) -> Preflight:
    config, material = ready(run_of(DECODER), world.data, world.folder / "out", progress=Silent())
    fewer = config.model_copy(update={"model": config.model.model_copy(update={"vocabulary_size": 300})})
    return preflight(fewer, world.data, material, world.folder, machine=ROOMY)


def random_start(world: World) -> Preflight:
    config = run_of(DECODER).model_copy(update={"start_from": "runs/before"})
    start = lambda: world.saved(config)  # noqa: E731
    config = config.model_copy(update={"model": start().config})
    config, material = ready(config, world.data, world.folder / "out", progress=Silent(), start=start)
    return preflight(config, world.data, material, world.folder, machine=ROOMY, seconds=1.0)


def chinese_by(world: World, kind: str) -> PreparedData:
    english = Tokenizer.train(texts(150), kind, 500)  # type: ignore[arg-type]
    return world.prepare("zh", texts(40, chinese=True), texts(5, seed=1, chinese=True), tokenizer=english)


def leaking(world: World) -> PreparedData:
    documents = texts(150)
    return world.prepare("leak", documents, documents[10:20])


# By the mistake: the check that names it, whether the run is refused, and the mistake.
FOUND: dict[str, tuple[str, str, Callable[[World], Preflight]]] = {
    "learning rate x 100": ("lr", "warning", lambda w: w.look(run_of(DECODER, lr=100 * LR), seconds=1.0)),
    "learning rate x 100, by its number": (
        "lr",
        "warning",
        lambda w: w.look(run_of(ENCODER, lr=300 * LR), seconds=1.0),
    ),
    "learning rate / 1000": ("overfit", "warning", lambda w: w.look(run_of(ENCODER, lr=LR / 1000))),
    "learning rate / 1000, by its number": (
        "lr",
        "warning",
        lambda w: w.look(run_of(DECODER, lr=LR / 1000), seconds=1.0),
    ),
    "labels shifted by one": ("alignment", "error", lambda w: wrong(w, shifted)),
    "masked labels shifted by one": ("alignment", "error", lambda w: wrong(w, shifted, ENCODER)),
    "spans' labels shifted by one": ("alignment", "error", lambda w: wrong(w, shifted, "seq2seq-tiny")),
    "labels not shifted at all": ("alignment", "error", lambda w: wrong(w, unshifted)),
    "labels shuffled": ("alignment", "error", lambda w: wrong(w, shuffled)),
    "masked labels shuffled": ("alignment", "error", lambda w: wrong(w, shuffled, ENCODER)),
    "all labels the same": ("labels", "error", lambda w: wrong(w, all_alike)),
    "labels beyond the vocabulary": ("labels", "error", lambda w: wrong(w, too_many)),
    "labels on padding": ("padding", "error", lambda w: wrong(w, on_padding)),
    "the answer is seen": ("future", "error", lambda w: wrong(w, sees_ahead)),
    "nothing is hidden": (
        "readable",
        "warning",
        lambda w: w.look(run_of(ENCODER, objective=MaskedConfig(mask_share=0.0, random_share=0.0)), seconds=1.0),
    ),
    "nearly all is hidden": (
        "mask_rate",
        "warning",
        lambda w: w.look(run_of(ENCODER, objective=MaskedConfig(rate=0.95)), seconds=1.0),
    ),
    "vocabulary too small for the text": ("vocabulary", "error", small_vocabulary),
    "weights x 1000": (
        "first_loss",
        "warning",
        lambda w: w.look(drawn_from(20.0)),
    ),
    "weights x 1000, by their number": (
        "initialisation",
        "warning",
        lambda w: w.look(drawn_from(20.0), seconds=1.0),
    ),
    "numbers that overflow": (
        "gradient",
        "error",
        lambda w: w.look(drawn_from(1e30)),
    ),
    "all weights frozen": ("gradient", "error", lambda w: frozen(w, Frozen)),
    "a layer frozen": ("gradient", "warning", lambda w: frozen(w, FrozenBlock)),
    "layers that join in after the end": (
        "unfreezing",
        "error",
        lambda w: w.look(run_of(DECODER, unfreezing=UnfreezeBySteps(every=STEPS).model_dump()), seconds=1.0),
    ),
    "lower layers that hardly learn": (
        "layer_decay",
        "warning",
        lambda w: w.look(run_of(DECODER, layer_decay=0.01), seconds=1.0),
    ),
    "warm-up as long as the run": (
        "warmup",
        "warning",
        lambda w: w.look(changed(run_of(DECODER), "schedule", warmup_share=1.0), seconds=1.0),
    ),
    "decay too big": (
        "weight_decay",
        "warning",
        lambda w: w.look(changed(run_of(DECODER), "optimiser", weight_decay=100.0), seconds=1.0),
    ),
    "gradients cut to nothing": (
        "clip",
        "warning",
        lambda w: w.look(run_of(DECODER, max_gradient_norm=1e-6), seconds=1.0),
    ),
    "validation text that is trained on": (
        "leak",
        "warning",
        lambda w: w.look(run_of(DECODER), leaking(w), seconds=1.0),
    ),
    "empty documents": (
        "empty",
        "warning",
        lambda w: w.look(run_of(DECODER), w.prepare("e", [*texts(80), *[""] * 80], texts(9, seed=1)), seconds=1.0),
    ),
    "text of one kind of token": (
        "tokens",
        "error",
        lambda w: w.look(
            run_of(DECODER),
            w.prepare("one", ["aaaa" * 40] * 50, ["aaaa" * 50], tokenizer=Tokenizer.train(["aaaa"], "bpe", 363)),
            seconds=1.0,
        ),
    ),
    "text that is nearly all one token": (
        "tokens",
        "warning",
        lambda w: w.look(
            run_of(DECODER),
            w.prepare(
                "dots",
                [f"{text[:200]} {'-' * 900}" for text in texts(80)],
                texts(9, seed=1),
                tokenizer=w.data.tokenizer,
            ),
            seconds=1.0,
        ),
    ),
    "a tokenizer that knows nothing of the text": (
        "unknown",
        "warning",
        lambda w: w.look(run_of(DECODER), chinese_by(w, "wordpiece"), seconds=1.0),
    ),
    "a tokenizer of another language": (
        "tokenizer",
        "warning",
        lambda w: w.look(run_of(DECODER), chinese_by(w, "bpe"), seconds=1.0),
    ),
    "too few tokens for a step": (
        "step",
        "warning",
        lambda w: w.look(
            run_of(DECODER, rows=64, steps=5),
            w.prepare("few", texts(2), texts(1, seed=1), tokenizer=w.data.tokenizer),
            seconds=1.0,
        ),
    ),
    "the text 400 times": ("epochs", "warning", lambda w: w.look(run_of(ENCODER, steps=40_000), seconds=1.0)),
    "rows far longer than the text": (
        "rows",
        "warning",
        lambda w: w.look(
            changed(run_of(DECODER, rows=1, steps=5), "data", row_length=1000),
            w.prepare("short", texts(2), texts(1, seed=1), tokenizer=w.data.tokenizer),
            seconds=1.0,
        ),
    ),
    "disk too small": (
        "disk",
        "error",
        lambda w: w.look(run_of(DECODER), machine=ROOMY._replace(disk=1000), seconds=1.0),
    ),
    "memory too small": (
        "memory",
        "error",
        lambda w: w.look(run_of(DECODER), machine=ROOMY._replace(memory=10_000), seconds=1.0),
    ),
    "an encoder that reads from left to right": (
        "direction",
        "warning",
        lambda w: w.look(run_of(ENCODER, objective=CausalConfig()), seconds=1.0),
    ),
    "a decoder that reads both ways": (
        "direction",
        "warning",
        lambda w: w.look(run_of(DECODER, objective=MaskedConfig()), seconds=1.0),
    ),
    "begun with weights that know nothing": ("first_loss", "warning", random_start),
}


@pytest.mark.parametrize("name", FOUND)
def test_mistake_is_found_before_step_0(name: str, world: World) -> None:
    check, level, make = FOUND[name]
    found = make(world)
    levels = {finding.check: finding.level for finding in found.findings}
    assert levels.get(check) == level, found.findings
    assert found.seconds < 60
    for finding in found.findings:
        assert "\n" not in finding.text and len(finding.text) < 330
    assert not (world.folder / "out").exists()


def no_mask(world: World) -> object:
    data: Any = MadeUpData(tokenizer=MadeUpTokenizer(special=SPECIAL._replace(mask=None)))
    return ready(run_of(ENCODER), data, world.folder / "out", progress=Silent())


def no_validation(world: World) -> object:
    return world.look(run_of(DECODER), world.prepare("alone", texts(50), []))


def other_tokenizer(world: World) -> object:
    config = run_of(DECODER).model_copy(update={"start_from": "runs/before"})
    other = Tokenizer.train(texts(20, seed=5), "bpe", 450).to_bytes()
    start = lambda: world.saved(config, tokenizer=other)  # noqa: E731
    return ready(config, world.data, world.folder / "out", progress=Silent(), start=start)


def other_family(world: World) -> object:
    config = run_of(ENCODER).model_copy(update={"start_from": "runs/before"})
    start = lambda: world.saved(run_of(DECODER))  # noqa: E731
    return ready(config, world.data, world.folder / "out", progress=Silent(), start=start)


def resumed(world: World, config: RunConfig, data: PreparedData | None = None) -> object:
    out = world.folder / "run"
    pretrain(run_of(DECODER, steps=2), world.data, out, progress=Silent())
    return pretrain(config, data or world.data, out, progress=Silent(), resume=True)


def ask(world: World, config: RunConfig) -> object:
    return ready(config, world.data, world.folder / "out", progress=Silent())


# By the mistake: what it is refused with, words that say so, and the mistake.
REFUSED: dict[str, tuple[type[UserError], str, Callable[[World], object]]] = {
    "no mask token": (ConfigError, "has no mask token", no_mask),
    "no validation text": (DataError, "expected a split `validation`", no_validation),
    "begun with a model of another tokenizer": (CheckpointError, "tokenizer is not that of the data", other_tokenizer),
    "begun with a model of another family": (ConfigError, "expected a model of the family encoder", other_family),
    "rows longer than the positions": (
        ConfigError,
        "set data.row_length to at most that",
        lambda w: ask(w, changed(run_of("bert-base"), "data", row_length=128)),
    ),
    "rows that cannot be divided": (
        ConfigError,
        "`train.accumulation` must divide",
        lambda w: ask(w, run_of(DECODER, accumulation=3)),
    ),
    "nothing masked": (ConfigError, "`rate` must be more than 0", lambda w: load_recipe(ENCODER, ["objective.rate=0"])),
    "all masked": (ConfigError, "`rate` must be", lambda w: load_recipe(ENCODER, ["objective.rate=1.0"])),
    "warm-up longer than the run": (
        ConfigError,
        "warmup_share",
        lambda w: load_recipe(ENCODER, ['schedule.kind="linear"', "schedule.warmup_share=1.5"]),
    ),
    "negative learning rate": (ConfigError, "lr", lambda w: load_recipe(ENCODER, ["optimiser.lr=-0.001"])),
    "a setting misspelt": (ConfigError, "Did you mean `rows`", lambda w: load_recipe(ENCODER, ["train.row=3"])),
    "a preset misspelt": (ConfigError, "Did you mean `encoder-tiny`", lambda w: load_recipe("encoder-tinny")),
    "no such objective": (ConfigError, "objective", lambda w: load_recipe(ENCODER, ['objective.kind="mlm"'])),
    "no such optimiser": (ConfigError, "optimiser", lambda w: load_recipe(ENCODER, ['optimiser.kind="adam"'])),
    "spans for one stack": (
        ConfigError,
        "this model has one stack",
        lambda w: ask(w, run_of(DECODER, objective=SpansConfig())),
    ),
    "next tokens for two stacks": (
        ConfigError,
        "this model is an encoder-decoder",
        lambda w: ask(w, run_of("seq2seq-tiny", objective=CausalConfig())),
    ),
    "a recipe that was run on other data": (
        ConfigError,
        "was run on other data",
        lambda w: ask(w, changed(run_of(DECODER), "data", fingerprint="another")),
    ),
    "resumed with another setting": (
        ConfigError,
        "`optimiser.lr` was",
        lambda w: resumed(w, run_of(DECODER, steps=2, lr=LR / 2)),
    ),
    "resumed on other data": (
        ConfigError,
        "the data has changed",
        lambda w: resumed(w, run_of(DECODER, steps=2), w.prepare("other", texts(150), texts(9, seed=3))),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistake_is_refused(name: str, world: World) -> None:
    error, words, make = REFUSED[name]
    with pytest.raises(error) as caught:
        make(world)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_are_enough_mistakes() -> None:
    assert len({*FOUND, *REFUSED}) >= 50


def trained(world: World, config: RunConfig, change: Callable[[Material], Material] = lambda made: made) -> list[str]:
    """What is warned of in a run's course, by check."""
    out = world.folder / "run"
    config, material = ready(config, world.data, out, progress=Silent())
    normal = normal_losses(world.data.folder, world.data)
    out.mkdir()
    (out / "config.toml").touch()
    run = _Run(config, world.data, change(material), out, Log(out / "log.jsonl"), Silent(), ALONE, normal)
    _train(run, lambda: None)
    lines = read_log(out / "log.jsonl")
    assert sum("warning" in line for line in lines) == len({line["check"] for line in lines if "warning" in line})
    return [line["check"] for line in lines if "warning" in line]


def test_a_run_that_learns_nothing_is_told_so_once(world: World) -> None:
    config = run_of(DECODER, lr=LR / 1000, steps=400)
    assert trained(world, config) == ["learning_nothing"]


def test_a_run_whose_labels_are_shuffled_is_told_so(world: World) -> None:
    assert "learning_nothing" in trained(world, run_of(DECODER, steps=400), lambda made: spoilt(made, shuffled))


def test_a_run_that_learns_is_not_warned(world: World) -> None:
    assert trained(world, run_of(DECODER, steps=400)) == []
