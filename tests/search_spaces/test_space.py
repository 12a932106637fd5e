from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from space_doubles import OdometerTrial, RandomTrial

import search_spaces
from search_spaces import Candidate, ImageInput, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)


def load(space: Any = "default", size: int = 28) -> SearchSpace:
    return search_spaces.load(space, input=ImageInput(1, size, 10), augmentations=["none", "shift"])


SPACES = {
    "default": load(),
    "tight": load(size=16),  # here the stages depend on resolution and stem stride
    "digits": load("digits", 16),
    "fashion": load("fashion"),
    "mine": load(
        {
            "students": ["convnet", "identity"],
            "convnet": {"width": {"low": 8, "high": 32}, "block": "separable", "depth": [1, 2]},
            "distill": {"epochs": 4, "hidden_weight": [0.0, 0.5, 1.0]},
            "prune": {"ratio": {"low": 0.0, "high": 0.4, "step": 0.2}},
            "quantize": {"scheme": ["none", "static_int8"]},
        }
    ),
}


def possible(candidate: Candidate, space: SearchSpace) -> None:
    """Asserts the rules of the tree on one candidate."""
    flat = candidate.flat()
    scheme = flat["quantize.scheme"]
    assert ("quantize.per_channel" in flat) == (scheme in ("dynamic_int8", "static_int8"))
    assert ("quantize.aware_epochs" in flat) == (scheme == "qat_int8")
    if candidate.student == "identity":
        assert set(flat) <= {"student", "quantize.scheme", "quantize.per_channel"}
        return
    family = search_spaces.load_family(candidate.student)
    assert scheme in family.schemes
    architecture = candidate.section(candidate.student)
    assert set(architecture) == set(family.dimensions(space.input))
    assert family.refuses(architecture, space.input) is None
    weights = candidate.section("distill")
    assert float(weights["soft_weight"]) + float(weights["hard_weight"]) > 0
    pruned = candidate.section("prune")
    assert set(pruned) == ({"ratio", "criterion", "round_to", "recovery_epochs"} if pruned["ratio"] else {"ratio"})


@pytest.mark.parametrize("name", SPACES)
def test_no_sample_is_impossible_and_a_name_always_means_the_same_values(name: str) -> None:
    asked: dict[str, Any] = {}
    for seed in range(400):
        possible(SPACES[name].sample(RandomTrial(seed, asked), seed), SPACES[name])
    numbers = ("width", "depth", "stages", "layers", "heads", "epochs", "ratio", "temperature", "patch", "round_to")
    ordered = [key for key in asked if key.split("@")[0].split(".")[-1] in numbers]
    assert ordered
    assert all(asked[key][0] in ("int", "float") for key in ordered)


@given(
    size=st.integers(8, 64).filter(lambda size: size % 4 == 0),
    widths=st.lists(st.sampled_from(range(8, 65, 8)), min_size=1),
    stages=st.lists(st.sampled_from([2, 3, 4]), min_size=1),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_narrowed_spaces_sample_only_what_they_hold(size: int, widths: Any, stages: Any, seed: int) -> None:
    plain = {"students": ["convnet", "transformer"], "convnet": {"width": widths, "stages": [2, *stages]}}
    space = load(plain, size)
    candidate = space.sample(RandomTrial(seed), seed)
    possible(candidate, space)
    if candidate.student == "convnet":
        assert candidate.flat()["convnet.width"] in widths
        assert candidate.flat()["convnet.stages"] in [2, *stages]


@pytest.mark.parametrize("name", SPACES)
def test_params_of_is_the_inverse_of_sample(name: str) -> None:
    space = SPACES[name]
    for seed in range(100):
        candidate = space.sample(RandomTrial(seed), seed)
        parameters = space.params_of(candidate.flat())
        assert isinstance(parameters, dict)
        assert space.sample(FixedTrial(parameters), seed) == candidate


def test_optuna_samples_and_takes_what_is_enqueued() -> None:
    space = SPACES["tight"]
    wanted = [space.sample(RandomTrial(seed), 0) for seed in range(20)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for candidate in wanted:
        study.enqueue_trial(space.params_of(candidate.flat()))
    sampled = []
    for _ in range(200):
        trial = study.ask()
        sampled.append(space.sample(trial, 0))
        study.tell(trial, 0.0)
    assert sampled[:20] == wanted
    for candidate in sampled:
        possible(candidate, space)


def test_partial_candidate_is_completed_by_defaults_inside_the_space() -> None:
    space = SPACES["mine"]
    parameters = space.params_of({"student": "convnet", "convnet.width": 32})
    assert isinstance(parameters, dict)
    flat = space.sample(FixedTrial(parameters), 0).flat()
    assert flat["convnet.width"] == 32
    assert flat["convnet.block"] == "separable"  # fixed by the space
    assert (flat["distill.epochs"], flat["distill.temperature"], flat["prune.ratio"]) == (4, 4.0, 0.0)
    assert not {"convnet.block", "distill.epochs"} & set(parameters)


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"student": "transformer"}, "student 'transformer' is outside this space"),
        ({"student": "convnet", "convnet.width": 64}, "convnet.width 64 is outside this space, which has"),
        ({"student": "convnet", "convnet.block": "plain"}, "convnet.block 'plain'"),
        ({"student": "convnet", "quantize.scheme": "fp16"}, "quantize.scheme 'fp16'"),
        ({"student": "identity", "distill.epochs": 4}, "distill.epochs does not apply"),
        ({"student": "convnet", "prune.ratio": 0.0, "prune.criterion": "taylor"}, "prune.criterion does not apply"),
        ({"student": "convnet", "convnet.colour": 1}, "convnet.colour does not apply"),
        ({"student": "convnet", "prune.ratio": True}, "prune.ratio True"),
    ],
)
def test_what_is_outside_gets_a_sentence(flat: Mapping[str, Any], words: str) -> None:
    answer = SPACES["mine"].params_of(flat)
    assert isinstance(answer, str)
    assert words in answer


