"""The recipes that come with the project."""

from pathlib import Path

import pytest

from support import VOCABULARY, shrink
from trivium.model.heads import LanguageModel, SequenceToSequence
from trivium.model.presets import PRESETS
from trivium.objectives.build import build_objective
from trivium.train.config import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
USUAL = [path for path in RECIPES if path.stem in PRESETS]
# Recipes with an objective of their own: what they learn.
OTHERS = {
    "gptbert-tiny": "mixed",
    "bert2bert-tiny": "mixed",
    "electra-tiny": "replaced",
    "ul2-tiny": "ul2",
    "fill-in-tiny": "fill_in",
}


@pytest.mark.parametrize("path", USUAL, ids=lambda path: path.stem)
def test_a_recipe_is_its_presets_run(path: Path) -> None:
    recipe, usual = load_recipe(str(path)), load_recipe(path.stem)
    assert recipe == usual


def test_there_is_a_recipe_a_family_and_size_and_all_others_are_known() -> None:
    assert len(USUAL) == 9
    assert {path.stem for path in RECIPES if path not in USUAL} == set(OTHERS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipes_model_can_learn_its_objective(path: Path) -> None:
    recipe = load_recipe(str(path))
    if path not in USUAL:
        assert recipe.objective.kind == OTHERS[path.stem]
    objective = build_objective(recipe.objective, VOCABULARY)
    kept = objective.exported(objective.network(shrink(recipe.model)))
    assert isinstance(kept, LanguageModel | SequenceToSequence)
    assert "# trivium pretrain recipes/" + path.name in path.read_text(encoding="utf-8")
