"""Does a loop that knows nothing of niwaki agree with the interval that `niwaki measure A --against B` prints?

    .venv/bin/python benchmarks/compare_independent.py A.onnx B.onnx --feeds DIR

`--feeds` is a folder that `save_feeds` wrote and fits both files (a search keeps such ones in `mlruns/cache/feeds`);
without it both read the same noise. `independent_loop.py` runs in a process of its own before and after the product.
Exit code 0 where the mean of its two figures by medians lies in the printed interval, else 1; the same by its fastest
tenths stands beside it. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from hardware_targets import load, load_feeds, random_feeds, save_feeds

MOST_ROWS = 16
_LOOP = Path(__file__).with_name("independent_loop.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--feeds", type=Path)
    parser.add_argument("--seconds", type=float, default=40.0, help="of the product; the loop takes half of it, twice")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="niwaki-") as name:
        feeds, inputs = prepared(options.a, options.feeds, Path(name))
        loop = [sys.executable, str(_LOOP), str(options.a), str(options.b), str(inputs)]
        loop += ["--seconds", str(options.seconds / 2)]
        before = told(loop)
        product = [sys.executable, "-m", "hardware_targets", "measure", str(options.a), "--against", str(options.b)]
        product += ["--feeds", str(feeds), "--seconds", str(options.seconds), "--json"]
        latency = json.loads(subprocess.run(product, check=True, capture_output=True, text=True).stdout)["latency"]
        after = told(loop)
    low, high = 1 / latency["ratio_high"], 1 / latency["ratio_low"]
    medians, fast = ((one + other) / 2 for one, other in zip(before, after, strict=True))
    figures = {"medians": medians, "fastest": fast, "niwaki": 1 / latency["ratio"], "low": low, "high": high}
    shown = {key: round(value, 4) for key, value in figures.items()}
    agrees = {"agrees": low <= medians <= high, "fastest_agree": low <= fast <= high}
    apart = max(abs(one / other - 1) for one, other in zip(before, after, strict=True))
    told_so = {key: latency[key] for key in ("conclusive", "unreliable", "undisturbed_share")}
    print(json.dumps({**shown, **agrees, "before_and_after_differ": round(apart, 4), **told_so}))
    return 0 if agrees["agrees"] else 1


def prepared(model: Path, feeds: Path | None, folder: Path) -> tuple[Path, Path]:
    """A folder of feeds, of one size, for the product, and the same rows as an .npz for the loop."""
    source = load_feeds(feeds) if feeds else list(random_feeds(load("local_cpu").inputs(model), MOST_ROWS, 0))
    shape = {name: value.shape for name, value in source[0].items()}
    rows = [feed for feed in source if {name: value.shape for name, value in feed.items()} == shape][:MOST_ROWS]
    save_feeds(folder / "feeds", rows)
    np.savez(folder / "inputs.npz", **{name: np.concatenate([feed[name] for feed in rows]) for name in shape})
    return folder / "feeds", folder / "inputs.npz"


def told(command: list[str]) -> tuple[float, float]:
    """The speed-ups that the loop prints: by medians, by the fastest tenths."""
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"([0-9.]+)x by", said)
    if len(found) != 2:
        raise SystemExit(f"the loop printed no figures: {said[:80]!r}")
    return float(found[0]), float(found[1])


if __name__ == "__main__":
    sys.exit(main())
