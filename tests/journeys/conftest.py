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

HERE = Path(__file__).parent
REPO = HERE.parent.parent

SMALL: dict[str, Any] = {
    "name": "small",
    "task": {
        "data": {"source": "sklearn", "name": "digits"},
        "size": 8,
        "channels": 1,
        "limit_rows": {"train": 1200},
        "augmentations": ["none", "shift"],
    },
    "teacher": {
        "size": 32,
        "train": {
            "model_type": "resnet",
            "config": {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "basic"},
            "epochs": 4,
            "learning_rate": 0.005,
        },
    },
    "target": {"name": "local_cpu", "seconds": 1},
    "energy": "modelled",
    "space": {
        "students": ["identity", "convnet", "transformer"],
        "convnet": {"width": [8, 16], "depth": 1, "stages": 2},
        "transformer": {"layers": [1, 2], "heads": [1, 2]},
        "distill": {"epochs": 2},
        "prune": {"ratio": [0, 0.5], "recovery_epochs": 1},
    },
    "limits": {"trials": 10},
    "recipes": "none",
}


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
