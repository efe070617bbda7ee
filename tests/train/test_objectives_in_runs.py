"""Runs whose objective trains more than the network: what they begin with, their depths, what is refused."""

from pathlib import Path

import pytest
import torch
from run_support import MadeUpData, MadeUpTokenizer, config_of

from every_objective import CASES
from stopping import Killed, KilledAt
from support import VOCABULARY, equal, lively, parameters_of
from trivium.core.errors import CheckpointError, ConfigError
from trivium.core.progress import Silent
from trivium.model.config import MuP
from trivium.model.folder import SavedModel, load_model, save_model
from trivium.model.roles import layer_depths
from trivium.objectives.build import DistilConfig, ObjectiveConfig, build_objective
from trivium.objectives.contrastive import ContrastiveConfig
from trivium.objectives.masked import MaskedConfig
from trivium.objectives.regularisers.build import regularised
from trivium.objectives.regularisers.config import FgmConfig
from trivium.objectives.replaced import ReplacedConfig
from trivium.train.config import RunConfig, Stage
from trivium.train.material import draw, fit_to_data, make_material
from trivium.train.run import pretrain

WRAPPED = ("sentence-order", "next-sentence", "replaced", "replaced-shared", "replaced-separate")


def run_of(name: str, objective: ObjectiveConfig | None = None, **train: object) -> RunConfig:
    return config_of(CASES[name][0], **train).model_copy(update={"objective": objective or CASES[name][1]})


def teacher_in(folder: Path, *, name: bytes = b"made up", trained: bool = True, rows: int = 0) -> Path:
    config = config_of("bert-tiny").model
    head = config.head.model_copy(update={"trained": trained})
    config = config.model_copy(update={"vocabulary_size": config.vocabulary_size + rows, "head": head})
    (folder / "teacher" / "model").mkdir(parents=True)
    save_model(folder / "teacher" / "model", lively(config, seed=4), config, name)
    return folder / "teacher"


def distilled(teacher: Path, **train: object) -> RunConfig:
    return run_of("masked", DistilConfig(teacher=str(teacher), objective=MaskedConfig()), **train)


@pytest.mark.parametrize("name", ["masked", *WRAPPED])
def test_a_run_begins_with_all_of_the_model_that_it_names(name: str) -> None:
    config = run_of(name).model_copy(update={"start_from": "earlier"})
    earlier = lively(config.model, seed=9)
    material = make_material(config, MadeUpData(), lambda: SavedModel(config.model, earlier, b"made up"))  # type: ignore[arg-type]
    network = material.objective.network(config.model)
    anew = draw(network, config, material, Silent())
    begun = parameters_of(material.objective.exported(network))
    taken = 0
    for parameter, tensor in parameters_of(earlier).items():
        if name.startswith("replaced") and parameter.startswith("head."):
            continue  # what detects names no tokens
        assert torch.equal(begun[parameter], tensor), parameter
        taken += 1
    assert taken > 10
    trained = {material.objective.trained_name(parameter) for parameter in parameters_of(earlier)}
    assert not {n for n in anew if n in trained and not n.startswith("head.")}


@pytest.mark.parametrize("name", ["replaced", "sentence-order"])
def test_layers_are_counted_from_the_top_of_their_own_stack(name: str) -> None:
    config = run_of(name)
    network = build_objective(config.objective, VOCABULARY).network(config.model)
    depths = layer_depths(network)
    stacks = ("generator.stack", "reader") if name == "replaced" else ("network.stack",)
    for stack in stacks:
        assert {d for n, d in depths.items() if n.startswith(f"{stack}.blocks.1.")} == {1}
        assert {d for n, d in depths.items() if n.startswith(f"{stack}.blocks.0.")} == {2}
        assert {d for n, d in depths.items() if n.startswith(f"{stack}.embedding.")} == {3}
        assert {d for n, d in depths.items() if n.startswith(f"{stack}.final_norm.")} <= {0}


@pytest.mark.parametrize("name", ["replaced", "hybrid", "sentence-order", "ul2"])
def test_killed_and_resumed_it_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    config = run_of(name)
    pretrain(config, MadeUpData(), tmp_path / "whole", progress=Silent())  # type: ignore[arg-type]
    with pytest.raises(Killed):
        pretrain(config, MadeUpData(), tmp_path / "broken", progress=KilledAt(7))  # type: ignore[arg-type]
    pretrain(config, MadeUpData(), tmp_path / "broken", progress=Silent(), resume=True)  # type: ignore[arg-type]
    whole, broken = (load_model(tmp_path / run / "model") for run in ("whole", "broken"))
    assert equal(parameters_of(whole.network), parameters_of(broken.network))
    assert whole.config.head.trained == (name != "replaced")


