"""Which trained student a new one begins with, and that its weights arrive."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import synthetic
import torch
from test_lineage import candidate, record, space, stored
from untracked import Untracked
from watching import Heard

from pipeline.ancestor import Ancestor, again, contains, distance, nearest
from pipeline.artifact import TorchArtifact
from pipeline.making import build
from pipeline.record import TrialRecord, read_records, trial_folder
from pipeline.search import loop
from pipeline.stages.overlap import overlap
from pipeline.student_files import SHAPE, WEIGHTS, save_student
from search_spaces import load_family
from search_spaces.inputs import TextInput

NESTED = load_family("transformer").nested
SMALL, MIDDLE, LARGE = ({"transformer.layers": size} for size in (1, 2, 4))


def trained(search: Path, *given: dict[str, Any]) -> list[TrialRecord]:
    for number in range(len(given)):
        stored(search, number)
    return [record(candidate(space(), **changes), number=number) for number, changes in enumerate(given)]


def test_the_smallest_that_holds_it(tmp_path: Path) -> None:
    records = trained(tmp_path, LARGE, MIDDLE, SMALL)
    found = nearest(candidate(space(), **SMALL, **{"distill.temperature": 2.0}), records, tmp_path, NESTED)
    assert found is not None and found.number == 1 and found.folder == trial_folder(tmp_path, 1)
    assert nearest(candidate(space(), **LARGE), records, tmp_path, NESTED) is None  # an equal one is none


def test_of_equal_ones_the_latest(tmp_path: Path) -> None:
    records = trained(tmp_path, LARGE, {**LARGE, "distill.temperature": 2.0})
    found = nearest(candidate(space(), **SMALL), records, tmp_path, NESTED)
    assert found is not None and found.number == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"end": "failed"},
        {"end": "stopped"},
        {"final_of": 2},
        {"trained_by": 2},
        {"same_as": 2},
        {"candidate": candidate(space(), **LARGE, **{"prune.ratio": 0.3})},
        {"candidate": candidate(space(), **LARGE, **{"transformer.patch": 4})},
    ],
)
def test_who_is_none(changes: dict[str, Any], tmp_path: Path) -> None:
    (large,) = trained(tmp_path, LARGE)
    small = candidate(space(), **SMALL)
    assert nearest(small, [large], tmp_path, NESTED) is not None
    assert nearest(small, [large.with_(**changes)], tmp_path, NESTED) is None
    (trial_folder(tmp_path, 0) / WEIGHTS).unlink()
    assert nearest(small, [large], tmp_path, NESTED) is None


def test_whose_beginning_is_gone_is_told(tmp_path: Path) -> None:
    (large,) = trained(tmp_path, LARGE)
    small, told = large.with_(number=4, inherited_from=0), list[str]()
    assert again(small, tmp_path, told.append) == Ancestor(0, trial_folder(tmp_path, 0)) and not told
    assert again(large, tmp_path, told.append) is None and not told
    (trial_folder(tmp_path, 0) / WEIGHTS).unlink()
    assert again(small, tmp_path, told.append) is None
    assert told == ["the student of trial 0, with which trial 4 began, is gone; the teacher replaces it"]


def test_the_axis_of_the_beginning_is_no_part_of_a_student() -> None:
    theirs, ours = (
        {"layers": 4, "map": "spread", "init": "importance"},
        {"layers": 2, "map": "spread", "init": "projection"},
    )
    assert contains(theirs, ours, ("layers",), ("init",)) and not contains(theirs, ours, ("layers",))
    assert not contains(ours, theirs, ("layers",), ("init",))
    assert not contains(theirs, {**ours, "map": "last"}, ("layers",), ("init",))
    assert distance(theirs, ours, ("layers",)) == 1


def test_the_first_rows_and_columns_of_each_arrive() -> None:
    family, given = load_family("convnet"), {"family": "convnet", "input_size": 8, "channels": 1, "classes": 3}
    shape = {**given, "block": "plain", "stem_stride": 1, "stem": 16, "stages": [[32, 32], [64]]}
    large = family.build(shape)
    small = family.build({**shape, "stem": 8, "stages": [[16], [64]]})
    before = small.stages[1][0][0].weight.clone()
    share = overlap(small, large)
    assert torch.equal(small.stem[0].weight, large.stem[0].weight[:8])
    assert torch.equal(small.stages[0][0][0].weight, large.stages[0][0][0].weight[:16, :8])
    assert torch.equal(small.stages[1][0][0].weight, large.stages[1][0][0].weight[:, :16])
    assert not torch.equal(small.stages[1][0][0].weight, before) and share == 1
    assert torch.equal(small.classifier.weight, large.classifier.weight)
    # what fits nowhere stays as it was
    other = family.build({**shape, "stem": 32})
    before = other.stem[0].weight.clone()
    assert 0 < overlap(other, large) < 1 and torch.equal(other.stem[0].weight, before)


INPUT = TextInput(classes=3, max_length=16, vocabulary=40, used=40, token_types=2, layers=6, width=32, heads=4, ff=64)


@pytest.fixture
def text_bench() -> Any:
    torch.manual_seed(3)
    ids = torch.randint(1, 40, (8, 10))
    batch = SimpleNamespace(inputs=(ids,), rows=torch.arange(8))
    task = SimpleNamespace(
        view=lambda _: {}, batches=lambda *_, **__: SimpleNamespace(epoch=lambda _: iter([batch])), kept_pieces=None
    )
    return SimpleNamespace(families={"bert": load_family("bert")}, input=INPUT, task=task)


def text(**changes: Any) -> Any:
    family = load_family("bert")
    whole = {axis: dimension.start for axis, dimension in family.dimensions(INPUT).items()}
    values = {"layers": 4, "init": "importance", **changes}
    flat = {f"bert.{axis}": value for axis, value in {**whole, **values}.items()}
    return SimpleNamespace(
        student="bert", seed=1, section=lambda _: {k.removeprefix("bert."): v for k, v in flat.items()}
    )


@pytest.mark.parametrize("how", ["importance", "projection", "truncation"])
def test_a_text_student_keeps_the_layers_it_shares(how: str, text_bench: Any, tmp_path: Path) -> None:
    family = load_family("bert")
    shape = family.shape(text().section("bert"), INPUT)  # of the teacher's layers 0, 2, 3, 5
    larger = family.build(shape)
    save_student(trial_folder(tmp_path, 0), TorchArtifact(larger, "bert", shape))
    small = build(text(layers=2, init=how), text_bench, ancestor=Ancestor(0, trial_folder(tmp_path, 0))).module
    for layer, of in ((0, 0), (1, 3)):
        for name, tensor in small.layers[layer].state_dict().items():
            assert torch.equal(tensor, larger.layers[of].state_dict()[name]), name
    assert torch.equal(small.word.weight, larger.word.weight)
    assert torch.equal(small.classifier.weight, larger.classifier.weight)
    narrow = build(text(layers=2, init=how, ff=32), text_bench, ancestor=Ancestor(0, trial_folder(tmp_path, 0))).module
    kept = narrow.layers[0].ff_out.weight.T
    whole = larger.layers[0].ff_out.weight.T
    assert all((row == whole).all(1).any() for row in kept) and len(kept) == 32


def test_the_search_says_with_whom_a_student_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in: Any
) -> None:
    began: list[int | None] = []

    def run(number: int, one: Any, bench: Any, step: Any, ancestor: Any, **_: Any) -> TrialRecord:
        began.append(None if ancestor is None else ancestor.number)
        folder = bench.workspace.trial(number)
        folder.mkdir(parents=True)
        for name in (SHAPE, WEIGHTS):
            (folder / name).write_text("{}")
        return synthetic.record(number, one, bench, step)

    def prepare(*given: Any) -> Any:
        made = synthetic.bench(*given)
        made.families = {"convnet": load_family("convnet")}
        return made

    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    monkeypatch.setattr(loop, "drop_models", lambda *_: [])
    monkeypatch.setattr(loop, "Tracker", Untracked)
    monkeypatch.setattr(loop, "run_trial", run)
    store_in(tmp_path / "mlruns")
    space = {
        "students": ["convnet"],
        "convnet": {"block": "plain", "stem_stride": 1, "resolution": 16, "stages": 2},
        "prune": {"ratio": 0},
    }

    def began_with(inherit: str) -> list[tuple[int | None, dict[str, Any]]]:
        began.clear()
        changes = {"space": space, "recipes": "none", "sampler": "random", "trials": {"inherit": inherit}}
        config = synthetic.config(12, name=inherit, **changes)
        workspace = synthetic.workspace(tmp_path / "mlruns", config)
        loop.run_search(config, workspace, Heard(), prepare=prepare)
        sizes = [record.candidate.section("convnet") for record in read_records(workspace.folder)]
        return list(zip(began, sizes, strict=True))

    assert all(number is None for number, _ in began_with("teacher"))
    found = began_with("nearest")
    assert any(number is not None for number, _ in found)
    for place, (number, ours) in enumerate(found):
        axes = ("width", "depth")
        larger = [
            before for before in range(place) if contains(found[before][1], ours, axes) and found[before][1] != ours
        ]
        assert (number in larger) if larger else number is None
