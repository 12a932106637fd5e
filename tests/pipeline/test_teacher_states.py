"""Hidden states that are kept: the teacher's own, at the right tokens, computed once, within their bound."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_encoder_guide import bert, shares

from pipeline import teacher_states
from pipeline.stages.encoder_guide import Guide
from pipeline.teacher_states import TeacherStates
from pipeline.training import Batch

LENGTHS = [3, 12, 5, 5, 9, 4, 11, 7, 3, 6]
TOKENS = sum(LENGTHS)


class Texts:
    """Ten texts of 3 to 12 pieces, in batches of rows that stand in no order."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.ids = [torch.randint(0, 30, (length,), generator=generator) for length in LENGTHS]

    def batch(self, rows: list[int]) -> Batch:
        width = max(LENGTHS[row] for row in rows)
        ids, mask = torch.zeros((len(rows), width), dtype=torch.long), torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : LENGTHS[row]], mask[place, : LENGTHS[row]] = self.ids[row], 1
        return Batch((ids, mask), torch.tensor(rows), torch.zeros(len(rows), dtype=torch.bool))

    def in_order(self, batch_size: int = 256) -> Iterator[Batch]:  # noqa: ARG002 - as batches do
        for rows in ([8, 0, 5], [2, 3, 9], [7, 4, 6, 1]):
            yield self.batch(rows)


class Asked:
    """A teacher that counts how often it is asked."""

    def __init__(self, module: Any) -> None:
        self.module, self.times = module, 0

    def __call__(self) -> Any:
        self.times += 1
        return self.module


def store(folder: Path, gb: float = 1.0, told: list[str] | None = None) -> TeacherStates:
    return TeacherStates(folder / "states", gb * 1e9, ("teacher", "data"), (told if told is not None else []).append)


def test_they_are_the_teachers_at_every_token_and_nothing_at_padding(tmp_path: Path) -> None:
    teacher, texts = bert(3), Texts()
    held = store(tmp_path).of(lambda: teacher, texts, {}, ["embedded", 0, 2])  # type: ignore[arg-type]
    assert held is not None
    for rows in ([1, 0], [9, 8, 7, 6, 5, 4, 3, 2], [3]):
        batch = texts.batch(rows)
        states, there = teacher.states(*batch.inputs), batch.inputs[1].bool()
        found = held(batch)
        assert found is not None
        for mine, wanted in zip(found, [states.embedded, states.hidden[0], states.hidden[2]], strict=True):
            assert torch.allclose(mine[there], wanted[there], atol=5e-3)
            assert not mine[~there].any()


@pytest.mark.parametrize("which", ["last", "all"])
def test_a_guide_that_reads_them_says_what_one_says_that_asks(which: str, tmp_path: Path) -> None:
    teacher, student, texts = bert(4), bert(2, seed=3), Texts()
    wanted, batch = shares(hidden_weight=1.0, hidden_of=which), texts.batch([4, 1, 8])
    held = store(tmp_path).of(lambda: teacher, texts, {}, wanted.held_layers([1, 3], 3))  # type: ignore[arg-type]
    asking = Guide(student, teacher, [1, 3], wanted, texts.in_order())
    reading = Guide(student, copy.deepcopy(teacher), [1, 3], wanted, texts.in_order(), held)
    reading._teacher[0].states = lambda *_: pytest.fail("it asked")  # type: ignore[attr-defined]
    states = student.states(*batch.inputs)
    assert float(reading(states, batch).detach()) == pytest.approx(float(asking(states, batch).detach()), rel=2e-3)


def test_attention_and_relations_are_never_held() -> None:
    assert shares(hidden_weight=1.0, hidden_of="all", attention_weight=0.1).held_layers([0, 1], 1) == []
    assert shares(hidden_weight=1.0, hidden_of="last", relation_weight=0.1).held_layers([0, 1], 1) == []


def test_each_layer_is_computed_once_for_all_searches(tmp_path: Path) -> None:
    texts, asked, told = Texts(), Asked(bert(3)), list[str]()
    for layers in (["embedded", 0], [0, "embedded"], [0, 2], [2]):
        assert store(tmp_path, told=told).of(asked, texts, {}, layers) is not None  # type: ignore[arg-type]
    assert asked.times == 2
    assert [line.split(": ")[1] for line in told] == ["embedded, 0", "2"]
    other = store(tmp_path).of(asked, texts, {"max_length": 8}, [2])  # type: ignore[arg-type]
    assert other is not None and asked.times == 3  # read otherwise, they are other states


def test_what_does_not_fit_is_not_kept_and_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, asked, told = Texts(), Asked(bert(3)), list[str]()
    one = 2 * TOKENS * 16 / 1e9  # a layer of width 16 in half precision
    tight = store(tmp_path, one + 1e-6, told)  # and a thousand bytes for heads
    assert tight.of(asked, texts, {}, [0, 1]) is None  # type: ignore[arg-type]
    assert "limits.states_gb" in told[-1] and not list(tmp_path.rglob("[0-9].npy"))
    assert tight.of(asked, texts, {}, [0]) is not None  # type: ignore[arg-type]
    assert tight.of(asked, texts, {}, [0, 1]) is None  # type: ignore[arg-type]
    monkeypatch.setattr(teacher_states.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9 + 100))
    assert store(tmp_path, told=told).of(asked, texts, {}, [1]) is None  # type: ignore[arg-type]


def test_rows_behind_those_of_train_are_asked_for(tmp_path: Path) -> None:
    held = store(tmp_path).of(lambda: bert(2), Texts(), {}, [1])  # type: ignore[arg-type]
    assert held is not None
    ids = torch.ones((2, 3), dtype=torch.long)
    assert held(Batch((ids, ids), torch.tensor([0, len(LENGTHS)]), torch.zeros(2, dtype=torch.bool))) is None


def test_a_computation_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class Breaking(Texts):
        def in_order(self, batch_size: int = 256) -> Iterator[Batch]:  # noqa: ARG002
            yield self.batch([0])
            raise KeyboardInterrupt

    whole = store(tmp_path).of(lambda: bert(2), Texts(), {}, [0])  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).of(lambda: bert(2), Breaking(), {}, [1])  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("1.npy")) and not list(tmp_path.rglob(".*"))
    assert whole is not None and np.isfinite(whole.layers[0]).all()
