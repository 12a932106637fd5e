from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline import tasks
from pipeline.errors import Refused
from pipeline.stages.distill_loss import HiddenTargets, Loss, Weights, hard_scale, soft_scale, soft_term
from pipeline.teacher_cache import TeacherTargets
from pipeline.training import Batch


def _all_rows(task: tasks.Task, mirrored: bool = False) -> Batch:
    rows = torch.arange(task.rows("train"))
    return Batch(torch.empty(0), rows, torch.full((len(rows),), mirrored))


def _constant_logits(targets: TeacherTargets, temperature: float) -> torch.Tensor:
    """What the best student answers that ignores its input: logits of the mean softened answer."""
    mean = (torch.from_numpy(targets.logits("train")) / temperature).softmax(1).mean(0)
    return (temperature * mean.log()).expand(len(targets.logits("train")), -1)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 10.0])
def test_a_constant_answer_scores_one_in_the_soft_term(
    task: tasks.Task, targets: TeacherTargets, temperature: float
) -> None:
    loss = Loss(task, targets, {"temperature": temperature, "soft_weight": 2.0})
    assert float(loss(_constant_logits(targets, temperature), None, _all_rows(task))) == pytest.approx(1.0, abs=1e-4)


def test_a_constant_answer_scores_one_in_the_hard_term(task: tasks.Task, targets: TeacherTargets) -> None:
    shares = torch.from_numpy(np.bincount(task.labels("train"), minlength=10) / task.rows("train")).float()
    loss = Loss(task, targets, {"hard_weight": 1.0})
    assert float(loss(shares.log().expand(task.rows("train"), -1), None, _all_rows(task))) == pytest.approx(
        1.0, abs=1e-4
    )


def test_a_constant_answer_scores_one_in_the_hidden_term(task: tasks.Task, targets: TeacherTargets) -> None:
    loss = Loss(task, targets, {"hidden_weight": 1.0})
    assert loss.hidden is not None
    nothing = torch.zeros(task.rows("train"), len(loss.hidden.alive))
    found = float(loss(torch.zeros(task.rows("train"), 10), nothing, _all_rows(task)))
    assert found == pytest.approx(1.0, abs=2e-2)  # the features are kept in half precision


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_all_terms_together_are_one_whatever_the_weights(
    task: tasks.Task, targets: TeacherTargets, temperature: float
) -> None:
    loss = Loss(task, targets, {"temperature": temperature, "soft_weight": 3.0, "hard_weight": 1.0})
    even = torch.zeros(task.rows("train"), 10)  # the classes are all but equally common
    assert float(loss(even, None, _all_rows(task))) == pytest.approx(1.0, abs=0.05)


def test_the_teacher_itself_scores_nothing_in_the_soft_term(task: tasks.Task, targets: TeacherTargets) -> None:
    loss = Loss(task, targets, {"temperature": 2.0, "soft_weight": 1.0})
    assert float(loss(torch.from_numpy(targets.logits("train")), None, _all_rows(task))) == pytest.approx(0, abs=1e-6)


def test_the_soft_term_by_hand() -> None:
    # teacher: probabilities 0.8, 0.2; student: 0.5, 0.5; temperature 2 halves the logits first
    teacher = torch.tensor([[2 * math.log(4.0), 0.0]])
    wanted = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert float(soft_term(torch.zeros(1, 2), teacher, 2.0)) == pytest.approx(wanted, rel=1e-5)
    both = torch.cat([teacher, teacher.flip(1)])  # their mean is 0.5, 0.5
    assert soft_scale(both, 2.0) == pytest.approx(wanted, rel=1e-5)


def test_the_hard_scale_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    assert hard_scale(labels, torch.ones(2)) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert hard_scale(labels, torch.tensor([1.0, 3.0])) == pytest.approx(math.log(2))


class _FourRows:
    """A task of four labelled rows; three rows without labels stand behind them."""

    def labels(self, _: str) -> np.ndarray:
        return np.array([0, 0, 0, 1])

    def class_weight_vector(self) -> np.ndarray:
        return np.array([1.0, 3.0], dtype=np.float32)


def _seven_answers() -> TeacherTargets:
    sure = 2 * math.log(4.0)  # 0.8 to 0.2 at temperature 2
    train = np.array([[sure, 0], [0, sure], [sure, 0], [0, sure]], dtype=np.float32)
    features = np.array([[-1, 5], [1, 5], [-1, 5], [1, 5]], dtype=np.float16)
    views = {
        ("train", "plain"): (train, features),
        ("transfer", "plain"): (train[:1], np.array([[3, 5]], dtype=np.float16)),
        ("replaced", "plain"): (np.zeros((2, 2), dtype=np.float32), np.array([[0, 5], [2, 5]], dtype=np.float16)),
    }
    return TeacherTargets(views, ("transfer", "replaced"))


