"""Two ONNX files timed in turn by a loop of its own: onnxruntime and numpy only, nothing of niwaki.

    .venv/bin/python benchmarks/independent_loop.py A.onnx B.onnx inputs.npz --seconds 20

prints how many times as fast as B A is, on one thread: the quotient of the medians of blocks of 8 ms, and that of their
fastest tenths. It counts this process's CPU time, so that a moment given to another process is not the model's. The
medians leave nothing out: where neighbours on the host slow many blocks, they are off, and the two differ.
`inputs.npz` holds one array [rows, ...] for each input, the same for both files. `compare_independent.py` sets the
figures beside the interval of `niwaki measure A --against B`.
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
    start, passes = time.process_time(), 0
    while time.process_time() - start < least_s:
        for feed in feeds:
            session.run(None, feed)
        passes += 1
    return (time.process_time() - start) / (passes * len(feeds))


def speedup(a, b, feeds, seconds):
    """The quotients of the files' seconds: of medians, and of tenth percentiles."""
    sessions, taken, end = (load(a), load(b)), ([], []), time.perf_counter() + seconds
    while not taken[1] or time.perf_counter() < end:
        for session, times in zip(sessions, taken, strict=True):
            times.append(time_once(session, feeds))
    return [np.percentile(taken[1], part) / np.percentile(taken[0], part) for part in (50, 10)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("a", "b", "inputs"):
        parser.add_argument(name)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    arrays = dict(np.load(options.inputs, allow_pickle=False))
    rows = len(next(iter(arrays.values())))
    feeds = [{name: value[row : row + 1] for name, value in arrays.items()} for row in range(rows)]
    medians, fast = speedup(options.a, options.b, feeds, options.seconds)
    print(f"{medians:.4f}x by the medians, {fast:.4f}x by the fastest tenths")
