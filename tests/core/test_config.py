"""Recipes: overrides, unknown keys, and TOML that gives the same value back."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from support import family_of
from trivium.core.config import Config, override, parse, read_toml, write_toml
from trivium.core.errors import ConfigError
from trivium.core.ramp import Ramp
from trivium.model.config import ModelConfig
from trivium.model.parts import AttentionConfig, RelativeBuckets
from trivium.model.presets import PRESETS, preset
from trivium.objectives.masked import MaskedConfig
from trivium.train.config import AdamWConfig, RunConfig, TrainConfig, load_recipe
from trivium.train.schedule_config import CosineSchedule


def message(call: object, *arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_run_written_as_toml_is_read_as_an_equal_one(name: str, tmp_path: Path) -> None:
    config = load_recipe(name, ["train.steps=30", "train.max_gradient_norm=0.30000000000000004", "optimiser.lr=1e-7"])
    (tmp_path / "config.toml").write_text(write_toml(config), encoding="utf-8")
    again = parse(RunConfig, read_toml(tmp_path / "config.toml"), "config.toml")
    assert again == config
    assert load_recipe(str(tmp_path / "config.toml")) == config
    assert write_toml(again) == write_toml(config)


@pytest.mark.parametrize("name", PRESETS)
def test_a_model_written_as_toml_is_read_as_an_equal_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(write_toml(preset(name)), encoding="utf-8")
    assert parse(ModelConfig, read_toml(path), "model.toml") == preset(name)


def test_overrides_are_toml_values_and_bare_words_are_strings() -> None:
    tree = override({"a": {"b": 1}}, ["a.b=2", "a.c=1e-3", "a.d=true", "e.f=word", 'e.g="5"', "h=[1, 2]", "i=a=b"])
    assert tree == {"a": {"b": 2, "c": 1e-3, "d": True}, "e": {"f": "word", "g": "5"}, "h": [1, 2], "i": "a=b"}


def test_overriding_leaves_the_tree_as_it_was() -> None:
    tree = {"a": {"b": [{"c": 1}]}}
    assert override(tree, ["a.b.0.c=2"]) == {"a": {"b": [{"c": 2}]}}
    assert tree == {"a": {"b": [{"c": 1}]}}


def test_a_later_override_wins() -> None:
    assert override({}, ["a=1", "a=2"]) == {"a": 2}


def test_another_kind_starts_its_table_afresh_and_the_same_kind_does_not() -> None:
    tree = {"schedule": {"kind": "constant", "cooldown_share": 0.2}}
    assert override(tree, ["schedule.kind=cosine"]) == {"schedule": {"kind": "cosine"}}
    assert override(tree, ["schedule.kind=constant"]) == tree


@pytest.mark.parametrize("text", ["steps", "=3", " =3", ""])
def test_an_override_that_is_none_is_refused(text: str) -> None:
    assert "expects dotted.key=value" in message(override, {}, [text])


def test_a_key_below_a_plain_value_makes_a_table_of_it() -> None:
    assert override({"a": {"b": 1}}, ["a.b.start=2", "a.b.stop=3"]) == {"a": {"b": {"start": 2, "stop": 3}}}
    assert load_recipe(
        "encoder-tiny", ["objective.rate.start=0.3", "objective.rate.stop=0.1"]
    ).objective == MaskedConfig(rate=Ramp(start=0.3, stop=0.1))
    assert "seed" in message(load_recipe, "encoder-tiny", ["seed.x=1"])


@pytest.mark.parametrize("text", ["list.2=1", "list.x=1", "list.-1=1"])
def test_an_override_that_leads_nowhere_is_refused(text: str) -> None:
    assert text.partition("=")[0] in message(override, {"a": {"b": 1}, "list": [1, 2]}, [text])


@pytest.mark.parametrize(
    ("assignment", "path", "near"),
    [
        ("train.step=3", "train", "steps"),
        ("optimizer.lr=3", "", "optimiser"),
        ("optimiser.weight_dekay=0", "optimiser", "weight_decay"),
        ("model.family.stack.pattern.0.atention.bias=true", "model.family", "attention"),
        ("model.hidden=3", "model", "hidden_size"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(assignment: str, path: str, near: str) -> None:
    text = message(load_recipe, "decoder-tiny", [assignment])
    assert f"Did you mean `{near}`?" in text
    assert path in text


def test_an_unknown_key_far_from_all_is_refused_with_the_known_names() -> None:
    text = message(load_recipe, "decoder-tiny", ["train.zzzz=3"])
    assert "Known:" in text and "accumulation" in text


@pytest.mark.parametrize("name", ["decoder-tyny", "decoder"])
def test_an_unknown_preset_is_refused_with_the_nearest_name(name: str) -> None:
    assert "Did you mean `decoder-" in message(load_recipe, name)


@pytest.mark.parametrize(
    "assignment",
    [
        "train.steps=0",
        "train.rows=many",
        "optimiser.lr=-1",
        "optimiser.lr=nan",
        "optimiser.beta2=1.0",
        "schedule.kind=square",
        "objective.kind=maskd",
        "seed=-1",
        "train=5",
        "model=5",
        "model.preset=5",
        "model.family.stack.pattern=[]",
        "model.family.stack.pattern.0.attention.head_size=15",
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_line(assignment: str) -> None:
    message(load_recipe, "decoder-tiny", [assignment])


def test_another_preset_given_as_a_setting_is_taken(tmp_path: Path) -> None:
    assert load_recipe("decoder-tiny", ["model.preset=decoder-mini"]).model == preset("decoder-mini")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[model]\npreset = "decoder-tiny"\nmax_length = 99\n')
    changed = load_recipe(str(recipe), ["model.family.stack.num_layers=3", "model.preset=encoder-mini"])
    assert family_of(changed.model) == "encoder"
    assert changed.objective.kind == "masked"
    assert (changed.model.hidden_size, changed.model.max_length, changed.model.family.stack.num_layers) == (256, 99, 3)


def test_what_a_recipe_says_of_its_model_changes_the_preset(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'seed = 7\n[model]\npreset = "bert-tiny"\n[model.family.stack]\nnum_layers = 5\n'
        '[model.family.stack.position]\nkind = "rotary"\n[schedule]\nkind = "cosine"\n[train]\nsteps = 9\n'
    )
    config = load_recipe(str(recipe), ["train.steps=10"])
    stack = config.model.family.stack
    assert (stack.num_layers, stack.position.kind, stack.embedding.num_segments) == (5, "rotary", 2)
    assert config.schedule == CosineSchedule()
    assert (config.seed, config.train.steps) == (7, 10)


def test_the_usual_learning_rate_stays_when_other_settings_of_the_optimiser_change(tmp_path: Path) -> None:
    usual = load_recipe("decoder-tiny").optimiser
    assert usual.lr == pytest.approx(0.4 / 128)
    changed = usual.model_copy(update={"weight_decay": 0.5})
    assert load_recipe("decoder-tiny", ["optimiser.weight_decay=0.5"]).optimiser == changed
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[model]\npreset = "decoder-tiny"\n[optimiser]\nweight_decay = 0.5\n')
    assert load_recipe(str(recipe)).optimiser == changed


@pytest.mark.parametrize(("content", "reason"), [("a = ", "not valid TOML"), (b"\xff\xfe", "cannot be read")])
def test_a_recipe_that_cannot_be_read_is_an_error(content: str | bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert reason in message(load_recipe, str(path))
    assert "no such file" in message(load_recipe, str(tmp_path / "none.toml"))
    (tmp_path / "empty.toml").write_text("")
    message(load_recipe, str(tmp_path / "empty.toml"))
    message(load_recipe, str(tmp_path))


def test_configurations_do_not_change() -> None:
    config = TrainConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.steps = 3  # type: ignore[misc]
    assert AdamWConfig() == AdamWConfig()


def test_buckets_that_reach_no_farther_than_the_exact_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="8 exact buckets"):
        RelativeBuckets(num_buckets=32, max_distance=8, bidirectional=True)
    RelativeBuckets(num_buckets=32, max_distance=9, bidirectional=True)


def test_the_default_scale_is_none_and_survives_toml() -> None:
    assert AttentionConfig(num_heads=2, num_key_value_heads=2, head_size=4).scale is None
    assert "scale" not in write_toml(AttentionConfig(num_heads=2, num_key_value_heads=2, head_size=4))


def test_a_list_whose_item_is_wrong_is_not_also_called_too_short() -> None:
    class Listed(Config):
        parts: Annotated[tuple[AttentionConfig, ...], Field(min_length=1)]

        others: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)

    assert message(parse, Listed, {"parts": []}, "x").startswith("x: `parts`: ")
    both = message(parse, Listed, {"parts": [], "others": []}, "x")
    assert both.startswith("x: `parts`: ") and both.endswith("And 1 more.")
    wrong = message(parse, Listed, {"parts": [{"num_heads": -1, "num_key_value_heads": 1, "head_size": 8}]}, "x")
    assert wrong.startswith("x: `parts.0.num_heads`: ") and "And 1 more" not in wrong
