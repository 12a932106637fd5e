"""Energy over a link: kind, boundary, band and reason arrive in the caller's record as they are there."""

# ruff: noqa: F811 - a fixture is imported and asked for by its name

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakes
from test_ssh import bench, place, there  # noqa: F401

from hardware_targets import Conditions, Energy, Latency, Measurement, Unmeasured, load
from hardware_targets._agent import Agent
from hardware_targets._bundles import listing, of_feeds, of_model
from hardware_targets._null_model import write_null_model
from hardware_targets._store import Store

BOARD: dict[str, Any] = {"meter": "calibrated", "meter_options": {"device": "raspberry_pi_4"}}
ABSENT = {"meter": "jetson_ina"}  # a counter that this machine does not have


def test_a_device_description_there_models_it(place: Path, bench: dict[str, Path]) -> None:
    target, here = there(place, options=BOARD), load("local_cpu", **BOARD)
    assert target.energy_kind() == here.energy_kind() == "modelled-calibrated"
    found = target.measure(bench["model"], bench["feeds"], bench["model"], bench["feeds"], seed=0, seconds=1)
    assert isinstance(found.energy, Energy)
    assert (found.energy.kind, found.energy.meter) == ("modelled-calibrated", "calibrated") and found.energy.boundary
    told = target.energy_of(found.latency, found.conditions, precision="static_int8", macs_m=0.004)
    assert told == here.energy_of(found.latency, found.conditions, precision="static_int8", macs_m=0.004)
    assert told != found.energy, "it was told the precision, and says more"
    target.close()


def test_a_counter_there_is_known_before_anything_is_measured(place: Path, tmp_path: Path) -> None:
    (tmp_path / "plug.csv").write_text("seconds,watts\n1,5\n")
    (tmp_path / "plug.yaml").write_text(f"style: csv\npath: {tmp_path}/plug.csv\ntime: seconds\nwatts: watts\n")
    options = {"meter": "wall_meter", "meter_options": {"config": str(tmp_path / "plug.yaml")}}
    target = there(place, options=options)
    assert target.energy_kind() == "measured"
    assert target.energy_of(fakes.latency(), fakes.conditions()) is None, "the counter tells it"
    target.close()


def test_no_figure_comes_with_its_reason(place: Path, bench: dict[str, Path]) -> None:
    target = there(place, options=ABSENT)
    assert target.energy_kind() == "unmeasured"
    found = target.measure(bench["model"], bench["feeds"], bench["model"], bench["feeds"], seed=0, seconds=1)
    assert isinstance(found.energy, Unmeasured) and "no power monitor of a Jetson" in found.energy.reason
    target.close()


class Metered(fakes.ScriptedTarget):
    """A device with a counter; it is there that `energy_of` is asked for, and answered with nothing."""

    energy_kind = staticmethod(lambda: "measured")
    energy_of = staticmethod(lambda *_, **__: None)

    def measure(self, *files: Path, **limits: Any) -> Measurement:
        figures = super().measure(*files, **limits).to_json()
        energy = Energy(4.5, 4.4, 4.6, "measured", "board input", "jetson_ina", "INA3221, VDD_IN", 1.2, 0.1, 0.09, 0.11)
        return Measurement.from_json({**figures, "energy": energy.to_json()})


class Plain(fakes.ScriptedTarget):
    """A part that knows nothing of meters."""


def asked(target: Any, tmp_path: Path, verb: str, **more: Any) -> Any:
    """What the agent answers for a target of its own, as it goes over the link."""
    agent = Agent(Store(tmp_path / "store"))
    agent._targets['["board", {}]'] = target
    for bundle in (of_model(write_null_model(tmp_path)[0]), of_feeds(tmp_path / "null_feeds")):
        for blob in bundle:
            agent._store.put(blob.sha256, blob.size, 0, blob.path.read_bytes())
    reply, _ = agent.answer({"verb": verb, "target": "board", "options": {}, **more}, b"")
    assert "error" not in reply, reply
    return reply["result"]


def test_a_measured_figure_arrives_whole(tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    side = {"model": listing(of_model(model)), "feeds": listing(of_feeds(feeds))}
    told = asked(Metered(), tmp_path, "measure", **side, reference=side, seed=0)
    energy = Measurement.from_json(told).energy
    assert isinstance(energy, Energy)
    assert (energy.kind, energy.boundary, energy.meter) == ("measured", "board input", "jetson_ina")
    assert (energy.mj_low, energy.mj, energy.mj_high, energy.net_mj, energy.ratio) == (4.4, 4.5, 4.6, 1.2, 0.1)


def test_a_part_that_knows_no_energy_is_asked_in_vain(tmp_path: Path) -> None:
    timed: dict[str, Latency | Conditions] = {"latency": fakes.latency(), "conditions": fakes.conditions()}
    plain = {name: value.to_json() for name, value in timed.items()}
    assert asked(Plain(), tmp_path, "energy_kind") == "unknown"
    assert asked(Plain(), tmp_path, "energy_of", **plain, precision=None, macs_m=None) is None
    assert asked(Metered(), tmp_path, "energy_kind") == "measured"
