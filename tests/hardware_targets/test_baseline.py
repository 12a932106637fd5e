"""What a device is known to take from session to session, and what happens when it takes something else."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import tiny_models

from hardware_targets import Latency, Measurement, local_cpu
from hardware_targets._baseline import Baseline, DeviceFile, Seen, own_resolution, reference_key
from hardware_targets._blocks import Record, Times
from hardware_targets.local_cpu import Target

INPUTS = 8


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("NIWAKI_CACHE", str(tmp_path / "cache"))
    return {
        "small": tiny_models.multiply(tmp_path / "small.onnx", width=8, layers=1),
        "big": tiny_models.multiply(tmp_path / "big.onnx", width=8, layers=2),
        "feeds": tiny_models.feeds(tmp_path / "feeds", rows=INPUTS, width=8),
    }


class Sessions:
    """Stands in for the measuring processes: the reference takes `ms` in turn, the candidate half of the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ms: float, void: Container[int] = ()) -> None:
        self._ms, self._void = list(ms), void
        self.first = ms[0]
        self.jobs: list[Mapping[str, Any]] = []
        monkeypatch.setattr(local_cpu, "sit", self._sit)

    def _sit(self, job: Mapping[str, Any], *_: object, **__: object) -> tuple[dict[str, Any], Record]:
        self.jobs.append(job)
        ms = self._ms.pop(0)
        itself = job["model"] == job["reference"]
        sides = [_times(ms if itself else self.first / 2, 1), _times(ms, 2)]
        voided = 9 if len(self.jobs) - 1 in self._void else 0
        record = Record(tuple(sides), (1.0,), 9, 9, True, rounds=9, voided=voided)
        shape = {"sets": [[row] for row in range(INPUTS)], "blocks": 3}
        return {"shape": shape, "conditions": fakes.conditions(), "peak_bytes": 1, "notes": []}, record


def _times(ms: float, seed: int) -> Times:
    values = 1e6 * ms * np.exp(1e-4 * np.random.default_rng(seed).standard_normal((9, INPUTS, 3)))
    return Times(values, values, values < 0, alike=True)


def measure(files: Mapping[str, Path], model: str = "small", tier: Any = "trial") -> Measurement:
    target = Target()
    target._null_peak = 1  # found by a real process otherwise
    return target.measure(files[model], files["feeds"], files["big"], files["feeds"], seed=0, tier=tier)


def said(found: Measurement) -> list[str]:
    return [warning for warning in found.warnings if "reference t" in warning]


