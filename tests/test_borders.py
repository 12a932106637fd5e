"""The arrows between the rooms, read from the imports."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import alone
import pytest

REPO = Path(__file__).parent.parent
FILES = sorted(
    path for room in ("search_spaces", "hardware_targets", "pipeline") for path in (REPO / room).rglob("*.py")
)

# Which room may not import what.
FORBIDDEN = {
    "search_spaces": {"pipeline", "hardware_targets", "optuna", "mlflow", "onnxruntime", "transformers", "datasets"},
    "hardware_targets": {"pipeline", "search_spaces", "torch", "optuna", "mlflow", "pydantic", "rich", "transformers"},
    "pipeline": set(),
}
# One door per dependency.
DOORS = {
    "optuna": {"pipeline/search/study.py", "pipeline/search/window.py", "pipeline/search/device_aware.py"},
    "mlflow": {"pipeline/tracking.py"},
    "torch_pruning": {"pipeline/stages/prune.py"},
    "transformers": {"pipeline/teacher_hub.py"},
    "datasets": {"pipeline/tasks/_sources.py"},
    "nltk": {"pipeline/tasks/_wordnet.py"},
    "plotly": {"pipeline/report_charts.py", "pipeline/report_page.py"},
    "typer": {"pipeline/cli.py"},
}


def imports(path: Path, *, at_once: bool = False) -> set[str]:
    """Packages that a file imports; `at_once`: without those that a function imports when it is called."""
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_rooms_and_doors(path: Path) -> None:
    name = path.relative_to(REPO).as_posix()
    found = imports(path)
    assert not found & FORBIDDEN[name.split("/")[0]], f"{name} reaches into a room it must not know"
    for package, doors in DOORS.items():
        assert package not in found or name in doors, f"{package} has one door: {', '.join(doors)}"


def test_there_is_something_to_read() -> None:
    assert len(FILES) > 30


MEASURING = [path for path in FILES if path.relative_to(REPO).parts[0] == "hardware_targets"]
ITS_TESTS = [*(REPO / "tests" / "hardware_targets").rglob("*.py"), *(REPO / file for file in alone.FILES)]


@pytest.mark.parametrize("path", MEASURING, ids=lambda path: str(path.relative_to(REPO)))
def test_the_measuring_is_imported_with_numpy_and_yaml(path: Path) -> None:
    """A runtime, and what reads Parquet, are imported when they are asked for."""
    assert imports(path, at_once=True) - sys.stdlib_module_names <= {"hardware_targets", "numpy", "yaml"}


@pytest.mark.parametrize("path", ITS_TESTS, ids=lambda path: path.stem)
def test_its_tests_need_little_more(path: Path) -> None:
    """What `make test-alone` installs, and each other."""
    beside = {other.stem for other in ITS_TESTS}
    needed = imports(path, at_once=True) - sys.stdlib_module_names - beside
    assert needed <= {"hardware_targets", "numpy", "yaml", *alone.TESTING}
