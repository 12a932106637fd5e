"""`niwaki rescore`: the energy of every finished trial anew, by a model that has become better.

Only modelled figures are replaced, from columns that need no model (latency, CPU time, threads, runtime, precision,
multiply-accumulates): all of a study's at once, the teacher's too, so that no front mixes two models. The old figure
stays in the record, with the date. Nothing is trained, measured or scored, and the sealed test figures are not touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hardware_targets import Conditions, Energy, Latency
from pipeline import budget, workbench
from pipeline.arrays import fresh
from pipeline.config import SearchConfig
from pipeline.errors import ConfigError
from pipeline.findings import find, write_front
from pipeline.modelled import PINNED, EnergyModel, no_model, of_device
from pipeline.preflight import RESCORING
from pipeline.record import TrialRecord, read_json, read_records, write_json, write_record
from pipeline.search import study as studies
from pipeline.tracking import Tracker
from pipeline.workspace import Workspace
from search_spaces import SearchSpace


@dataclass(frozen=True)
class Rescored:
    """Records before and after, by number where they changed; `dropped`: refusals that kept no columns to rescore."""

    changed: Mapping[int, tuple[TrialRecord, TrialRecord]]
    dropped: tuple[int, ...]
    kind: str
    boundary: str


def rescore(
    config: SearchConfig,
    workspace: Workspace,
    device: Path | None,
    say: Callable[[str], None],
    *,
    space: Callable[[SearchConfig, Workspace], SearchSpace] | None = None,
    command: str = "",
) -> Rescored:
    """Replace every modelled figure, then study, MLflow and front. Errors: ConfigError before anything is written.

    `device` is a description that `calibrate` wrote; it is copied beside the records, and later trials of this search
    use it too. With None it is the one that was copied before, or else the model of the study's target as it is now.
    `command` finishes a rescoring that was cut off.
    """
    with ExitStack() as stack:
        stack.enter_context(workspace.lock())
        records, frozen = read_records(workspace.folder), dict(read_json(workspace.folder / "teacher" / "figures.json"))
        model, now = model_for(config, workspace, device), datetime.now(UTC).isoformat(timespec="seconds")
        _only_modelled(records, frozen)
        teacher, energy = _teacher(frozen, model, now)
        renewed = {record.number: anew(record, model, config, now) for record in records}
        draw = (space or _space)(config, workspace)
        write_json(workspace.folder / RESCORING, {"command": command, "began": now})
        if device is not None:
            _pin(device, workspace)
        changed = {item.number: (item, renewed[item.number]) for item in records if renewed[item.number] != item}
        for _, new in changed.values():
            write_record(workspace.folder, new)
        write_json(workspace.folder / "teacher" / "figures.json", teacher)
        studies.rebuild(config, workspace.study_url, renewed.values(), draw)
        tracker = Tracker(workspace, config, say)
        stack.enter_context(tracker.running())
        tracker.repair(renewed.values())
        tracker.log_parent({}, teacher["metrics"], [])
        report = find(workspace, config, list(renewed.values()))
        tracker.show_front(report, write_front(report, workspace, None))
        (workspace.folder / RESCORING).unlink()
        dropped = tuple(number for number, (old, new) in changed.items() if "energy_mj" not in new.metrics)
        return Rescored(changed, dropped, energy.kind, energy.boundary)


def anew(record: TrialRecord, model: EnergyModel, config: SearchConfig, now: str) -> TrialRecord:
    """The record with its energy by `model`, the old figure beside it; the same record where nothing changes."""
    if "energy_mj" not in record.metrics:
        return record
    old, metrics, intervals = record.measurement or {}, dict(record.metrics), dict(record.intervals)
    kept = {"energy": old.get("energy"), "energy_mj": metrics.pop("energy_mj"), "until": now}
    measurement: Mapping[str, Any] | None = record.measurement
    intervals.pop("energy_mj", None)
    if "latency" in old:  # else a refusal of an earlier version: its figure goes, since it can be compared with nothing
        energy = modelled(old, model, record.precision, metrics.get("macs_m"))
        if energy.to_json() == old["energy"]:
            return record
        metrics["energy_mj"] = energy.mj
        measurement = {**old, "energy": energy.to_json()}
        if record.intervals:
            intervals["energy_mj"] = (energy.mj_low, energy.mj_high)
    limits = {name: limit for name, limit in config.budget.items() if name == "energy_mj" and record.violations}
    return record.with_(
        metrics=metrics,
        intervals=intervals,
        measurement=measurement,
        screened={name: value for name, value in record.screened.items() if name != "energy_mj"},
        violations={**record.violations, **budget.violations(limits, metrics)},
        earlier_energy=(*record.earlier_energy, kept),
    )


def modelled(measurement: Mapping[str, Any], model: EnergyModel, precision: str, macs_m: float | None) -> Energy:
    """The figure for stored columns. Errors: ConfigError where the model gives none."""
    latency, conditions = Latency.from_json(measurement["latency"]), Conditions.from_json(measurement["conditions"])
    found = model(latency, conditions, precision=precision, macs_m=macs_m or None)
    if not isinstance(found, Energy):
        why = found.reason if found is not None else "its target knows no model, or has a counter"
        raise ConfigError(f"there is nothing to rescore by: {why}; give --device, a file that niwaki calibrate wrote")
    return found


def model_for(config: SearchConfig, workspace: Workspace, device: Path | None) -> EnergyModel:
    """The model asked for, the one pinned before, or that of the study's target. Errors: ConfigError, Unavailable."""
    if device is not None:
        return of_device(device)
    if (workspace.folder / PINNED).exists():
        return of_device(workspace.folder / PINNED)
    model: EnergyModel = getattr(workbench.prepare_target(config), "energy_of", no_model)
    return model