def test_a_new_process_knows_what_the_sessions_before_have_shown(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(monkeypatch, 4.0, 4.02, 3.98, 4.01)
    first = measure(files).latency
    assert (first.reference_drift, first.between_sessions, first.sessions) == (None, None, 0)
    measure(files)
    last = [measure(files).latency for _ in range(2)][-1]
    assert sessions.jobs[0]["known_ms"] == {}
    assert sessions.jobs[3]["known_ms"] == {str(INPUTS): pytest.approx(3.98, rel=1e-3)}  # waits for the fastest
    assert last.reference_drift == pytest.approx(math.log(4.01 / 4.0), abs=1e-4)  # from the usual one
    assert last.sessions == 4 and last.between_sessions == pytest.approx(
        np.std(np.log([4, 4.02, 3.98, 4.01]), ddof=1), rel=0.02
    )


def test_a_drift_that_lasts_is_said_and_qualifies_the_device_anew(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(monkeypatch, 4.0, 4.0, 4.12, 4.11, 4.12)
    before = [measure(files) for _ in range(2)][-1]
    drifted = measure(files)
    assert [job["model"] == job["reference"] for job in sessions.jobs] == [False, False, False, True]
    assert sessions.jobs[3]["tier"] == "trial" and sessions.jobs[3]["known_ms"] == {}
    assert len(said(drifted)) == 1
    assert "has drifted: the reference takes 4.12 ms, 3.0% slower than it was known to (4 ms)" in said(drifted)[0]
    assert drifted.latency.reference_drift == pytest.approx(math.log(1.03), abs=1e-3)
    assert before.conditions.qualified_at and drifted.conditions.qualified_at
    assert before.conditions.qualified_at < drifted.conditions.qualified_at
    assert before.conditions.fingerprint == drifted.conditions.fingerprint
    again = measure(files)
    assert said(again) == [] and len(sessions.jobs) == 5  # what it takes now is what is known
    assert again.latency.sessions == 5 and again.latency.between_sessions > 0.01  # the drift is part of the spread
    assert sessions.jobs[4]["known_ms"] == {str(INPUTS): pytest.approx(4.11, rel=1e-3)}


def test_an_odd_session_is_said_and_changes_nothing(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch, 4.0, 4.0, 4.12, 4.01, 4.0)
    before = [measure(files) for _ in range(2)][-1]
    odd = measure(files)
    assert len(said(odd)) == 1 and "4.01 ms against itself afterwards" in said(odd)[0]
    assert odd.conditions.qualified_at == before.conditions.qualified_at
    assert said(measure(files)) == [] and len(sessions.jobs) == 5


def test_a_disturbed_second_look_changes_nothing(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch, 4.0, 4.0, 4.12, 4.4, 4.12, 4.12, void=[3])
    first, _, odd = (measure(files) for _ in range(3))
    assert said(odd) and odd.conditions.qualified_at == first.conditions.qualified_at
    assert "has drifted" in said(measure(files))[0] and len(sessions.jobs) == 6  # asked again, and answered


def test_less_than_can_be_told_is_no_drift(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch, 4.0, 4.05, 4.05)
    assert [said(measure(files)) for _ in range(3)] == [[], [], []] and len(sessions.jobs) == 3
    coarse = Baseline(None, 0.04, (Seen("2026", INPUTS, 4.0),))
    assert not coarse.drifted(coarse.moved(4.12, INPUTS))  # two copies of it differed by as much
    assert coarse.moved(4.12, INPUTS + 1) is None  # other inputs: another work


@pytest.mark.parametrize(("tier", "void"), [("screen", []), ("trial", [0])])
def test_a_short_or_a_void_session_is_no_knowledge(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tier: str, void: list[int]
) -> None:
    Sessions(monkeypatch, 4.0)
    measure(files)
    sessions = Sessions(monkeypatch, 5.0, void=void)
    assert measure(files, tier=tier).latency.reference_drift is None
    assert len(sessions.jobs) == 1
    assert sessions.jobs[0]["known_ms"] == {str(INPUTS): pytest.approx(4.0, rel=1e-3)}


def test_another_references_knowledge_ends_with_the_same_drift(tmp_path: Path) -> None:
    device = DeviceFile("f", tmp_path)
    device.add("one", [(4.0, 8)], 0.01, anew=False)
    device.add("two", [(1.0, 8)], None, anew=False)
    device.add("one", [(4.4, 8)], None, anew=True)
    assert device.baseline("two").fastest_ms() == {} and len(device.baseline("two").seen) == 1
    assert device.baseline("one").fastest_ms() == {8: 4.4} and device.baseline("one").resolution == 0.01


def test_one_fast_moment_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    device, waited_for = DeviceFile("f", tmp_path), []
    for ms in (4.0, 5.0, 5.1, 4.9, 5.2):
        device.add("one", [(ms, 8), (ms / 2, 32)], None, anew=False)
        waited_for.append(device.baseline("one").fastest_ms()[8])
    assert waited_for == [4.0, 4.0, 4.0, 4.9, 4.9]
    assert device.baseline("one").fastest_ms() == {8: 4.9, 32: 2.45}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"references": {"k": {"seen": 3}}}', '{"references": 7}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: str) -> None:
    device = DeviceFile("f", tmp_path)
    device.path.parent.mkdir()
    device.path.write_text(content)
    assert device.baseline("k") == Baseline()
    assert device.add("k", [(4.0, 8)], None, anew=False) is None
    assert device.baseline("k").fastest_ms() == {8: 4.0}


def test_what_cannot_be_kept_is_said(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NIWAKI_CACHE", str(tmp_path / "file"))
    Sessions(monkeypatch, 4.0)
    assert any("cannot be kept" in warning and "NIWAKI_CACHE" in warning for warning in measure(files).warnings)


def test_the_key_is_of_the_references_bytes_and_its_inputs(files: dict[str, Path], tmp_path: Path) -> None:
    def key(reference: str, **changes: object) -> str:
        return reference_key({"reference": str(files[reference]), "reference_feeds": str(files["feeds"]), **changes})

    wider = str(tiny_models.feeds(tmp_path / "wider", rows=INPUTS, width=9))
    other = str(tiny_models.feeds(tmp_path / "other", rows=INPUTS, width=8))
    assert len({key("big"), key("small"), key("big", reference_feeds=wider), key("big", limits={"cores": [0]})}) == 4
    assert key("big", reference_feeds=other) == key("big")  # other numbers of the same sizes are the same work


def test_the_resolution_of_a_model_against_itself() -> None:
    def itself(ratio: float) -> Latency:
        return fakes.latency(10 * ratio, 10.0, ratio_low=ratio / 1.01, ratio_high=ratio * 1.01)

    assert own_resolution(itself(1.005)) == pytest.approx(math.log(1.01))
    assert own_resolution(itself(1.03)) == pytest.approx(math.log(1.03) + math.log(1.01))


def test_the_file_holds_plain_figures_only(tmp_path: Path) -> None:
    device = DeviceFile("f", tmp_path)
    device.add("k", [(4.0, 8), (4.1, 8)], 0.01, anew=False)
    held = json.loads(device.path.read_text())
    assert [item[1:] for item in held["references"]["k"]["seen"]] == [[8, 4.0], [8, 4.1]]
    for _ in range(60):
        device.add("k", [(4.0, 8)], None, anew=False)
    assert len(device.baseline("k").seen) == 50