def test_a_distilled_run_names_its_teacher_by_hash_and_is_not_gone_on_with_under_another(tmp_path: Path) -> None:
    teacher = teacher_in(tmp_path)
    with pytest.raises(Killed):
        pretrain(distilled(teacher), MadeUpData(), tmp_path / "run", progress=KilledAt(7))  # type: ignore[arg-type]
    text = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert "teacher_sha256" in text
    assert str(teacher.resolve()) in text
    weights = teacher / "model" / "weights.safetensors"
    kept = weights.read_bytes()
    config = load_model(teacher / "model").config
    for file in (teacher / "model").iterdir():
        file.unlink()
    save_model(teacher / "model", lively(config, seed=5), config, b"made up")
    with pytest.raises(ConfigError, match="teacher_sha256"):
        pretrain(distilled(teacher), MadeUpData(), tmp_path / "run", progress=Silent(), resume=True)  # type: ignore[arg-type]
    assert weights.read_bytes() != kept


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"name": b"another"}, {}, "its tokenizer is not that of the data"),
        ({"trained": False}, {}, "has not taught it to name tokens"),
        ({"rows": 3}, {}, "rows for tokens, the student"),
        ({}, {"stages": (Stage(until=0.5, row_length=96),)}, "learned positions for 64"),
    ],
)
def test_a_teacher_that_cannot_be_asked_is_refused(
    settings: dict[str, object], change: dict[str, object], message: str, tmp_path: Path
) -> None:
    config = fit_to_data(distilled(teacher_in(tmp_path, **settings), **change), MadeUpData())  # type: ignore[arg-type]
    with pytest.raises((ConfigError, CheckpointError), match=message):
        make_material(config, MadeUpData(), None)  # type: ignore[arg-type]


def test_rows_that_are_compared_stay_together() -> None:
    contrastive = ContrastiveConfig(group_rows=8)
    for train, message in (
        ({"rows": 12}, "must be a multiple of 8"),
        ({"rows": 8, "accumulation": 2}, "must be a multiple of 16"),
        ({"validate_rows": 4}, "`train.validate_rows` must be as many at least; found 4"),
        ({"stages": (Stage(until=0.5, rows=4),)}, "must be a multiple of 8"),
    ):
        config = run_of("contrastive", contrastive, **({"validate_rows": 8} | train))
        with pytest.raises(ConfigError, match=message):
            make_material(fit_to_data(config, MadeUpData()), MadeUpData(), None)  # type: ignore[arg-type]
    assert MadeUpTokenizer().vocabulary_size == VOCABULARY.size


def test_what_two_networks_cannot_have_is_refused() -> None:
    config = run_of("replaced").model
    wide = config.model_copy(update={"parametrisation": MuP(base_hidden_size=16)})
    replaced = build_objective(ReplacedConfig(), VOCABULARY)
    with pytest.raises(ConfigError, match="two networks of different widths"):
        replaced.network(wide)
    with pytest.raises(ConfigError, match="`replaced` reads another text in each pass"):
        regularised((FgmConfig(),), replaced, name="replaced", network=replaced.network(config), hidden_size=32)


def test_nothing_to_learn_and_names_of_the_log_are_refused() -> None:
    for kind, tree in (
        ("ul2", {"regular": 0, "sequential": 0, "extreme": 0}),
        ("distil", {"teacher": "x", "objective": {"kind": "causal"}, "labels": 0, "logits": 0, "hidden": 0}),
    ):
        with pytest.raises(ValueError, match="must be more than 0: found three times 0"):
            RunConfig.model_validate(run_of("masked").model_dump() | {"objective": {"kind": kind, **tree}})
    part = {"objective": {"kind": "causal"}}
    for names, message in ((("loss",), "no field of log.jsonl"), (("a", "a"), "must be another"), (("A b",), "small")):
        mixed = {"kind": "mixed", "parts": [part | {"name": name} for name in names]}
        with pytest.raises(ValueError, match=message):
            RunConfig.model_validate(run_of("masked").model_dump() | {"objective": mixed})
