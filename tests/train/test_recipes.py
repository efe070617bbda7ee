"""The recipes that come with the project."""

from pathlib import Path

import pytest

from trivium.train.config import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_its_presets_run(path: Path) -> None:
    recipe, usual = load_recipe(str(path)), load_recipe(path.stem)
    assert recipe == usual


def test_there_is_a_recipe_a_family_and_size() -> None:
    assert len(RECIPES) == 6
