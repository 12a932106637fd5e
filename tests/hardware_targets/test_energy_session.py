"""A counter in the measuring process, and which meter a target takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest

import hardware_targets
from hardware_targets import TargetError, UnknownPart, Unmeasured
from hardware_targets._counters import MeterFault, StepCounter
from hardware_targets._doubts import disturbance
from hardware_targets._energy_session import energy_session
from hardware_targets._null_model import write_null_model
from hardware_targets._void import throttled
from hardware_targets._window import EnergyPlan
from hardware_targets.local_cpu import Target

HOME = Path(hardware_targets.__file__).parent

MADE_UP = """
import time
from hardware_targets._counters import StepCounter
class Meter:
    name, kind, boundary, period_s, lag_s, window_s = "made_up", "measured", "package", 0.001, 0.0, 0.2
    def unavailable(self): return None
    def source(self): return "5 W and 20 W more while this process computes"
    def open(self):
        joules = lambda: 5 * time.monotonic() + 20 * time.process_time()
        return StepCounter("it", joules, time.monotonic, period_s=0.001)
"""
MEASURE = """
import json, sys
from pathlib import Path
import hardware_targets
target = hardware_targets.load("local_cpu", meter=sys.argv[3], seconds=1.0)
model, feeds = Path(sys.argv[1]), Path(sys.argv[2])
first = target.measure(model, feeds, model, feeds, seed=0).to_json()["energy"]
qualified = target._qualified
second = target.measure(model, feeds, model, feeds, seed=0).to_json()["energy"]
screen = target.measure(model, feeds, model, feeds, seed=0, tier="screen").to_json()["energy"]
print(json.dumps([hardware_targets.__file__, qualified, target._qualified, first, second, screen]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package alone in a folder, with one more meter, and with neighbours on this machine overlooked."""
    copy = tmp_path / "hardware_targets"
    shutil.copytree(HOME, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "meters" / "made_up.py").write_text(MADE_UP)
    doubts = (copy / "_void.py").read_text()
    lenient = doubts.replace("\nSTEAL = 0.005", "\nSTEAL = 9").replace("\nFOREIGN = 0.02", "\nFOREIGN = 9")
    assert lenient != doubts
    (copy / "_void.py").write_text(lenient)
    return tmp_path


def test_a_counter_is_read_while_the_models_run(package: Path) -> None:
    model, feeds = write_null_model(package)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(model), str(feeds), "made_up"],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    place, qualified, kept, first, second, screen = json.loads(done.stdout)
    assert "a screen reads no counter" in screen["unmeasured"]
    assert kept == qualified  # a counter is tried once, and its idle baseline taken once
    assert Path(place).is_relative_to(package)
    assert qualified["load_w"] > 2 * qualified["idle_w"] > 5
    for energy in (first, second):
        assert (energy["kind"], energy["boundary"], energy["meter"]) == ("measured", "package", "made_up")
        assert energy["ratio_low"] < 1.5 and energy["ratio_high"] > 0.67
        assert 0 < energy["net_mj"] < energy["mj"]
        assert energy["source"].startswith("5 W and 20 W more")


class Made:
    """A counter in this process: a constant power, and more of it while something computes here."""

    name, kind, boundary, period_s, lag_s, window_s = "made", "measured", "package", 0.001, 0.0, 0.1

    def __init__(self, busy_w: float = 20.0, opens: bool = True) -> None:
        self.busy_w, self.opens = busy_w, opens

    def unavailable(self) -> str | None:
        return None

    def source(self) -> str:
        return "made"

    def open(self) -> StepCounter:
        if not self.opens:
            raise MeterFault("the sensor has gone; plug it in")

        def joules() -> float:
            return 5 * time.monotonic() + self.busy_w * time.process_time()

        return StepCounter("made", joules, time.monotonic, period_s=0.001)

    def watch(self) -> Callable[[], str | None]:
        return lambda: None


def compute(row: int) -> None:
    sum(range(2000 + row))


def session(counter: Made, qualified: dict[str, float] | None = None) -> dict[str, Any]:
    plan = EnergyPlan(idle_s=0.2, look_s=0.2)
    return energy_session(counter, compute, compute, 4, seed=0, qualified=qualified, plan=plan)


def test_what_a_session_could_not_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardware_targets._energy_session.disturbance", lambda *_, **__: None)
    assert session(Made(opens=False))["energy"] == {"unmeasured": "the sensor has gone; plug it in"}
    deaf = session(Made(busy_w=0.0))
    assert "does not respond to this device" in deaf["energy"]["unmeasured"] and deaf["qualified"] is None
    fine = session(Made())
    assert fine["energy"]["kind"] == "measured" and fine["qualified"]["idle_w"] > 0
    json.dumps(fine, allow_nan=False)


def test_a_disturbed_session_has_no_figure_but_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hardware_targets._energy_session.disturbance", lambda *_, **__: "the processor was hot; cool it"
    )
    known = {"period_s": 0.001, "idle_w": 5.0, "load_w": 25.0}
    found = session(Made(), known)
    assert "the processor was hot" in found["energy"]["unmeasured"] and found["qualified"] == known


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({"steal_share": 0.006}, {}, "withheld 0.6%"),
        ({"foreign_share": 0.03}, {}, "other processes used 3%"),
        ({}, {"throttled": 1}, "held its clocks down"),
        ({}, {"supply_changed": True}, "between mains and battery"),
        ({"steal_share": 0.004, "foreign_share": 0.01}, {}, None),
        ({"steal_share": None, "foreign_share": None}, {}, None),
    ],
)
def test_what_makes_a_window_void(changes: dict[str, Any], more: dict[str, Any], said: str | None) -> None:
    found = disturbance(fakes.conditions(**changes), **{"throttled": 0, "supply_changed": False, **more})
    assert (found is None) if said is None else (found is not None and said in found)


def test_throttling_is_counted_over_all_cores(tmp_path: Path) -> None:
    assert throttled(tmp_path) is None
    for cpu, count in enumerate(("3", "4", "garbage")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(count)
    assert throttled(tmp_path) == 7


def test_a_pinned_meter_is_the_only_one() -> None:
    with pytest.raises(UnknownPart, match="did you mean 'rapl'"):
        Target(meter="rpl")
    with pytest.raises(TargetError, match="takes no option 'card'"):
        Target(meter="rapl", meter_options={"card": 1})
    with pytest.raises(TargetError, match="no meter; name it"):
        Target(meter_options={"gpu": 1})
    target = Target(meter="wall_meter", meter_options={"config": "nowhere.yaml"})
    found = target._energy({}, fakes.latency(), fakes.conditions(), "trial")
    assert isinstance(found, Unmeasured) and "nowhere.yaml cannot be read" in found.reason
    assert target._counting() == ({}, 0.0)


def test_without_a_pin_the_first_counter_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pretended:
        def __init__(self, name: str) -> None:
            self.name = name

        def unavailable(self) -> str | None:
            return None if self.name in ("perf_power", "jetson_ina") else "not here"

    target = Target()
    monkeypatch.setattr(target, "_build_meter", Pretended)
    assert target._chosen_meter().name == "perf_power"  # type: ignore[union-attr]
    assert target.meter == "perf_power"
    other = Target()
    monkeypatch.setattr(other, "counters", ())
    assert other._chosen_meter().kind == "modelled-generic"
