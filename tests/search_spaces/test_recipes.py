from __future__ import annotations

import pytest
from optuna.trial import FixedTrial

import search_spaces
from search_spaces import ImageInput


@pytest.mark.parametrize("name", sorted(search_spaces.recipes()))
@pytest.mark.parametrize("size", [28, 32, 64])
def test_every_recipe_fits_the_default_space_and_keeps_its_values(name: str, size: int) -> None:
    space = search_spaces.load("default", input=ImageInput(3, size, 10), augmentations=["none", "shift"])
    recipe = search_spaces.recipes()[name]
    parameters = space.params_of(recipe)
    assert isinstance(parameters, dict), parameters
    flat = space.sample(FixedTrial(parameters), 0).flat()
    assert {key: flat[key] for key in recipe} == recipe


def test_recipes_are_fresh_copies() -> None:
    search_spaces.recipes()["hinton"]["student"] = "identity"
    assert search_spaces.recipes()["hinton"]["student"] == "convnet"
