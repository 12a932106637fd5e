"""Device figures of a bank's files, and the table that the target `recorded` reads."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from bank_store import TEACHER, Bank

from hardware_targets import Measurement, TargetError, Unmeasured
from pipeline import workbench
from pipeline.artifact import OnnxArtifact
from pipeline.judging import device_figures
from pipeline.record import read_json, write_json
from pipeline.workspace import Workspace

Say = Callable[[str], None]


def measure(bank: Bank, tier: str, known_to: float, say: Say) -> None:
    """Figures of every kept file that has none yet in this tier, or none so well known (`well_known`).

    What is unreliable, or less well known, is said and measured next time: a busy host has quiet moments.
    """
    config = bank.config
    workspace = Workspace(bank.root, config.name)
    with workspace.lock():
        bench = workbench.prepare(config, workspace, say, say)
        paths = sorted((bank.folder / "files").glob("[!.]*.onnx"))
        missing = [path for path in paths if well_known(bank.figures(path.stem, tier), known_to) is None]
        say(f"{len(paths)} files, {len(missing)} to measure in tier {tier}")
        for place, path in enumerate(missing, 1):
            artifact = OnnxArtifact.from_json(read_json(path.with_suffix(".json")), path)
            begin = time.monotonic()
            try:
                found = device_figures(artifact, bench, tier)  # type: ignore[arg-type]
            except TargetError as error:
                say(f"{path.stem}: {error}")
                continue
            doubt = ", unreliable: not kept" if found.latency.unreliable else ""
            if not doubt and found.latency.half_width > known_to:
                doubt = f", known to {found.latency.half_width:.0%} only: not kept"
            if not doubt:
                took_s = round(time.monotonic() - begin, 2)
                write_json(bank.figures(path.stem, tier), {"took_s": took_s, "measurement": found.to_json()})
            say(f"{place}/{len(missing)} {path.stem}: {1 / found.latency.ratio:.2f}x{doubt}")


def well_known(path: Path, known_to: float) -> Measurement | None:
    """The figures in this file, where there are any and the ratio is known so well; which ratio it is plays no part."""
    found = Measurement.from_json(read_json(path)["measurement"]) if path.exists() else None
    return found if found and found.latency.half_width <= known_to else None


def table(bank: Bank, tier: str, known_to: float = math.inf) -> tuple[Path, int]:
    """Write `table.yaml` and `table.csv` for the target `recorded`: a row for each candidate with well-known figures.

    Latencies are the interleaved ratio times the teacher's frozen median, so that the ratio of two rows is the one that
    was measured, whatever the machine did between two sessions; energies likewise.
    """
    frozen = read_json(Workspace(bank.root, bank.config.name).folder / "teacher" / "figures.json")
    teacher = Measurement.from_json(frozen["measurement"])
    rows = [_row(TEACHER, teacher, teacher, own=True)]
    for member in bank.read_members():
        for variant in member["variants"]:
            found = well_known(bank.figures(str(variant.get("shape")), tier), known_to)
            if variant["end"] == "complete" and found:
                rows.append(_row(variant["key"], found, teacher))
    path = bank.folder / "table.yaml"
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    path.write_text(yaml.safe_dump(_described(bank, tier, known_to, teacher), sort_keys=False), encoding="utf-8")
    return path, len(rows) - 1


def _row(key: str, found: Measurement, teacher: Measurement, own: bool = False) -> dict[str, Any]:
    latency, base = found.latency, teacher.latency.median_ms
    ratios = (1.0, 1.0, 1.0) if own else (latency.ratio, latency.ratio_low, latency.ratio_high)
    drift = 1.0 if own else base / latency.reference_median_ms
    row = dict(zip(("latency_ms", "latency_low", "latency_high"), (base * ratio for ratio in ratios), strict=True))
    known = None if isinstance(found.energy, Unmeasured) else found.energy
    energies = ("", "", "") if known is None else tuple(drift * x for x in (known.mj, known.mj_low, known.mj_high))
    row |= dict(zip(("energy_mj", "energy_low", "energy_high"), energies, strict=True))
    row["peak_memory_mb"] = "" if isinstance(found.peak_memory_mb, Unmeasured) else found.peak_memory_mb
    return {"key": key, **row}


def _described(bank: Bank, tier: str, known_to: float, teacher: Measurement) -> dict[str, Any]:
    energy = teacher.energy
    told = {} if isinstance(energy, Unmeasured) else {"energy": {"kind": energy.kind, "boundary": energy.boundary}}
    left_out = "" if math.isinf(known_to) else f"; what is known to worse than {known_to:.0%} is left out"
    return {
        "source": f"benchmarks/bank.py of {bank.name}, tier {tier}; one file of each shape and scheme was measured"
        + left_out,
        "device": teacher.conditions.cpu_model,
        "runtime": teacher.conditions.runtime,
        "runtime_version": teacher.conditions.runtime_version,
        "threads": teacher.conditions.threads,
        "latency_statistic": "median",
        **told,
        "rows": "table.csv",
    }
