"""Measuring a bare model file, when nobody has prepared feeds for it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hardware_targets._feeds import random_feeds, save_feeds
from hardware_targets._measurement import Measurement
from hardware_targets._plan import Tier
from hardware_targets._roles import HardwareTarget

_RANDOM_ROWS = 16


def measure_file(
    target: HardwareTarget,
    model: Path,
    against: Path | None = None,
    *,
    feeds: Path | None = None,
    seed: int = 0,
    seconds: float | None = None,
    tier: Tier = "final",
) -> Measurement:
    """Measure `model` against another file, or against itself, on saved feeds that fit both, or on seeded noise.

    Against itself the ratio is 1 up to what this machine can resolve. Errors: TargetError.
    """
    reference = against or model
    with tempfile.TemporaryDirectory(prefix="niwaki-") as folder:
        ours = feeds or _noise(target, model, Path(folder) / "candidate", seed)
        theirs = feeds or _noise(target, reference, Path(folder) / "reference", seed)
        return target.measure(model, ours, reference, theirs, seed=seed, seconds=seconds, tier=tier)


def _noise(target: HardwareTarget, model: Path, folder: Path, seed: int) -> Path:
    save_feeds(folder, random_feeds(target.inputs(model), _RANDOM_ROWS, seed))
    return folder
