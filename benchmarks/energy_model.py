"""How far the energy model is off on published wall-metered results: form fixed on MLPerf v2.x, scored once on v3-v4.

    .venv/bin/python benchmarks/energy_model.py [--only fixed] [--write]

A figure is watts x latency, and the question is what the watts depend on. A group is one board under one runtime (one
results folder); every row is predicted by a fit without its family (MobileNet V1, V2, V3, EfficientNet-Lite), and its
band is found on the remaining families alone. 11 groups, 1034 rows, 495 fp32/int8 twins of v2.0 and v2.1 served to
choose the form:

    form of the watts                                    median of groups    worst group  twins in order  inside band
    one number per precision, median                     6.6 %               34 %         94.1 %          89.8 %
    one number per precision, geometric mean             7.4 %               39 %         95.4 %          89.0 %
    ... each family with equal weight                    8.5 %               33 %         94.5 %          88.2 %
    one number for both precisions                       8.7 %               31 %         92.1 %          90.2 %
    power of the latency, per precision                  6.1 %               32 %         95.6 %          86.8 %
    per precision, plus a constant energy per call       6.5 %               48 %         97.0 %          90.3 %
    idle watts + energy per MAC, per precision           3.7 %               32 %         94.9 %          85.8 %
    ... plus a constant energy per call                  3.9 %               22 %         92.7 %          86.9 %
    power of MACs/ms, per precision, no shrinking        3.7 %               22 %         94.1 %          86.8 %
    ... shrunk by 5                                      3.7 %               22 %         95.2 %          91.0 %
    powers of MACs/ms and latency, no shrinking          4.5 %               11 %         92.9 %          87.3 %
    ... slopes shared, shrunk by 15                      4.2 %               17 %         95.4 %          90.9 %
    ... slopes shared, shrunk by 15, Huber               3.8 %               17 %         95.4 %          91.3 %
    ... shared and apart, shrunk by 15, Huber: FIXED     3.6 %               16 %         96.4 %          91.9 %
    ... with latency alone (no MACs known): FIXED        6.2 %               31 %         95.6 %          90.9 %
    ... FIXED with families weighted equally             3.4 %               11 %         96.0 %          92.6 %

What did not work: an offset per call (1 / latency as a term changed nothing), idle plus energy per MAC as a sum (too
narrow bands), slopes that are not shrunk (bands hold too few, twins are turned round), weights per family (within the
noise of the choice, so the plainer form was taken). Shrinking by 5, 10, 15, 20, 30 gave 3.6 to 3.9 % and 95.4 to 96.4
%, and 60 gave 5.2 %; 15 was taken. Without MACs nothing came below 6 %: what the latency does not tell is how busy
the cores are, and MACs per millisecond do. The worst group (RK3588S, TFLite, v2.1) holds 24 of 32 MobileNetV1 rows
that waited tens of milliseconds at a third of the watts; only 74 % of its rows are inside, and they stayed in. Then
the code was frozen and v3.0 to v4.1 scored, once: 2.8 %, 454 of 455 twins, 93.7 % inside. Read these with care. On
v3-v4 the 8-bit half took less energy in all 455 twins, so that order is a low bar there (one number per precision has
455 of 455, and its median is 3.9 %); on v2.x, where 63 twins go the other way, the form earns its place. The
transfers and the count of twins in which 8 bits take less were added after that, and changed nothing.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import mlperf_rows
import numpy as np
from mlperf_rows import Group

from hardware_targets._calibration import BY_RATE, BY_TIME, Row, fit, order_right, validate
from hardware_targets._energy_model import SPAN

RESULT = Path(__file__).parent / "results" / "energy_model.json"
# hardware threads, for the contrast: codecarbon takes 4 W for each where it does not know the chip
THREADS = {"odroid": 6, "xavier": 8, "rpi4": 4, "raspberrypi4": 4, "firefly": 8, "orin": 12}
WATTS_PER_THREAD = 4.0

TRANSFERS = (
    ("v2.1/firefly-armnn-v22.05-neon", "v3.0/firefly-armnn-v22.11-neon"),
    ("v2.1/firefly-armnn-v22.05-opencl", "v3.0/firefly-armnn-v22.11-opencl"),
    ("v2.1/firefly-tflite-v2.7.1-ruy", "v3.0/firefly-tflite-v2.11.0-ruy"),
    ("v2.1/orin-armnn-v22.05-neon", "v3.0/nvidia_orin-tflite_armnn_cpp-cpu-armnn_tflite-v22.11-using_neon"),
    ("v2.1/orin-tflite-v2.7.1-ruy", "v3.0/nvidia_orin-tflite_cpp-cpu-tflite-vmaster-default_config"),
    ("v2.0/rpi4-tflite-v2.7.1-ruy", "v3.1/raspberrypi4-tflite_armnn_cpp-cpu-armnn_tflite-v22.11-using_neon"),
    (
        "v3.0/nvidia_orin-tflite_armnn_cpp-cpu-armnn_tflite-v22.11-using_neon",
        "v3.1/nvidia_orin_maxq-tflite_armnn_cpp-cpu-armnn_tflite-v22.11-using_neon",
    ),
)

Errors = Callable[[Group], np.ndarray]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("fixed", "scored"), help="one period instead of both")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    options = parser.parse_args()
    if not mlperf_rows.TABLE.is_file():
        print(mlperf_rows.MISSING)
        return 0
    periods = {"fixed": mlperf_rows.FIXED_ON, "scored": mlperf_rows.SCORED_ON}
    found = {name: score(versions) for name, versions in periods.items() if options.only in (None, name)}
    for name, result in found.items():
        print(f"{name} on {', '.join(periods[name])}")
        print("\n".join(lines(result)))
    moved = [] if options.only else transfer(TRANSFERS)
    for item in moved:
        print(
            f"  {item['from']} on {item['to']}: x{item['factor']:.2f} (median), "
            f"inside x/{SPAN} {item['inside x/2.5']:.0%}, twins {item['right']}/{item['pairs']}"
        )
    if options.write:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(as_text({"source": mlperf_rows.SOURCE, **found, "transfer": moved}) + "\n", encoding="utf-8")
    return 0


def score(versions: tuple[str, ...]) -> dict[str, Any]:
    """Every group by the model that ships, with MACs and without; then the contrasts."""
    groups = mlperf_rows.groups(versions)
    per_group, inside = [], {"rate": [0, 0], "time": [0, 0]}
    for group in groups:
        told: dict[str, Any] = {"group": group.name, "rows": len(group.rows)}
        for name, terms in (("rate", BY_RATE), ("time", BY_TIME)):
            found = validate(group.rows, terms)
            right, pairs = order_right(group.rows, found.errors)
            held = 0 if found.inside is None else int(found.inside.sum())
            inside[name][0] += held
            inside[name][1] += len(group.rows)
            told[name] = {"median": _short(found.median), "inside": held, "right": int(right), "pairs": int(pairs)}
        per_group.append(told)
    summary = {
        name: _summary([told[name] for told in per_group]) | {"inside": _short(inside[name][0] / inside[name][1])}
        for name in ("rate", "time")
    }
    contrast = {name: _summary([_plainly(group, errors) for group in groups]) for name, errors in CONTRASTS.items()}
    return {
        "model": summary["rate"],
        "without MACs": summary["time"],
        "contrast": contrast,
        "int8 takes less": less_at_8_bits(groups),
        "groups": per_group,
    }


def less_at_8_bits(groups: Sequence[Group]) -> dict[str, int]:
    """Twins whose int8 half takes less energy, and those of them where it is the slower half: how easy the order is."""
    found = {"pairs": 0, "less": 0, "less but slower": 0}
    for group in groups:
        floats = {row.model: row for row in group.rows if row.precision == "fp32"}
        for row in group.rows:
            if row.precision == "int8" and (twin := floats.get(row.model)):
                less = row.energy_mj < twin.energy_mj
                found["pairs"] += 1
                found["less"] += less
                found["less but slower"] += less and row.latency_ms > twin.latency_ms
    return found


def transfer(table: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A fit of one folder on the rows of another: another release, another lab, another power mode."""
    found = {group.name: group for group in mlperf_rows.groups(mlperf_rows.FIXED_ON + mlperf_rows.SCORED_ON)}
    told = []
    for source, goal in table:
        curve = fit(found[source].rows, BY_RATE)
        errors = np.array(
            [
                np.log(curve.energy_mj(row.precision, row.latency_ms, row.macs_m) / row.energy_mj)
                for row in found[goal].rows
            ]
        )
        right, pairs = order_right(found[goal].rows, errors)
        told.append(
            {
                "from": source,
                "to": goal,
                "factor": _short(math.exp(np.median(errors))),
                "inside x/2.5": _short(np.mean(np.abs(errors) <= math.log(SPAN))),
                "right": int(right),
                "pairs": int(pairs),
            }
        )
    return told


