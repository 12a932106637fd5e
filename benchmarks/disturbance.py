"""How a busy host disturbs timing, and how well sessions of a length agree under several ways to sum them up.

    .venv/bin/python benchmarks/disturbance.py CANDIDATE.onnx REFERENCE.onnx --seconds 400 --session 20

It calls two models in turn on one thread, in bursts of six 4 ms blocks a side, for `--seconds`, cuts the record into
sessions and prints, for each way, the standard deviation of the ratio between them. The measuring protocol
(`hardware_targets/_protocol.py`) was chosen by it. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from hardware_targets._statistics import undisturbed

BLOCK_NS, SETTLE_NS, BURST = 4_000_000, 4_000_000, 6

WAYS: dict[str, Callable[[np.ndarray], float]] = {
    "median of the undisturbed": lambda values: float(np.median(values[undisturbed(values)])),
    "fastest": lambda values: float(values.min()),
    "1 % quantile": lambda values: float(np.quantile(values, 0.01)),
    "5 % quantile": lambda values: float(np.quantile(values, 0.05)),
    "20 % quantile": lambda values: float(np.quantile(values, 0.2)),
    "median": lambda values: float(np.median(values)),
    "mean": lambda values: float(values.mean()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--seconds", type=float, default=400.0)
    parser.add_argument("--session", type=float, default=20.0)
    arguments = parser.parse_args()
    blocks = record([caller(arguments.candidate), caller(arguments.reference)], arguments.seconds)
    for side, name in enumerate(("candidate", "reference")):
        times = blocks[blocks[:, 0] == side, 2] / 1e6
        told = ", ".join(f"{q} %: {np.percentile(times, q):.4f}" for q in (0, 1, 10, 50, 90, 99))
        print(f"{name}: milliseconds per call, quantiles over {len(times)} blocks: {told}")
    starts = np.arange(0, arguments.seconds - arguments.session + 0.1, arguments.session)
    print(f"{len(starts)} sessions of {arguments.session:g} s, reference / candidate:")
    for way, summed in WAYS.items():
        ratios = []
        for start in starts:
            inside = blocks[(blocks[:, 1] >= start) & (blocks[:, 1] < start + arguments.session)]
            ratios.append(summed(inside[inside[:, 0] == 1, 2]) / summed(inside[inside[:, 0] == 0, 2]))
        spread = 100 * np.std(ratios, ddof=1) / np.mean(ratios)
        print(f"  {way:26} {np.mean(ratios):7.3f}  standard deviation {spread:.2f} %")


def caller(path: Path) -> Callable[[], object]:
    """A call of the model on seeded noise, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    shape = [side if isinstance(side, int) else 1 for side in first.shape]
    feed = {first.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    return lambda: session.run(None, feed)


def record(calls: list[Callable[[], object]], seconds: float) -> np.ndarray:
    """[blocks, 3]: which side, when in seconds, nanoseconds per call."""
    generator, begin, found = random.Random(0), time.perf_counter_ns(), []
    while time.perf_counter_ns() - begin < seconds * 1e9:
        for side in generator.sample(range(len(calls)), len(calls)):
            settled = time.perf_counter_ns() + SETTLE_NS
            while time.perf_counter_ns() < settled:
                calls[side]()
            for _ in range(BURST):
                start, count = time.perf_counter_ns(), 0
                while time.perf_counter_ns() - start < BLOCK_NS:
                    calls[side]()
                    count += 1
                found.append((side, (start - begin) / 1e9, (time.perf_counter_ns() - start) / count))
    return np.asarray(found)


if __name__ == "__main__":
    main()
