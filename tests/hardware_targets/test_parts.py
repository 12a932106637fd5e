"""Finding parts by their files, and the package alone in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hardware_targets
from hardware_targets import TargetError, UnknownPart

HOME = Path(hardware_targets.__file__).parent


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, hardware_targets as h; names = h.available(); "
        "heavy = {'torch', 'onnxruntime', 'openvino', 'pynvml', 'optuna', 'mlflow', 'pydantic', 'rich'}; "
        "print('local_cpu' in names, sorted(heavy & set(sys.modules)), 'hardware_targets.local_cpu' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "True [] False\n"


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownPart, match=r"no target named 'local_gpu'; did you mean 'local_cpu'\?"):
        hardware_targets.load("local_gpu")
    with pytest.raises(UnknownPart, match=r"there are: .*local_cpu"):
        hardware_targets.load("_child")


def test_unknown_options_name_the_known_ones() -> None:
    with pytest.raises(TargetError, match=r"takes no option 'cores'; it takes: threads"):
        hardware_targets.load("local_cpu", cores=2)


def test_doctor_is_honest_about_energy() -> None:
    rows = {(row["role"], row["name"]): row for row in hardware_targets.doctor()}
    assert set(rows) >= {("target", "local_cpu"), ("meter", "modelled_generic"), ("runtime", "onnxruntime")}
    counters = {"rapl", "perf_power", "nvml", "amd_gpu", "jetson_ina", "pi5_pmic", "powermetrics", "wall_meter"}
    for name in counters:
        assert rows["meter", name]["available"] or rows["meter", name]["reason"].strip()
    meter = rows["meter", "modelled_generic"]
    assert meter["available"] and "modelled-generic, not measured" in meter["reason"]
    assert "where no energy counter is available" in meter["reason"]


def test_it_works_copied_alone_and_a_new_file_is_a_new_part(tmp_path: Path) -> None:
    shutil.copytree(HOME, tmp_path / "hardware_targets", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "hardware_targets" / "meters" / "half_done.py").write_text("class Meter(: ...\n")
    (tmp_path / "hardware_targets" / "meters" / "absent.py").write_text(
        "class Meter:\n    kind = boundary = 'x'\n    def unavailable(self):\n        return 'no such sensor here'\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "hardware_targets", "doctor", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {row["name"]: row for row in json.loads(run.stdout)}
    assert rows["local_cpu"]["available"] is True
    assert rows["absent"] == {"role": "meter", "name": "absent", "available": False, "reason": "no such sensor here"}
    assert not rows["half_done"]["available"] and "SyntaxError" in rows["half_done"]["reason"]