def _summary(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    pairs = sum(item["pairs"] for item in told)
    return {
        "groups": len(told),
        "median": _short(median(item["median"] for item in told)),
        "worst": max(item["median"] for item in told),
        "right": sum(item["right"] for item in told),
        "pairs": pairs,
        "order": _short(sum(item["right"] for item in told) / pairs),
    }


def _plainly(group: Group, errors: Errors) -> dict[str, Any]:
    found = errors(group)
    right, pairs = order_right(group.rows, found)
    return {"median": _short(float(np.median(np.abs(np.expm1(found))))), "right": int(right), "pairs": int(pairs)}


def one_factor(of: Callable[[Row], float], by_precision: bool) -> Errors:
    """Errors of the median joules per `of`, fitted without the row's family: the best that such a model can do."""

    def errors(group: Group) -> np.ndarray:
        found = []
        for row in group.rows:
            others = [
                other
                for other in group.rows
                if other.family != row.family and (other.precision == row.precision or not by_precision)
            ]
            found.append(np.log(median(other.energy_mj / of(other) for other in others) * of(row) / row.energy_mj))
        return np.array(found)

    return errors


def stock(group: Group) -> np.ndarray:
    """TDP x load^3 x time as it comes: the grid states no load, so all threads are busy, and the TDP is the default."""
    threads = next(count for name, count in THREADS.items() if name in group.folder.lower())
    load = 1.0
    return np.array(
        [np.log(WATTS_PER_THREAD * threads * load**3 * row.latency_ms / row.energy_mj) for row in group.rows]
    )


CONTRASTS: dict[str, Errors] = {
    "latency x watts per precision": one_factor(lambda row: row.latency_ms, True),
    "TDP x load^3, fitted watts": one_factor(lambda row: row.latency_ms, False),
    "TDP x load^3, stock": stock,
    "MACs": one_factor(lambda row: row.macs_m or 0.0, False),
    "MACs per precision": one_factor(lambda row: row.macs_m or 0.0, True),
}


def lines(result: dict[str, Any]) -> list[str]:
    """The table, the bars last."""
    told = []
    for group in result["groups"]:
        rate, time = group["rate"], group["time"]
        told.append(
            f"  {group['group'][:64]:64} {rate['median']:6.1%} ({time['median']:.1%} without MACs) "
            f"inside {rate['inside']:2}/{group['rows']} twins {rate['right']}/{rate['pairs']}"
        )
    shown = {"the model": result["model"], "without MACs": result["without MACs"], **result["contrast"]}
    for name, item in shown.items():
        band = f" inside {item['inside']:.1%}" if "inside" in item else ""
        told.append(
            f"  {name:32} median {item['median']:6.1%} worst {item['worst']:7.1%} "
            f"twins {item['right']}/{item['pairs']} = {item['order']:.1%}{band}"
        )
    easy = result["int8 takes less"]
    told.append(
        f"  int8 takes less in {easy['less']} of {easy['pairs']} twins, is slower in {easy['less but slower']} of these"
    )
    model = result["model"]
    bars = (
        ("median <= 5 %", model["median"] <= 0.05),
        ("order >= 95 %", model["order"] >= 0.95),
        ("inside >= 88 %", model["inside"] >= 0.88),
    )
    return [*told, *(f"  bar {name}: {'met' if met else 'MISSED'}" for name, met in bars)]


def as_text(value: Any, depth: int = 3, indent: str = "") -> str:
    """JSON with one line for each group."""
    if not isinstance(value, dict | list) or depth == 0:
        return json.dumps(value)
    inner = indent + " "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + json.dumps(item) for item in value) + f"\n{indent}]"
    items = (f"{inner}{json.dumps(key)}: {as_text(item, depth - 1, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def _short(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    raise SystemExit(main())