def test_choice_that_earlier_values_rule_out_gets_a_sentence() -> None:
    flat = {"student": "convnet", "convnet.resolution": 16, "convnet.stem_stride": 2, "convnet.stages": 4}
    assert "convnet.stages 4" in str(SPACES["tight"].params_of(flat))


def test_learning_to_round_has_its_own_epochs_and_is_nothing_for_the_teacher_or_a_convnet() -> None:
    space = load({"quantize": {"scheme": ["none", "static_int8", "qat_int8"], "aware_epochs": 2}})
    assert [name for name, student in space.students.items() if student.scheme.contains("qat_int8")] == ["transformer"]
    assert space.params_of({"student": "transformer", "quantize.scheme": "qat_int8", "quantize.aware_epochs": 2})
    answers = [
        space.params_of({"student": student, "quantize.scheme": scheme, "quantize.aware_epochs": epochs})
        for student, scheme, epochs in (
            ("identity", "qat_int8", 2), ("transformer", "none", 2), ("transformer", "qat_int8", 1)
        )
    ]  # fmt: skip
    words = ("quantize.scheme 'qat_int8' is outside", "aware_epochs does not apply", "aware_epochs 1 is outside")
    assert all(word in str(answer) for word, answer in zip(words, answers, strict=True))


def test_identity_is_tried_under_each_scheme() -> None:
    flats = SPACES["default"].identity_candidates()
    untrained = [scheme for scheme in search_spaces.SCHEMES if scheme != "qat_int8"]
    assert [flat["quantize.scheme"] for flat in flats] == untrained
    assert [flat.get("quantize.per_channel") for flat in flats] == [None, None, True, True, None]
    assert all(isinstance(SPACES["default"].params_of(flat), dict) for flat in flats)
    assert load({"students": "convnet"}).identity_candidates() == []
    fixed = load({"quantize": {"scheme": ["none", "static_int8"], "per_channel": False}})
    assert [flat.get("quantize.per_channel") for flat in fixed.identity_candidates()] == [None, False]


@pytest.mark.parametrize(
    "plain",
    [
        {"students": "identity"},
        {"students": ["identity"], "quantize": {"scheme": ["none", "static_int8"], "per_channel": False}},
        {
            "students": ["convnet", "transformer", "identity"],
            "convnet": {"depth": 1, "block": "plain", "width": [8, 24, 64]},
            "transformer": {"layers": 1, "heads": [1, 2], "head_width": 16, "ff_ratio": 1},
            "distill": {
                "temperature": [2, 4],
                "soft_weight": 0.9,
                "hard_weight": 0.1,
                "hidden_weight": 0,
                "learning_rate": 1e-3,
                "epochs": {"low": 1, "high": 2},
                "augment": "none",
            },
            "prune": {"ratio": {"low": 0, "high": 0.2}, "recovery_epochs": 1},
        },
    ],
)
def test_size_counts_every_candidate_once(plain: Mapping[str, Any]) -> None:
    space = load(plain, 16)
    trial, keys, more, paths = OdometerTrial(), set(), True, 0
    while more:
        keys.add(space.sample(trial, 0).key)
        paths += 1
        more = trial.turn()
    assert space.size() == len(keys) == paths


def test_size_of_a_continuous_space_is_none() -> None:
    assert SPACES["default"].size() is None


@pytest.mark.parametrize("name", SPACES)
def test_description_loads_to_the_same_space(name: str) -> None:
    space = SPACES[name]
    assert load(space.describe(), space.input.size) == space


def test_terms_compared_piece_by_piece_are_asked_only_of_aligned_students(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.compression.ALIGNED", frozenset({"hidden_weight"}))
    monkeypatch.setattr("search_spaces.space.ALIGNED", frozenset({"hidden_weight"}))
    family = search_spaces.load_family("convnet")
    monkeypatch.setattr(type(family), "aligned", lambda *given: given[1]["block"] == "plain")
    space = load({**FINITE, "convnet": {**FINITE["convnet"], "block": ["plain", "separable"]}})
    trial, seen = OdometerTrial(), set()
    while True:
        candidate = space.sample(trial, 0)
        flat = candidate.flat()
        assert ("distill.hidden_weight" in flat) == (flat["convnet.block"] == "plain")
        seen.add(candidate.key)
        if not trial.turn():
            break
    assert len(seen) == space.size()


FINITE: dict[str, Any] = {
    "students": ["convnet"],
    "convnet": {"resolution": 28, "stem_stride": 1, "stages": 2, "width": 8, "depth": 1, "block": "plain"},
    "distill": {
        "temperature": 4, "soft_weight": 1, "hard_weight": 0, "hidden_weight": [0.0, 0.5], "learning_rate": 0.001,
        "epochs": 4, "augment": "none",
    },
    "prune": {"ratio": 0},
    "quantize": {"scheme": "none"},
}  # fmt: skip
