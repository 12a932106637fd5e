"""What this device is known to be: how long each reference takes here, kept from session to session in a small file.

A ratio holds within its session. What slows both models alike cancels in it; what one of them feels more does not, and
a reference whose weights fill the caches feels every neighbour of its host. So a session compares the reference's
undisturbed time with the sessions before. Where it differs by more than can be told, the reference is measured against
itself once more: either it is back, and that session was odd, or the device has drifted. Then nothing that was known
of it holds, and its qualification begins anew.

One file per fingerprint (`Conditions.fingerprint`), `devices/<fingerprint>.json` in the folder that NIWAKI_CACHE names,
else in ~/.cache/niwaki. A damaged one counts as none; of two processes that write at once one loses a session.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets._blocks import WIDEST
from hardware_targets._feeds import elements, timed_rows
from hardware_targets._measurement import Latency
from hardware_targets._plan import PROTOCOL

KEPT = 50  # sessions of a reference
_ENOUGH = 3  # sessions before their spread is told
RECENT = 3  # sessions within which a machine may be expected to come back to a speed that it showed


@dataclass(frozen=True)
class Seen:
    """A reference's undisturbed milliseconds in one session, averaged over so many inputs."""

    at: str  # ISO 8601, UTC: later is greater
    inputs: int
    ms: float


@dataclass(frozen=True)
class Baseline:
    """One reference on one device; `resolution` is what it last showed against itself."""

    qualified_at: str | None = None  # of the device
    resolution: float | None = None
    seen: tuple[Seen, ...] = ()

    def fastest_ms(self) -> dict[int, float]:
        """The fastest of the last `RECENT` sessions since the qualification, by the number of inputs.

        Not of all: after one fast moment of a shared host every later session would wait for another, in vain.
        """
        by_inputs: dict[int, list[float]] = {}
        for item in self._since():
            by_inputs.setdefault(item.inputs, []).append(item.ms)
        return {inputs: min(found[-RECENT:]) for inputs, found in by_inputs.items()}

    def moved(self, ms: float, inputs: int) -> float | None:
        """The log ratio of a time to the usual one since the qualification; None where there is none."""
        usual = [item.ms for item in self._since() if item.inputs == inputs]
        return math.log(ms / float(np.median(usual))) if usual else None

    def drifted(self, moved: float | None) -> bool:
        """Whether that is more than a figure may be off, and more than the device tells apart."""
        return moved is not None and abs(moved) > max(WIDEST, self.resolution or 0.0)

    def spread(self, inputs: int) -> tuple[float, int] | None:
        """Standard deviation of the log time between all kept sessions, drifts included, and their number."""
        logs = [math.log(item.ms) for item in self.seen if item.inputs == inputs]
        return (float(np.std(logs, ddof=1)), len(logs)) if len(logs) >= _ENOUGH else None

    def _since(self) -> list[Seen]:
        return [item for item in self.seen if item.at >= (self.qualified_at or "")]