def _only_modelled(records: Sequence[TrialRecord], frozen: Mapping[str, Any]) -> None:
    kinds = {record.energy_kind for record in records} | {(frozen["measurement"].get("energy") or {}).get("kind")}
    other = sorted(kind for kind in kinds - {None} if not str(kind).startswith("modelled"))
    if other:
        raise ConfigError(
            f"energy of this search is {' and '.join(other)}, and a model would put a guess in its place; "
            "only modelled figures are rescored"
        )
    if kinds == {None}:
        raise ConfigError("no trial of this search has a figure of energy, so there is nothing to rescore")


def _teacher(frozen: Mapping[str, Any], model: EnergyModel, now: str) -> tuple[dict[str, Any], Energy]:
    """The teacher's frozen figures with its energy anew; it is the yardstick beside every front."""
    old, macs = frozen["measurement"], frozen["artifact"]["macs"]
    energy = modelled(old, model, "none", macs / 1e6)
    if energy.to_json() == old.get("energy"):
        return dict(frozen), energy
    kept = {"energy": old.get("energy"), "energy_mj": frozen["metrics"].get("energy_mj"), "until": now}
    changes = {
        "measurement": {**old, "energy": energy.to_json()},
        "metrics": {**frozen["metrics"], "energy_mj": energy.mj},
        "earlier_energy": [*frozen.get("earlier_energy", []), kept],
    }
    return {**frozen, **changes}, energy


def _space(config: SearchConfig, workspace: Workspace) -> SearchSpace:
    task = workbench.prepare_task(config, workspace)
    return workbench.prepare_space(config, task)[0].trained()


def _pin(device: Path, workspace: Workspace) -> None:
    """Beside the records, so that the search does not depend on a file that may change or go."""
    pinned = workspace.folder / PINNED
    if device.resolve() != pinned.resolve():
        with fresh(pinned) as beside:
            shutil.copyfile(device, beside)


def sentences(found: Rescored, name: str, root: str) -> list[str]:
    """What changed, what that means for the front, and what is not touched."""
    if not found.changed:
        return [f"nothing changed: every figure of {name} is {found.kind} by this very model already"]
    figures = [
        (old.metrics["energy_mj"], new.metrics["energy_mj"])
        for old, new in found.changed.values()
        if "energy_mj" in new.metrics
    ]
    factors = sorted(new / old for old, new in figures)
    lines = [f"{len(figures)} trials and the teacher: energy is now {found.kind}, boundary {found.boundary}"]
    if factors:
        lines.append(f"  {factors[0]:.3g} to {factors[-1]:.3g} times the old figures, which stay in the records")
    if found.dropped:
        named = ", ".join(map(str, found.dropped))
        lines.append(f"  refused trials {named} kept no columns to rescore: their old figure was taken out of the way")
    lines.append("folders that niwaki pick wrote before keep the old figures; the sealed test figures are as they were")
    return [*lines, f"next: niwaki front {name}{root}"]
