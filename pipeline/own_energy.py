"""The search's own energy: teacher, preparation, trials and the rest, from the processor time in `spent.json`.

Always modelled-generic: processor time times the watts of a busy thread from a table, on the machine that searched. An
accelerator, and what a remote device used while it measured, are not in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hardware_targets import Conditions, Energy, Unmeasured, host_energy
from pipeline.record import TrialRecord
from pipeline.spent import read_spent
from pipeline.workspace import Workspace

MJ_PER_KWH = 3.6e9
NOT_IN_IT = "accelerators and remote devices are not in it"


@dataclass(frozen=True)
class OwnEnergy:
    """Kilowatt-hours over all runs of a search, with the band of the table, and what they went into.

    `trials` is per trial, by number; `rest` is sampling, reports, MLflow, picking and what was cut off. `missing` says
    what is known to have been used and is not in the figure: it is then a lower bound.
    """

    kwh: float
    kwh_low: float
    kwh_high: float
    kind: str
    boundary: str
    source: str
    cpu_seconds: float
    teacher_kwh: float
    preparation_kwh: float
    trials_kwh: float
    rest_kwh: float
    trials: Mapping[int, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; keys of `trials` become text."""
        trials = {str(number): kwh for number, kwh in self.trials.items()}
        return {**asdict(self), "trials": trials, "missing": list(self.missing)}


def own_energy(spent: Mapping[str, Any], records: Sequence[TrialRecord]) -> OwnEnergy | Unmeasured:
    """From `pipeline.spent.read_spent` and the search's records."""
    runs = spent["runs"]
    if not runs:
        return Unmeasured("this search was run by a version that kept no account of processor time")
    if any(run["cpu_seconds"] is None for run in runs):
        return Unmeasured("this system does not tell a process its processor time")
    rates = _rates(runs)
    trials = {record.number: _of_trial(record, runs, rates) for record in records if record.cpu_seconds}
    used, prepared, teacher = (
        sum((run.get(name) or 0.0) * rate.mj for run, rate in zip(runs, rates, strict=True))
        for name in ("cpu_seconds", "preparation_cpu_seconds", "teacher_cpu_seconds")
    )
    teacher_mj, preparation_mj = teacher + _elsewhere(spent.get("teacher") or {}), prepared - teacher
    trials_mj = sum(trials.values())
    rest_mj = max(0.0, used - prepared - trials_mj)  # below 0 after a kill between a record and its row
    total, last = teacher_mj + preparation_mj + trials_mj + rest_mj, rates[-1]
    return OwnEnergy(
        kwh=total / MJ_PER_KWH,
        kwh_low=total * last.mj_low / last.mj / MJ_PER_KWH,
        kwh_high=total * last.mj_high / last.mj / MJ_PER_KWH,
        kind=last.kind,
        boundary=last.boundary,
        source=last.source,
        cpu_seconds=round(sum(run["cpu_seconds"] for run in runs), 3),
        teacher_kwh=teacher_mj / MJ_PER_KWH,
        preparation_kwh=preparation_mj / MJ_PER_KWH,
        trials_kwh=trials_mj / MJ_PER_KWH,
        rest_kwh=rest_mj / MJ_PER_KWH,
        trials={number: mj / MJ_PER_KWH for number, mj in trials.items()},
        missing=tuple(_missing(spent, records)),
    )


def over_limit(workspace: Workspace, records: Sequence[TrialRecord], max_kwh: float) -> str | None:
    """Why a search that may use `max_kwh` ends now, or None."""
    found = own_energy(read_spent(workspace), records)
    if isinstance(found, Unmeasured) or found.kwh < max_kwh:
        return None
    return f"{found.kwh:.3g} kWh of the search's own energy ({found.kind}) are spent (limits.max_kwh {max_kwh:g})"


def sentences(found: OwnEnergy | Unmeasured) -> list[str]:
    """The search's own energy in words."""
    if isinstance(found, Unmeasured):
        return [f"the search's own energy: no figure ({found.reason})"]
    parts = {
        "teacher": found.teacher_kwh, "preparation": found.preparation_kwh, "trials": found.trials_kwh,
        "rest": found.rest_kwh,
    }  # fmt: skip
    shares = ", ".join(f"{name} {kwh:.3g}" for name, kwh in parts.items() if kwh > 0)
    lines = [
        f"the search's own energy: {'at least ' if found.missing else ''}{found.kwh:.3g} kWh "
        f"[{found.kwh_low:.3g}, {found.kwh_high:.3g}] ({shares}), {found.kind}, boundary: {found.boundary}; {NOT_IN_IT}"
    ]
    return lines + [f"  not counted: {what}" for what in found.missing]


def _missing(spent: Mapping[str, Any], records: Sequence[TrialRecord]) -> list[str]:
    found = []
    cut_off = sum(run["ended"] is None and run["process"] != os.getpid() for run in spent["runs"])
    if cut_off:
        found.append(f"what {cut_off} killed run{'s' if cut_off > 1 else ''} did after the last trial")
    before = sum(not (r.cpu_seconds or r.same_as is not None or r.end == "interrupted") for r in records)
    if before:
        found.append(f"{before} trial{'s' if before > 1 else ''} without an account of processor time")
    if lent := [str(record.lent_by).rpartition("#")[0] for record in records if record.lent_by and record.counts]:
        names = " and ".join(dict.fromkeys(lent))
        found.append(f"the training of {len(lent)} model{'s' if len(lent) > 1 else ''} lent by search {names}")
    teacher = spent.get("teacher") or {}
    if teacher.get("trained") and not teacher.get("here") and teacher.get("cpu_seconds") is None:
        found.append("the teacher's training, of which no account was kept")
    return found


def _rates(runs: Sequence[Mapping[str, Any]]) -> list[Energy]:
    """For each run, the energy of one second of processor time on its machine."""
    hosts = [Conditions.from_json(run["host"]) for run in runs]
    known = {host.fingerprint: host_energy(1.0, host) for host in {host.fingerprint: host for host in hosts}.values()}
    return [known[host.fingerprint] for host in hosts]


def _of_trial(record: TrialRecord, runs: Sequence[Mapping[str, Any]], rates: Sequence[Energy]) -> float:
    """Millijoules of a trial, on the machine of the run that it belongs to."""
    begun = [rate for run, rate in zip(runs, rates, strict=True) if run["started"] <= record.started]
    return sum(record.cpu_seconds.values()) * (begun or list(rates))[-1].mj


def _elsewhere(teacher: Mapping[str, Any]) -> float:
    """Millijoules of the training of a teacher that another command trained and reported on."""
    if not teacher.get("cpu_seconds") or teacher.get("here"):
        return 0.0
    return host_energy(teacher["cpu_seconds"], Conditions.from_json(teacher["host"])).mj
