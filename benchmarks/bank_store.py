"""Where a bank of students lies, and by what its files are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bank_design import NEVER

from pipeline.config import SearchConfig
from pipeline.config_file import parse_config
from pipeline.record import read_json
from search_spaces.candidate import Scalar

TEACHER = "teacher"  # its key in the table


class Bank:
    """The folder of one bank."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name, self.folder = root, name, root / "bank" / name

    @property
    def about(self) -> Path:
        return self.folder / "bank.json"

    def member(self, number: int) -> Path:
        return self.folder / "members" / f"{number:03d}"

    def file(self, shape: str) -> Path:
        return self.folder / "files" / f"{shape}.onnx"

    def figures(self, shape: str, tier: str) -> Path:
        return self.folder / "device" / tier / f"{shape}.json"

    def read_members(self) -> list[dict[str, Any]]:
        """Every trained student, the teacher's own files (number -1) among them."""
        return [read_json(path) for path in sorted(self.folder.glob("members/*/member.json"))]

    @property
    def config(self) -> SearchConfig:
        if not self.about.exists():
            raise SystemExit(f"there is no bank {self.name!r} below {self.root}; make it first: bank.py train FILE")
        return parse_config(read_json(self.about)["config"], str(self.about))


def shape_key(shape: Mapping[str, Any], quantization: Mapping[str, Scalar]) -> str:
    """16 hex digits that change with all of a file that its times depend on; weights do not."""
    timed = {name: value for name, value in shape.items() if name not in NEVER}
    return hashlib.sha256(json.dumps([timed, quantization], sort_keys=True).encode()).hexdigest()[:16]