class DeviceFile:
    """The file of the device with this fingerprint."""

    def __init__(self, fingerprint: str, folder: Path | None = None) -> None:
        self.path = (folder or _folder()) / "devices" / f"{fingerprint}.json"

    def qualified_at(self) -> str | None:
        """When what is known of the device began to hold."""
        found = self._read().get("qualified_at")
        return None if found is None else str(found)

    def baseline(self, key: str) -> Baseline:
        """What is known of one reference."""
        try:
            held = self._read()["references"][key]
            seen = tuple(Seen(str(at), int(inputs), float(ms)) for at, inputs, ms in held["seen"])
            return Baseline(self.qualified_at(), held["resolution"], seen)
        except (KeyError, TypeError, ValueError):
            return Baseline(self.qualified_at())

    def add(self, key: str, timed: Sequence[tuple[float, int]], resolution: float | None, *, anew: bool) -> str | None:
        """Keep (milliseconds, inputs) of sessions; `anew` begins a qualification. Why it cannot be kept, or None."""
        now, held, known = datetime.now(UTC).isoformat(timespec="microseconds"), self._read(), self.baseline(key)
        seen = (*known.seen, *(Seen(now, inputs, ms) for ms, inputs in timed))[-KEPT:]
        told = known.resolution if resolution is None else resolution
        entry = {"resolution": told, "seen": [[item.at, item.inputs, item.ms] for item in seen]}
        begun = now if anew or known.qualified_at is None else known.qualified_at
        references = held.get("references")
        others = references if isinstance(references, dict) else {}
        return self._write({"qualified_at": begun, "references": {**others, key: entry}})

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, data: Mapping[str, Any]) -> str | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(dir=self.path.parent, prefix=".new-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file)
            Path(beside).replace(self.path)
        except OSError as error:
            return (
                f"what this device is known to take cannot be kept ({error.strerror}: {self.path.parent}), so drift "
                "between sessions is not seen; set NIWAKI_CACHE to a folder that can be written to"
            )
        return None


def reference_key(job: Mapping[str, Any]) -> str:
    """16 hex digits that change with the reference of a `measure` job, its inputs' sizes and what the process may use.

    Errors: TargetError where the inputs cannot be read.
    """
    reference = Path(job["reference"])
    parts = [
        PROTOCOL,
        _sha256(reference, reference.stat().st_mtime_ns),
        [elements(feed) for feed in timed_rows(Path(job["reference_feeds"]))],
        job.get("limits"),
        job.get("runtime_options"),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(maxsize=8)
def _sha256(path: Path, changed: int) -> str:  # noqa: ARG001 - a file that was written anew is read anew
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compared(
    timed: Latency,
    inputs: int,
    device: DeviceFile,
    key: str,
    itself: bool,
    again: Callable[[], tuple[Latency, int]],
) -> tuple[Latency, list[str]]:
    """A session beside what is known of its reference, which it is added to, and sentences about it.

    `itself`: the candidate was the reference. `again` measures the reference against itself, where that is needed, and
    tells the number of inputs too.
    """
    baseline, ms = device.baseline(key), timed.reference_median_ms
    moved, seen = baseline.moved(ms, inputs), [(ms, inputs)]
    resolution = own_resolution(timed) if itself else None
    said, lasting = list[str](), False
    if moved is not None and baseline.drifted(moved):
        against_itself, again_inputs = again()
        back = baseline.moved(against_itself.reference_median_ms, again_inputs)
        if not against_itself.unreliable:  # else nobody knows yet: the next session asks again
            lasting = back is None or abs(back) > abs(moved - back)
            resolution = own_resolution(against_itself)
            seen.append((against_itself.reference_median_ms, again_inputs))
        said.append(_drift_words(ms, moved, against_itself.reference_median_ms, lasting=lasting))
    refused = device.add(key, seen, resolution, anew=lasting)
    between, sessions = device.baseline(key).spread(inputs) or (None, 0)
    found = replace(timed, reference_drift=moved, between_sessions=between, sessions=sessions)
    return found, [*said, *([refused] if refused else [])]


def own_resolution(against_itself: Latency) -> float:
    """Of a model against itself: half the interval's width, or its farther end where that excludes no difference."""
    centre = abs(math.log(against_itself.ratio))
    half = against_itself.half_width
    return half if centre <= half else centre + half


def _drift_words(ms: float, moved: float, again_ms: float, *, lasting: bool) -> str:
    """What the comparison and the session against itself found, and what to do."""
    slower = f"{abs(math.expm1(moved)):.1%} {'slower' if moved > 0 else 'faster'}"
    usual = ms / math.exp(moved)
    if lasting:
        return (
            f"the machine has drifted: the reference takes {ms:.4g} ms, {slower} than it was known to "
            f"({usual:.4g} ms), and {again_ms:.4g} ms against itself just now; the device is qualified anew. Ratios "
            "from before may be off by as much: measure again what is to be compared with this"
        )
    return (
        f"the reference took {ms:.4g} ms in this session, {slower} than it is known to ({usual:.4g} ms), and "
        f"{again_ms:.4g} ms against itself afterwards; this ratio may be off by as much: measure again"
    )


def _folder() -> Path:
    return Path(os.environ.get("NIWAKI_CACHE") or os.path.expanduser("~/.cache/niwaki"))  # noqa: PTH111 - never raises
