"""A training that stops and goes on reaches the same bits as one that never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from learning_helper import made_targets, tiny_student, tokens
from test_encoder_guide import bert
from torch import nn

from pipeline import tasks
from pipeline.artifact import TorchArtifact
from pipeline.checkpoints import Checkpoints
from pipeline.errors import Failed
from pipeline.stages.distill import Begin, distill
from pipeline.tasks._buckets import TokenBatches
from pipeline.training_state import TrainingState
from search_spaces import ImageInput, load_family
from search_spaces.candidate import Candidate

SETTINGS = {
    "temperature": 4.0, "soft_weight": 1.0, "hard_weight": 0.5, "hidden_weight": 0.3, "learning_rate": 0.01,
    "epochs": 3, "augment": "flip_shift",
}  # fmt: skip
CANDIDATE = Candidate.of({"student": "tiny", "distill.epochs": 3}, 4)


class Left(Exception):
    """Stands for whatever ends a training between two epochs."""


def family(name: str) -> TorchArtifact:
    """A real student of the search space, in which a tenth of the features fall out by chance."""
    shape = ImageInput(1, 8, 10)
    kind = load_family(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        described = kind.shape({axis: each.start for axis, each in kind.dimensions(shape).items()}, shape)
        module = kind.build(described)
        module.classifier.register_forward_pre_hook(
            lambda layer, inputs: (nn.functional.dropout(inputs[0], 0.1, layer.training),)
        )
    return TorchArtifact(module, name, described)


@pytest.mark.parametrize("made", [tiny_student, lambda: family("convnet"), lambda: family("transformer")])
def test_it_goes_on_to_the_same_bits(made: Callable[[], TorchArtifact], task: tasks.Task, tmp_path: Path) -> None:
    targets, store, rows = made_targets(task), Checkpoints(tmp_path / "kept", 1e9), list[Any]()
    whole, straight = distill(made(), task, targets, SETTINGS, seed=4)

    def leave(_done: int, take: Callable[[], TrainingState]) -> None:
        store.save(CANDIDATE, take(), rows)
        raise Left

    with pytest.raises(Left):
        distill(made(), task, targets, SETTINGS, seed=4, on_epoch=rows.append, between=leave)
    torch.manual_seed(99)  # what happens elsewhere in the meantime does not matter
    kept = store.load(CANDIDATE.key)
    assert kept is not None and (kept.state.epoch, kept.seed, list(kept.curve)) == (1, 4, rows)
    begin = Begin(kept.state, kept.curve)
    resumed, curve = distill(made(), task, targets, SETTINGS, seed=4, begin=begin)
    assert [(row["epoch"], row["loss"], row["rung_accuracy"]) for row in curve] == [
        (row["epoch"], row["loss"], row["rung_accuracy"]) for row in straight
    ]
    ours, theirs = resumed.module.state_dict(), whole.module.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_so_does_an_encoder_that_is_shown_its_teachers_inside() -> None:
    """Projections into the teacher's width are trained too, and the first epoch learns the inside alone."""
    table = tokens(90, 20)  # of the 30 that the student knows, so part of its table does not learn
    task: Any = SimpleNamespace(
        labels=lambda _: np.arange(90) % 2, classes=("a", "b"), class_weight_vector=lambda: np.ones(2, np.float32),
        view=lambda _: {}, batches=lambda *_, **__: TokenBatches(table, pad=0, longest=12, batch_size=16),
    )  # fmt: skip
    settings = {
        **SETTINGS, "augment": "none", "hidden_of": "all", "attention_weight": 0.2, "relation_weight": 0.1,
        "first_stage": 0.34,
    }  # fmt: skip
    shape = {"family": "bert", "taken": [0, 1]}
    states: list[Begin] = []
    rows: list[Any] = []

    def keep(_: int, take: Callable[[], TrainingState]) -> None:
        states.append(Begin(take(), tuple(rows)))

    def learn(**more: Any) -> TorchArtifact:
        student = TorchArtifact(bert(2, width=8, heads=1, seed=3), "bert", shape)
        targets = made_targets(task, features=None, mirrored=False)
        return distill(student, task, targets, settings, seed=1, teacher=lambda: bert(3), **more)[0]

    whole = learn(on_epoch=rows.append, between=keep).module.state_dict()
    for begin in states:  # after the first stage, and an epoch later
        ours = learn(begin=begin).module.state_dict()
        assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_between_is_not_asked_after_the_last_epoch(task: tasks.Task) -> None:
    asked: list[int] = []
    distill(tiny_student(), task, made_targets(task), SETTINGS, seed=0, between=lambda done, _: asked.append(done))
    assert asked == [1, 2]


def test_seconds_go_on_counting(task: tasks.Task) -> None:
    states: list[TrainingState] = []
    targets = made_targets(task)
    distill(tiny_student(), task, targets, SETTINGS, seed=0, between=lambda _, take: states.append(take()))
    rows = [{"epoch": 1.0, "loss": 1.0, "rung_accuracy": 0.5, "seconds": 1000.0}]
    _, curve = distill(tiny_student(), task, targets, SETTINGS, seed=0, begin=Begin(states[0], rows))
    assert [row["epoch"] for row in curve] == [1, 2, 3] and curve[1]["seconds"] > 1000


def test_a_state_that_does_not_fit_ends_the_trial(task: tasks.Task) -> None:
    states: list[TrainingState] = []
    targets = made_targets(task)
    distill(tiny_student(), task, targets, SETTINGS, seed=0, between=lambda _, take: states.append(take()))
    other = TorchArtifact(nn.Sequential(), "tiny", tiny_student().shape)
    other.module.classifier = nn.Linear(3, 10)
    with pytest.raises(Failed, match="does not fit"):
        distill(other, task, targets, SETTINGS, seed=0, begin=Begin(states[0], []))


def test_moments_of_a_larger_table_do_not_fit_either() -> None:
    """As a checkpoint has them that was kept before only the rows that are shown were learned."""
    table, small = nn.Embedding(10, 2), nn.Parameter(torch.zeros(4, 2))
    optimizer, order = torch.optim.AdamW(table.parameters()), torch.Generator()
    table(torch.tensor([3])).sum().backward()
    optimizer.step()
    state = TrainingState.of(1, table, optimizer, order)
    with pytest.raises(Failed, match="another version"):
        state.put_back(table, torch.optim.AdamW([small]), order)
