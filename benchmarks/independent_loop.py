"""Two ONNX files timed in turn by a loop of its own: onnxruntime and numpy only, nothing of niwaki.

    .venv/bin/python benchmarks/independent_loop.py A.onnx B.onnx inputs.npz --seconds 20

prints how many times as fast as B A is. `inputs.npz` holds one array [rows, ...] for each input, the same for both
files; several rounds of a row are timed in a row, so that each file runs warm. `compare_independent.py` sets the figure
beside the interval that `niwaki measure A.onnx --against B.onnx` prints.
"""

import argparse
import time

import numpy as np
import onnxruntime


def load(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def time_once(session, feeds, least_s=0.008):
    """Seconds per call: whole passes over the feeds after one that is not timed."""
    for feed in feeds:
        session.run(None, feed)
    start, passes = time.perf_counter(), 0
    while time.perf_counter() - start < least_s:
        for feed in feeds:
            session.run(None, feed)
        passes += 1
    return (time.perf_counter() - start) / (passes * len(feeds))


def speedup(a, b, feeds, seconds):
    """The quotient of each file's fast times: the tenth percentile of what it took, for neighbours only ever slow."""
    sessions, taken, end = (load(a), load(b)), ([], []), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for session, times in zip(sessions, taken, strict=True):
            times.append(time_once(session, feeds))
    fast = [np.percentile(times, 10) for times in taken]
    return fast[1] / fast[0], fast


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("a", "b", "inputs"):
        parser.add_argument(name)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    arrays = dict(np.load(options.inputs, allow_pickle=False))
    rows = len(next(iter(arrays.values())))
    feeds = [{name: value[row : row + 1] for name, value in arrays.items()} for row in range(rows)]
    ratio, (ours, theirs) = speedup(options.a, options.b, feeds, options.seconds)
    print(f"{ratio:.4f}x ({1e3 * ours:.4f} ms against {1e3 * theirs:.4f} ms)")
