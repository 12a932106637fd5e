"""A bank of students that were never trained: real spaces, files and tables around made-up but plausible figures."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fakes

import search_spaces
from hardware_targets import Energy, Measurement
from pipeline.config import SearchConfig
from pipeline.config_file import parse_config
from pipeline.record import write_json
from pipeline.workspace import Workspace
from search_spaces import IDENTITY, ImageInput, SearchSpace
from search_spaces.candidate import Candidate

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from bank_design import members, variants
from bank_store import Bank, shape_key

INPUT = ImageInput(channels=1, size=16, classes=10)
TEACHER_MS = 10.0
TEACHER_QUALITY, CHANCE = 0.95, 0.1
SPACE: dict[str, Any] = {
    "students": ["convnet", "identity"],
    "convnet": {"resolution": 16, "stem_stride": [1, 2], "stages": 2, "width": [8, 16, 32], "depth": [1, 2],
                "block": "plain"},
    "distill": {"temperature": [2.0, 4.0], "soft_weight": 0.9, "hard_weight": 0.1, "hidden_weight": 0.0,
                "learning_rate": [0.001, 0.002, 0.004], "epochs": [4, 8], "augment": "none"},
    "prune": {"ratio": [0.0, 0.2, 0.4], "criterion": "magnitude", "round_to": 4, "recovery_epochs": 1},
    "quantize": {"scheme": ["none", "static_int8"], "per_channel": True},
}  # fmt: skip


def config(**changes: Any) -> SearchConfig:
    data = {
        "name": "synthetic_bank",
        "task": {"data": {"source": "sklearn", "name": "digits"}, "size": 16, "channels": 1, "augmentations": ["none"]},
        "teacher": {"path": "nowhere"},
        "energy": "modelled",
        "space": SPACE,
        "sampler": {"name": "tpe", "startup_trials": 5},
        **changes,
    }
    return parse_config(data, "synthetic")


def space() -> SearchSpace:
    return search_spaces.load(SPACE, input=INPUT, augmentations=["none"])


def write(root: Path, energy_kind: str = "measured", students: int = 36) -> Bank:
    """A bank below `root` as `bank.py train` and `bank.py device` leave it, and its table is still to be written."""
    settings, bank = config(), Bank(root, "synthetic_bank")
    quality = {"accuracy": TEACHER_QUALITY}
    write_json(
        bank.about,
        {"config": settings.resolved(), "input": {"kind": "image", **asdict(INPUT)}, "quality": quality,
         "chance": {"accuracy": CHANCE}},
    )  # fmt: skip
    for member in members(space(), 0, students):
        flats = variants(member.flat, space())
        files = [_variant(bank, Candidate.of(flat, member.seed), energy_kind) for flat in flats]
        plain = {"number": member.number, "seed": member.seed, "values": member.flat, "end": "complete"}
        curve = _curve(member.candidate)
        write_json(bank.member(member.number) / "member.json", {**plain, "curve": curve, "variants": files})
    own = [_variant(bank, Candidate.of(flat, 0), energy_kind) for flat in space().identity_candidates()]
    nothing = {"number": -1, "seed": 0, "values": {"student": IDENTITY}, "end": "complete", "curve": []}
    write_json(bank.member(-1) / "member.json", {**nothing, "variants": own})
    frozen = {"measurement": _measurement(TEACHER_MS, energy_kind).to_json()}
    write_json(Workspace(root, settings.name).folder / "teacher" / "figures.json", frozen)
    return bank


def accuracy(flat: Mapping[str, Any]) -> float:
    """Larger students and the middle learning rate are better, 8 bits and pruning slightly worse; noise by the key."""
    if flat["student"] == IDENTITY:
        return TEACHER_QUALITY - 0.002 * (flat.get("quantize.scheme") != "none")
    lost = 0.3 / size(flat) + 0.03 * (flat["distill.learning_rate"] != 0.002) + 0.1 / flat["distill.epochs"]
    lost += 0.05 * flat.get("prune.ratio", 0) + 0.004 * (flat.get("quantize.scheme") == "static_int8")
    return round(TEACHER_QUALITY - lost - 0.01 * random.Random(str(sorted(flat.items()))).random(), 4)


def size(flat: Mapping[str, Any]) -> float:
    stride, depth = flat["convnet.stem_stride"], flat["convnet.depth"]
    return float(flat["convnet.width"] / 8 * depth**0.5 * (1.5 if stride == 1 else 1.0))


def _curve(candidate: Candidate) -> list[dict[str, float]]:
    flat = candidate.flat()
    end, epochs = accuracy({**flat, "prune.ratio": 0.0, "quantize.scheme": "none"}), flat["distill.epochs"]
    rows = range(1, int(epochs) + 1)
    return [
        {"epoch": row, "rung_accuracy": end - 0.2 * (1 - row / len(rows)), "cpu_seconds": row * size(flat)}
        for row in rows
    ]


def _variant(bank: Bank, candidate: Candidate, energy_kind: str) -> dict[str, Any]:
    flat = candidate.flat()
    compressed = {name: value for name, value in flat.items() if name.startswith(("prune.", "quantize."))}
    architecture = {**candidate.section(candidate.student), **candidate.section("prune")}
    key = shape_key({"student": candidate.student, **architecture}, candidate.section("quantize"))
    ms = TEACHER_MS * 0.9 if candidate.student == IDENTITY else 0.3 * size(flat) * (1 - flat.get("prune.ratio", 0))
    ms *= 0.6 if flat["quantize.scheme"] == "static_int8" else 1.0
    told = {"took_s": 3.5, "measurement": _measurement(ms, energy_kind).to_json()}
    write_json(bank.figures(key, "screen"), told)
    recover = {"recover": 0.5 * size(flat)} if flat.get("prune.ratio") else {}
    spent = {"export": 0.2, "quantize": 0.5, "score": 0.5, **recover}
    return {"key": candidate.key, "values": compressed, "end": "complete", "reason": None, "shape": key,
            "quality": {"accuracy": accuracy(flat)}, "cpu_seconds": spent, "size_bytes": int(1e5 * ms)}  # fmt: skip


def _measurement(ms: float, kind: str) -> Measurement:
    """Energy is not just a multiple of the latency: the wider, the hungrier."""
    mj = 5.0 * ms**1.1
    energy = Energy(mj, mj, mj, kind, "package", "test", "test")
    return Measurement(fakes.latency(ms, TEACHER_MS), energy, 10.0, fakes.conditions(), ())
