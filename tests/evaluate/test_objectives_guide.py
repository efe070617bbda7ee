"""docs/objectives.md: every objective has its section, and every example in it is read as a run would read it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from support import VOCABULARY, shrink
from trivium.core.config import parse
from trivium.evaluate.objective_facts import FACTS, config_of, kinds, settings_of
from trivium.model.heads import LanguageModel, SequenceToSequence
from trivium.objectives.build import DistilConfig, MixedConfig, Ul2Config, build_objective, ul2_parts
from trivium.objectives.spans import SpansConfig
from trivium.train.config import RunConfig, complete

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "objectives.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
BLOCKS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def run_of(block: str) -> RunConfig:
    """Return the run that an example is of; a model that fits stands in where it names none."""
    tree: dict[str, Any] = tomllib.loads(block)
    kinds_in = set(re.findall(r'kind = "(\w+)"', block))
    two = kinds_in & {"spans", "denoise", "ul2"} and "masked" not in kinds_in
    tree.setdefault("model", {"preset": "seq2seq-tiny" if two else "encoder-tiny"})
    return parse(RunConfig, complete(tree), "docs/objectives.md")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_can_be_learned(block: str) -> None:
    run = run_of(block)
    inner = run.objective.objective if isinstance(run.objective, DistilConfig) else run.objective
    objective = build_objective(inner, VOCABULARY)
    kept = objective.exported(objective.network(shrink(run.model)))
    assert isinstance(kept, LanguageModel | SequenceToSequence)


def test_every_kind_has_a_section_with_a_picture() -> None:
    assert [name for name in SECTIONS if name.startswith("`")] == [f"`{kind}`" for kind in kinds()]
    for kind in kinds():
        assert f"](pictures/objectives/{kind}.svg)" in SECTIONS[f"`{kind}`"]
    assert {"Mixing and schedules", "Distillation", "Measured"} <= set(SECTIONS)


def test_every_picture_is_shown_and_every_link_leads_somewhere() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((pictures/\S+?)\)", TEXT)
    assert sorted(shown) == sorted(
        f"pictures/objectives/{file.name}" for file in (DOCS / "pictures/objectives").iterdir()
    )
    links = [link for link in re.findall(r"(?<!!)\[[^\]]+\]\((\S+?)\)", TEXT) if not link.startswith("#")]
    assert len(links) >= 4
    for link in links:
        assert (DOCS / link).exists(), link


@pytest.mark.parametrize("kind", kinds())
def test_the_first_example_of_a_kind_shows_the_usual_settings(kind: str) -> None:
    block = re.findall(r"```toml\n(.*?)```", SECTIONS[f"`{kind}`"], re.DOTALL)[0]
    objective = run_of(block).objective
    assert objective.kind == kind
    fields = config_of(kind).model_fields
    assert set(settings_of(kind)) == set(fields) - {"kind"}
    for name, field in fields.items():
        assert re.search(rf"\b{name}\b", block), f"`{name}` is not shown"
        if field.default is not PydanticUndefined:
            assert getattr(objective, name) == field.default, name


def test_the_table_says_what_the_command_says() -> None:
    assert [facts.kind for facts in FACTS] == list(kinds())
    rows = re.findall(r"^\| \[`.*$", TEXT, re.MULTILINE)
    assert rows == [facts.row() for facts in FACTS]


def test_units_and_parts_of_ul2_are_told_as_they_are() -> None:
    units = re.findall(r"^\| `(\{.*?\})` \|", SECTIONS["`masked`"], re.MULTILINE)
    assert len(units) == 4
    for unit in units:
        objective = run_of(f'[objective]\nkind = "masked"\nunit = {unit}').objective
        usual = run_of(f'[objective]\nkind = "masked"\nunit = {{ {unit[1:-1].split(",")[0]} }}').objective
        assert objective == usual
    rows = re.findall(
        r"^\| `(\S+)` \| (\S+) .*?\| (\d+) %.*?\| (\w+) \|", SECTIONS["Mixing and schedules"], re.MULTILINE
    )
    told = []
    for part in ul2_parts(Ul2Config()):
        assert isinstance(part.objective, SpansConfig)
        length = f"{part.objective.mean_length:g}" if part.objective.placement == "spread" else "one,"
        told.append((part.name, length, f"{100 * part.objective.rate:g}", part.objective.mode))
    assert rows == told


def test_the_hybrids_example_is_the_recipes() -> None:
    block = next(block for block in BLOCKS if "0.3" in block and "[[objective.parts]]" in block)
    recipe = tomllib.loads((DOCS.parent / "recipes" / "gptbert-tiny.toml").read_text(encoding="utf-8"))
    shown = run_of(block).objective
    assert isinstance(shown, MixedConfig)
    assert shown == parse(RunConfig, complete(recipe), "gptbert-tiny").objective
