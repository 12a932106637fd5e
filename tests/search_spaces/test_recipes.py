from __future__ import annotations

import pytest
from optuna.trial import FixedTrial

import search_spaces
from search_spaces import ImageInput, TextInput


@pytest.mark.parametrize("name", sorted(search_spaces.recipes("image")))
@pytest.mark.parametrize("size", [28, 32, 64])
def test_every_recipe_fits_the_default_space_and_keeps_its_values(name: str, size: int) -> None:
    space = search_spaces.load("default", input=ImageInput(3, size, 10), augmentations=["none", "shift"])
    recipe = search_spaces.recipes("image")[name]
    parameters = space.params_of(recipe)
    assert isinstance(parameters, dict), parameters
    flat = space.sample(FixedTrial(parameters), 0).flat()
    assert {key: flat[key] for key in recipe} == recipe


@pytest.mark.parametrize("name", sorted(search_spaces.recipes("text")))
def test_every_text_recipe_fits_the_text_space_and_keeps_its_values(name: str) -> None:
    teacher = TextInput(2, 128, 30522, 9000, 1, layers=6, width=384, heads=12, ff=1536)
    space = search_spaces.load("default", input=teacher, augmentations=["none"])
    recipe = search_spaces.recipes("text")[name]
    parameters = space.params_of(recipe)
    assert isinstance(parameters, dict), parameters
    flat = space.sample(FixedTrial(parameters), 0).flat()
    assert {key: flat[key] for key in recipe} == recipe


def test_all_names_are_known_and_a_kind_has_its_own() -> None:
    assert set(search_spaces.recipes()) == {*search_spaces.recipes("image"), *search_spaces.recipes("text")}
    assert search_spaces.recipes("image")["hinton"]["student"] == "convnet"
    assert search_spaces.recipes("text")["hinton"]["student"] == "bert"
    assert search_spaces.recipes("sound") == {}


def test_recipes_are_fresh_copies() -> None:
    search_spaces.recipes()["hinton"]["student"] = "identity"
    assert search_spaces.recipes()["hinton"]["student"] == "convnet"
