"""`python -m hardware_targets measure MODEL`, `doctor`, `calibrate`: the measuring alone, as it is used on a device.

Exit codes: 0; 2 your input; 3 the device did not deliver; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hardware_targets import TargetError, Unmeasured, _calibrating, available, doctor, load, measure_file
from hardware_targets._doubts import resolution_words
from hardware_targets._measurement import Measurement
from hardware_targets._options import options_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, call, print; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        verbs = {"measure": _measure, "doctor": _doctor, "calibrate": _calibrating.run}
        return verbs[options.verb](options)
    except TargetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hardware_targets", description="Measure a model file on this device."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    measure = verbs.add_parser("measure", help="latency, energy and memory of a model file")
    measure.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file")
    measure.add_argument(
        "--against", type=Path, metavar="REF", help="time it against this file; default: against itself"
    )
    measure.add_argument(
        "--feeds", type=Path, metavar="DIR", help="inputs for both, written by save_feeds; default: noise"
    )
    measure.add_argument("--target", default="local_cpu", metavar="NAME", help=f"one of: {', '.join(available())}")
    measure.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the target, e.g. --set host=pi"
    )
    measure.add_argument("--threads", type=int, default=1, metavar="N", help="threads of both models; default: 1")
    measure.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the blocks' order and the noise; default: 0"
    )
    measure.add_argument(
        "--seconds", type=float, default=40.0, metavar="S", help="at most this long, warm-up apart; default: 40"
    )
    examine = verbs.add_parser("doctor", help="which targets, meters and runtimes work here")
    for verb in (measure, examine):
        verb.add_argument("--json", action="store_true", help="print JSON")
    _calibrating.add_parser(verbs)
    return parser


def _measure(options: argparse.Namespace) -> int:
    target = load(options.target, threads=options.threads, seconds=options.seconds, **options_of(options.set))
    reason = target.unavailable()
    if reason:
        print(f"error: target {options.target!r} is not available: {reason}", file=sys.stderr)
        return 3
    found = measure_file(
        target, options.model, options.against, feeds=options.feeds, seed=options.seed, seconds=options.seconds
    )
    if options.json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        print("\n".join(_lines(found, str(options.model), str(options.against or "itself"))))
    return 0


def _lines(found: Measurement, model: str, reference: str) -> list[str]:
    latency, energy, memory = found.latency, found.energy, found.peak_memory_mb
    place = found.conditions
    tails = {"p90": latency.p90_ms, "p95": latency.p95_ms, "p99": latency.p99_ms}
    told = ", ".join(f"{name} {value:.3g} ms" for name, value in tails.items() if value is not None)
    lines = [
        f"{model} on {place.cpu_model or place.architecture}, {place.threads} thread(s), "
        f"{place.runtime} {place.runtime_version}",
        f"latency   {latency.median_ms:.3g} ms median, batch 1; single calls: {told or 'too few for percentiles'}",
        f"ratio     {latency.ratio:.4g} of {reference} ({latency.ratio_low:.4g} to {latency.ratio_high:.4g}, 95 %)",
    ]
    lines += [f"          {sentence}" for sentence in resolution_words(latency)]
    if isinstance(memory, Unmeasured):
        lines.append(f"memory    not measured: {memory.reason}")
    else:
        lines.append(f"memory    {memory:.3g} MB at the peak, over a null model")
    if isinstance(energy, Unmeasured):
        lines.append(f"energy    not measured: {energy.reason}")
    else:
        band = f"{energy.mj_low:.2g} to {energy.mj_high:.2g}"
        lines.append(f"energy    {energy.mj:.3g} mJ ({band}), {energy.kind}, {energy.boundary}")
        lines.append(f"          {energy.source}")
    return lines + [f"warning: {sentence}" for sentence in found.warnings]


def _doctor(options: argparse.Namespace) -> int:
    rows = doctor()
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        state = "available" if row["available"] else "not available"
        reason = f": {row['reason']}" if row["reason"] else ""
        print(f"{row['role']:8} {row['name']:18} {state}{reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
