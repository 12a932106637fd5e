"""What a pick tells of the model that it took."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from records_helper import make_record
from test_package import unreliable

from pipeline.choose import Choice
from pipeline.picking import _sentences
from pipeline.record import TrialRecord
from pipeline.workspace import Workspace


def told(record: TrialRecord) -> str:
    choice = Choice(record, record.metrics, (), None, (record.number,), {})
    report: Any = SimpleNamespace(quality="accuracy", energy_kind=None, energy_boundary=None, energy_source=None)
    workspace = Workspace(Path("elsewhere"), "pets")
    cost = {"sentences": []}
    return "\n".join(_sentences(choice, record, report, Path("out"), workspace, "best", "1", "image", cost))


def test_a_final_says_whose_it_is() -> None:
    assert "distilled in full" not in told(make_record(12))
    assert "it is trial 4 distilled in full" in told(make_record(12).with_(final_of=4))


def test_unreliable_times_say_so_and_how_to_better_them() -> None:
    assert "unreliable" not in told(make_record(12))
    said = told(unreliable(make_record(12)))
    assert "its times are unreliable" in said and "niwaki measure-pending pets --root elsewhere" in said
