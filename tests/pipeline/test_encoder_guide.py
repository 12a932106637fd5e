"""The inner losses of a text student: what they compare, and that they start at 1 and end at 0."""

from __future__ import annotations

import copy

import pytest
import torch

from pipeline.stages.encoder_guide import Guide, Shares
from pipeline.training import Batch
from search_spaces import load_family


def bert(layers: int, width: int = 16, heads: int = 2, seed: int = 0, spread: float = 0.3) -> torch.nn.Module:
    shape = {
        "family": "bert",
        "max_length": 12,
        "vocabulary_kind": "full",
        "vocabulary": 30,
        "token_types": 1,
        "width": width,
        "head_width": 8,
        "eps": 1e-12,
        "classes": 2,
        "layers": [{"heads": heads, "ff": 32}] * layers,
        "taken": list(range(layers)),
    }
    torch.manual_seed(seed)
    module = load_family("bert").build(shape)
    for part in module.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Embedding):
            torch.nn.init.normal_(part.weight, std=spread)
    return module.eval()


def batches(count: int = 4) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    made = []
    for _ in range(count):
        ids = torch.randint(0, 30, (8, 12), generator=generator)
        lengths = torch.randint(3, 13, (8, 1), generator=generator)
        mask = (torch.arange(12) < lengths).long()
        made.append(Batch((ids, mask), torch.arange(8), torch.zeros(8, dtype=torch.bool)))
    return made


def shares(**changes: object) -> Shares:
    return Shares.of({"hidden_weight": 0.0, "hidden_of": "pooled", **changes})  # type: ignore[dict-item]


ALL = shares(hidden_weight=0.5, hidden_of="all", attention_weight=0.3, relation_weight=0.2)


@pytest.mark.parametrize(
    "wanted",
    [
        ALL,
        shares(hidden_weight=1.0, hidden_of="last"),
        shares(attention_weight=1.0),
        shares(relation_weight=1.0),
    ],
)
def test_a_copy_of_the_teacher_has_nothing_to_learn(wanted: Shares) -> None:
    teacher = bert(3)
    student = copy.deepcopy(teacher)
    guide = Guide(student, teacher, [0, 1, 2], wanted, batches())
    batch = batches(1)[0]
    assert float(guide(student.states(*batch.inputs), batch).detach()) == pytest.approx(0.0, abs=1e-5)


def test_half_of_the_layers_are_compared_with_those_they_stand_for() -> None:
    teacher = bert(4)
    student = copy.deepcopy(teacher)
    student.layers = torch.nn.ModuleList([student.layers[1], student.layers[3]])
    batch = batches(1)[0]
    right = Guide(student, teacher, [1, 3], shares(hidden_weight=1.0, hidden_of="all"), batches())
    wrong = Guide(student, teacher, [0, 2], shares(hidden_weight=1.0, hidden_of="all"), batches())
    states = student.states(*batch.inputs)
    assert float(right(states, batch).detach()) < float(wrong(states, batch).detach())


def test_other_widths_and_heads_are_projected_and_learned() -> None:
    teacher, student = bert(3), bert(2, width=8, heads=1, seed=1)
    guide = Guide(student, teacher, [0, 2], ALL, batches())
    trained = [*student.parameters(), *guide.parameters()]
    before = [parameter.detach().clone() for parameter in teacher.parameters()]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    losses = []
    for _ in range(40):
        batch = batches(1)[0]
        loss = guide(student.states(*batch.inputs), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(old, new) for old, new in zip(before, teacher.parameters(), strict=True))
    assert {name.split(".")[0] for name, _ in guide.named_parameters()} == {"projections"}


def test_a_student_that_ignores_its_input_scores_about_one() -> None:
    teacher, student = bert(3), bert(3, seed=2)
    batch = batches(1)[0]
    guide = Guide(student, teacher, [0, 1, 2], shares(attention_weight=1.0), batches())
    states = student.states(*batch.inputs)
    for scores in states.scores:
        scores.zero_()
    assert 0.8 < float(guide(states, batch).detach()) < 2.5  # a constant of 0 is nearly the best one


def test_pooled_features_are_no_inner_term() -> None:
    assert not shares(hidden_weight=1.0).any
    assert shares(hidden_weight=1.0, hidden_of="last").any
