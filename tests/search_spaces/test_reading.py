from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from space_doubles import RandomTrial

import search_spaces
from search_spaces import ImageInput, SpaceError, TextInput

TEXT = TextInput(2, 64, 1000, 400, 1, layers=4, width=64, heads=4, ff=128)


def load(space: Any, size: int = 28, augmentations: tuple[str, ...] = ("none", "shift")) -> search_spaces.SearchSpace:
    return search_spaces.load(space, input=ImageInput(3, size, 2), augmentations=augmentations)


def test_presets_are_files_and_all_load() -> None:
    folder = Path(search_spaces.__file__).parent / "presets"
    assert search_spaces.available() == sorted(path.stem for path in folder.glob("*.yaml"))
    assert {"default", "digits"} <= set(search_spaces.available())
    for name in set(search_spaces.available()) - {"text"}:
        for size in (16, 28, 32, 224):
            assert load(name, size).students
    assert search_spaces.load("text", input=TEXT, augmentations=["none"]).students


def test_the_default_and_the_families_follow_the_kind_of_input() -> None:
    space = search_spaces.load({}, input=TEXT, augmentations=["none"])
    assert space == search_spaces.load("text", input=TEXT, augmentations=["none"])
    assert set(space.students) == {*search_spaces.families("text"), "identity"}
    assert not set(search_spaces.families("text")) & set(search_spaces.families("image"))
    assert {*search_spaces.families("text"), *search_spaces.families("image")} == set(search_spaces.families())
    assert space.distill["learning_rate"].start == 1e-4
    assert load({}).distill["learning_rate"].start == 2e-3


@pytest.mark.parametrize("space", [{"students": ["convnet"]}, {"convnet": {"width": 16}}, "digits"])
def test_an_image_family_in_a_text_space_is_a_sentence(space: Any) -> None:
    with pytest.raises(SpaceError, match=r"convnet reads images and the task gives texts; .*bert, identity"):
        search_spaces.load(space, input=TEXT, augmentations=["none"])


def test_a_file_a_path_and_a_mapping_mean_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preset: digits\nstudents: [convnet]\nconvnet: {width: 16}\n", encoding="utf-8")
    plain = {"preset": "digits", "students": ["convnet"], "convnet": {"width": 16}}
    assert load(file) == load(str(file)) == load(plain)


def test_an_axis_replaces_that_of_the_preset_and_leaves_the_others() -> None:
    space = load({"preset": "digits", "convnet": {"width": 64}})
    assert space.students["convnet"].axes["width"].values() == (64,)  # wider than the preset, inside the family
    assert space.students["convnet"].axes["stages"].values() == (2, 3)


def test_a_space_without_preset_starts_from_default() -> None:
    assert load({}) == load("default") == load({"preset": "default"})


def test_augmentations_are_the_task_s() -> None:
    assert load("default", augmentations=("none",)).distill["augment"].values() == ("none",)
    with pytest.raises(SpaceError, match=r"distill.augment: 'flip_shift' .* give one of none, shift"):
        load({"distill": {"augment": "flip_shift"}})


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("defualt", "no space and no YAML file named 'defualt'; did you mean 'default'"),
        ({"preset": "digit"}, "'digit'; did you mean 'digits'"),
        ({"preset": ["digits"]}, "digits"),
        ({"conv_net": {}}, "unknown key 'conv_net' in the space; did you mean 'convnet'"),
        ({"convnet": {"widht": 8}}, "unknown key 'convnet.widht' in the space; did you mean 'width'"),
        ({"distill": {"temprature": 8}}, "did you mean 'temperature'"),
        ({"convnet": {"width": 9}}, "convnet.width: 9 is not possible here; give a whole number from 8 to 64"),
        ({"convnet": {"block": None}}, "convnet.block: None"),
        ({"convnet": 8}, "convnet: 8 is not a mapping"),
        ({"prune": {"ratio": 0.9}}, "prune.ratio: 0.9"),
        ({"students": []}, r"students: \[\]"),
        ({"students": "resnet"}, "students: no student named 'resnet'"),
        ({"students": ["convnet", "transfomer"]}, "did you mean 'transformer'"),
        ({"students": {"convnet": 1}}, "no student named"),
        ({"quantize": {"scheme": "int4"}}, "quantize.scheme: 'int4'"),
        ({"students": "convnet", "quantize": {"scheme": ["none", "weight_int8"]}}, "'weight_int8' suits none"),
        ({"quantize": {"scheme": "weight_int8"}}, "leaves convnet none of its own"),
        ({"students": ["transformer", "identity"], "quantize": {"scheme": "qat_int8"}}, "leaves identity none of its"),
        ({"quantize": {"aware_epochs": 3}}, "quantize.aware_epochs: 3"),
        ({"distill": {"soft_weight": 0, "hard_weight": {"low": 0, "high": 1}}}, "can both be 0"),
    ],
)
def test_bad_space_is_one_sentence(space: Any, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        load(space)


def test_space_without_any_buildable_student_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"convnet: no combination .* 4 stages .* use fewer stages"):
        load({"students": "convnet", "convnet": {"stages": 4}}, size=12)
    with pytest.raises(SpaceError, match="no patch divides 29 pixels"):
        load({"students": "transformer"}, size=29)
    assert load({"students": "convnet", "transformer": {"patch": 2}}, size=29).students.keys() == {"convnet"}


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "\x00", ""])
def test_bad_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpaceError, match=r"bad\.yaml"):
        load(file)


def test_folder_is_no_space(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="no YAML file named"):
        load(tmp_path)


def test_hard_labels_alone_can_be_asked_for() -> None:
    space = load({"distill": {"soft_weight": 0, "hard_weight": 1}})
    candidate = space.sample(RandomTrial(0), 0)
    while candidate.student == "identity":
        candidate = space.sample(RandomTrial(candidate.seed + 1), candidate.seed + 1)
    assert candidate.section("distill")["soft_weight"] == 0.0


def test_listing_loading_and_sampling_import_neither_torch_nor_optuna() -> None:
    script = (
        "import sys, search_spaces as s; sys.path.insert(0, sys.argv[1]); from space_doubles import RandomTrial;"
        "space = s.load('default', input=s.ImageInput(1, 28, 10), augmentations=['none']);"
        "[space.sample(RandomTrial(i), i) for i in range(20)]; s.recipes(); s.families();"
        "print([m for m in ('torch', 'optuna', 'mlflow', 'pipeline', 'hardware_targets') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"
