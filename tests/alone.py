"""The measuring code where nothing else is: `make test-alone`.

    .venv/bin/python tests/alone.py

Makes a fresh virtual environment in a temporary folder with numpy, PyYAML, onnxruntime and what runs tests, copies
`hardware_targets` and its tests there and nothing of the rest, runs the tests, and measures a model file as a device
would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
NEEDED = ("numpy", "pyyaml", "onnxruntime")  # what a device needs
TESTING = ("pytest", "hypothesis")
FOLDERS = ("hardware_targets", "tests/hardware_targets")
FILES = ("tests/fakes.py", "benchmarks/simulated_device.py", "benchmarks/simulated_counter.py")
# Without these the tests would show nothing: they are what the measuring must do without.
ABSENT = ("torch", "onnx", "psutil", "pydantic", "optuna", "mlflow", "pipeline", "search_spaces")
SETTINGS = """[pytest]
testpaths = tests/hardware_targets
pythonpath = . tests
filterwarnings = error
markers =
    slow: long real runs
    system: needs Debian packages
addopts = -q -rs --strict-markers -m "not slow and not system"
"""
MODEL = """import sys; sys.path.insert(0, 'tests/hardware_targets')
from pathlib import Path; import tiny_models
tiny_models.multiply(Path('model.onnx'), width=64, layers=4)"""


def main() -> int:
    """Exit code 0, or that of the first step that failed."""
    with tempfile.TemporaryDirectory(prefix="niwaki-alone-") as name:
        place = Path(name)
        python = environment(place / "venv")
        copy(place / "copy")
        for step in steps(python):
            print("$", *("python" if word == str(python) else word for word in step), flush=True)
            variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            code = subprocess.run(step, cwd=place / "copy", env=variables).returncode
            if code != 0:
                return code
    return 0


def environment(place: Path) -> Path:
    """A fresh one, at the versions that everything is tested with; its Python."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    pinned = ["-c", str(REPO / "constraints.txt")]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned, *NEEDED, *TESTING]
    subprocess.run(install, check=True)
    return python


def copy(place: Path) -> None:
    for folder in FOLDERS:
        shutil.copytree(REPO / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / file, place / file)
    (place / "pytest.ini").write_text(SETTINGS, encoding="utf-8")


def steps(python: Path) -> list[list[str]]:
    """In the copy's folder, one after the other."""
    absent = f"import importlib.util as u; found = [n for n in {ABSENT} if u.find_spec(n)]; assert not found, found"
    measuring = [str(python), "-m", "hardware_targets"]
    return [
        [str(python), "-c", absent],
        [str(python), "-m", "pytest", "-c", "pytest.ini"],
        [str(python), "-c", MODEL],
        [*measuring, "doctor"],
        [*measuring, "measure", "model.onnx", "--seconds", "2"],
    ]


if __name__ == "__main__":
    sys.exit(main())