def test_rows_without_labels_have_every_term_but_the_hard_one_by_hand() -> None:
    loss = Loss(_FourRows(), _seven_answers(), {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 1.0})  # type: ignore[arg-type]
    rows = torch.tensor([0, 3, 4, 6])  # two labelled ones, one of transfer, one replaced
    logits = torch.tensor([[math.log(3.0), 0.0]] * 4)  # 0.75 to 0.25
    half = math.sqrt(3.0) / (1 + math.sqrt(3.0))  # the first class's probability at temperature 2

    def divergence(first: float) -> float:
        return first * math.log(first / half) + (1 - first) * math.log((1 - first) / (1 - half))

    soft = (divergence(0.8) + divergence(0.2) + divergence(0.8) + divergence(0.5)) / 4
    soft /= 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)  # of the training rows alone, whose mean is 0.5
    hard = (1 * -math.log(0.75) + 3 * -math.log(0.25)) / (1 + 3) * 2 / 4  # two rows of four
    hard /= math.log(2)  # the weighted shares of the classes are even
    found = loss(logits, None, Batch((), rows, torch.zeros(4, dtype=torch.bool)))
    assert float(found) == pytest.approx(0.5 * soft + 0.5 * hard, rel=1e-5)


def test_a_batch_without_any_labelled_row_teaches_all_the_same() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    batch = Batch((), torch.tensor([5, 6]), torch.zeros(2, dtype=torch.bool))
    for settings, teaches in (({"soft_weight": 1.0, "hard_weight": 1.0}, True), ({"hard_weight": 1.0}, False)):
        logits.grad = None
        loss = Loss(_FourRows(), _seven_answers(), settings)  # type: ignore[arg-type]
        found = loss(logits, None, batch)
        found.backward()
        assert logits.grad is not None
        assert (found.item() > 0, bool(logits.grad.any())) == (teaches, teaches)
        assert torch.isfinite(logits.grad).all()


def test_hidden_states_of_rows_without_labels_are_standardised_by_the_labelled_ones() -> None:
    hidden = HiddenTargets.of(_seven_answers())
    rows = torch.tensor([6, 0, 4, 3, 5])  # mean 0 and standard deviation 1; the second unit never fires
    found = hidden(Batch((), rows, torch.zeros(5, dtype=torch.bool)))
    assert found.tolist() == [[2.0], [-1.0], [3.0], [1.0], [0.0]]


def test_weights_are_shares() -> None:
    assert Weights.of({"soft_weight": 3.0, "hard_weight": 1.0}) == Weights(0.75, 0.25, 0.0, 0.25)
    inside = {"soft_weight": 1.0, "hidden_weight": 0.5, "hidden_of": "last", "attention_weight": 0.5}
    assert Weights.of(inside) == Weights(0.5, 0.0, 0.0, 0.5)  # the guide multiplies its own weights by the last
    for bad in ({}, {"soft_weight": 0.0}, {"soft_weight": -1.0, "hard_weight": 2.0}):
        with pytest.raises(Refused, match="leave nothing to learn"):
            Weights.of(bad)


def test_mirrored_samples_meet_the_mirrored_answers(task: tasks.Task, targets: TeacherTargets) -> None:
    loss = Loss(task, targets, {"temperature": 2.0, "soft_weight": 1.0})
    logits = torch.from_numpy(targets.logits("train", "mirrored"))
    assert float(loss(logits, None, _all_rows(task, mirrored=True))) == pytest.approx(0, abs=1e-6)
    assert float(loss(logits, None, _all_rows(task, mirrored=False))) > 0.01
    hidden = HiddenTargets.of(targets)
    assert not torch.equal(hidden(_all_rows(task, mirrored=True)), hidden(_all_rows(task, mirrored=False)))


def test_a_unit_that_never_fires_is_left_out(targets: TeacherTargets) -> None:
    logits = targets.logits("train")
    features = np.column_stack([logits[:, :2], np.full(len(logits), 5.0)]).astype(np.float16)
    dead = TeacherTargets({("train", "plain"): (logits, features)})
    assert HiddenTargets.of(dead).alive.tolist() == [0, 1]
