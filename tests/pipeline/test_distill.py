from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learning_helper import digits, made_targets, tiny_student

from pipeline import tasks
from pipeline.errors import Failed, Refused
from pipeline.stages.distill import distill, gradient_batches, recover
from pipeline.teacher_cache import TeacherTargets

SETTINGS = {"temperature": 4.0, "soft_weight": 1.0, "hard_weight": 0.5, "learning_rate": 0.01, "epochs": 3}


def test_distilling_teaches(task: tasks.Task, targets: TeacherTargets) -> None:
    told: list[dict[str, float]] = []
    settings = {**SETTINGS, "hidden_weight": 0.5, "augment": "none", "epochs": 40, "learning_rate": 0.03}
    student, curve = distill(
        tiny_student(), task, targets, settings, seed=1, on_epoch=lambda row: told.append(dict(row))
    )
    assert [row["epoch"] for row in curve] == list(range(1, 41))
    assert told == curve
    assert set(curve[0]) == {"epoch", "loss", "rung_accuracy", "seconds"}
    assert curve[0]["loss"] == pytest.approx(1.0, abs=0.5)  # the terms are normalised
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    assert curve[-1]["rung_accuracy"] > 0.3
    assert not student.module.training


def test_distilling_is_deterministic(task: tasks.Task, targets: TeacherTargets) -> None:
    settings = {**SETTINGS, "hidden_weight": 1.0, "augment": "flip_shift", "epochs": 1}
    found = [distill(tiny_student(), task, targets, settings, seed=seed)[0] for seed in (3, 3, 4)]
    first, again, other = (artifact.module.classifier.weight for artifact in found)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_student_may_read_smaller_images(task: tasks.Task, targets: TeacherTargets) -> None:
    _, curve = distill(tiny_student(input_size=6), task, targets, {**SETTINGS, "epochs": 1}, seed=0)
    assert len(curve) == 1


def test_recovery_goes_on_gently(task: tasks.Task, targets: TeacherTargets) -> None:
    student, before = distill(tiny_student(), task, targets, {**SETTINGS, "epochs": 10}, seed=0)
    _, after = recover(student, task, targets, SETTINGS, epochs=10, seed=0)
    assert len(after) == 10
    assert after[-1]["loss"] < before[-1]["loss"]
    assert recover(student, task, targets, SETTINGS, epochs=0, seed=0) == (student, [])


def test_what_cannot_be_had_is_refused(task: tasks.Task) -> None:
    bare = made_targets(task, features=None, mirrored=False)
    with pytest.raises(Refused, match=r"no pooled features"):
        distill(tiny_student(), task, bare, {**SETTINGS, "hidden_weight": 1.0}, seed=0)
    with pytest.raises(Refused, match=r"flip_shift needs the teacher's mirrored answers"):
        distill(tiny_student(), task, bare, {**SETTINGS, "augment": "flip_shift"}, seed=0)


def test_a_passed_deadline_and_a_stop_from_outside_end_it(task: tasks.Task, targets: TeacherTargets) -> None:
    with pytest.raises(Failed, match="time limit"):
        distill(tiny_student(), task, targets, SETTINGS, seed=0, deadline=0.0)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(tiny_student(), task, targets, SETTINGS, seed=0, on_epoch=stop)


def test_gradient_batches_add_gradients_and_change_nothing_else(task: tasks.Task, targets: TeacherTargets) -> None:
    student = tiny_student()
    before = {name: value.clone() for name, value in student.module.state_dict().items()}
    student.module.eval()
    gradient_batches(task, targets, student, {**SETTINGS, "hidden_weight": 1.0}, seed=0, batches=2)(student.module)
    assert all(parameter.grad is not None for parameter in student.module.parameters())
    assert all(torch.equal(before[name], value) for name, value in student.module.state_dict().items())


def test_labels_alone_teach_too(targets: TeacherTargets, tmp_path: Path) -> None:
    weighted = digits(tmp_path, class_weights={"3": 5.0})
    _, curve = distill(tiny_student(), weighted, targets, {**SETTINGS, "soft_weight": 0.0, "epochs": 2}, seed=0)
    assert curve[-1]["loss"] < curve[0]["loss"] < 1.6
