"""A real small search in its own folder, run as a user runs it: in processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_search import small_search
from warm import Running

HERE = Path(__file__).parent
NIWAKI = ("-m", "pipeline.cli")
ENVIRONMENT = {"PYTHONPATH": str(HERE.parent.parent), "COLUMNS": "160"}
SMALL = small_search("small", 10)


@dataclass(frozen=True)
class Home:
    """A folder with a configuration and an mlruns, and the command line on it."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "mlruns"

    @property
    def search(self) -> Path:
        return self.root / "searches" / "small"

    def write(self, **changes: Any) -> Path:
        path = self.folder / "small.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}), encoding="utf-8")
        return path

    def niwaki(self, *arguments: str, program: tuple[str, ...] = NIWAKI) -> subprocess.CompletedProcess[str]:
        """One command line to its end."""
        return self.started(*arguments, program=program).ended(within_s=280)

    def killed(self, moment: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.niwaki(*arguments, program=(str(HERE / "killer.py"), moment))

    def stopped(self, after_trials: int, *arguments: str) -> tuple[int, str]:
        """Press Ctrl-C once so many trials have finished; exit code and what was said."""
        process = self.started(*arguments)
        deadline = time.monotonic() + 200
        while len(list(self.search.glob("trials/*/record.json"))) < after_trials and time.monotonic() < deadline:
            time.sleep(0.2)
        process.interrupt()
        done = process.ended(within_s=60)
        return done.returncode, done.stdout + done.stderr

    def cold(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `niwaki`, by an interpreter that has nothing imported yet."""
        environment = {**os.environ, **ENVIRONMENT}
        command = [sys.executable, *NIWAKI, *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=280)

    def started(self, *arguments: str, program: tuple[str, ...] = NIWAKI) -> Running:
        return Running(self.folder, program, arguments, **ENVIRONMENT)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("home"))
    made.write()
    return made


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """For a search of a test's own."""
    return Home(tmp_path)
