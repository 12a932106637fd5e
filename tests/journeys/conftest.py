"""A real small search in its own folder, run as a user runs it: in processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_search import small_search

HERE = Path(__file__).parent
REPO = HERE.parent.parent

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

    def niwaki(
        self, *arguments: str, program: tuple[str, ...] = ("-m", "pipeline.cli")
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(REPO), "COLUMNS": "160"}
        command = [sys.executable, *program, *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=280)

    def killed(self, moment: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.niwaki(*arguments, program=(str(HERE / "killer.py"), moment))

    def stopped(self, after_trials: int, *arguments: str) -> tuple[int, str]:
        """Press Ctrl-C once so many trials have finished; exit code and what was said."""
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        command = [sys.executable, "-m", "pipeline.cli", *arguments]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A background job of a shell is started with Ctrl-C ignored, and would hand that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            deadline = time.monotonic() + 200
            while len(list(self.search.glob("trials/*/record.json"))) < after_trials and time.monotonic() < deadline:
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
            return process.returncode, said


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("home"))
    made.write()
    return made


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """For a search of a test's own."""
    return Home(tmp_path)
