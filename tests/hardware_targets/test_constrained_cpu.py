"""This machine held to some cores and some memory, for real."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

from hardware_targets import DeviceFailure, Measurement, TargetError, _limits, load
from hardware_targets.__main__ import main
from hardware_targets._spawn import run_child
from hardware_targets.constrained_cpu import Target

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux chooses cores")

MINE = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bench")
    return {
        "small": tiny_models.multiply(folder / "small.onnx", width=64, layers=1),
        "wide": tiny_models.multiply(folder / "wide.onnx", width=4096, layers=1),  # 67 MB of weights
        "feeds": tiny_models.feeds(folder / "feeds", rows=4, width=64),
        "wide_feeds": tiny_models.feeds(folder / "wide_feeds", rows=2, width=4096),
    }


def test_a_measurement_tells_its_limits(bench: dict[str, Path]) -> None:
    target = Target(cores=[MINE[-1]], memory_mb=2000)
    found = target.measure(bench["small"], bench["feeds"], bench["small"], bench["feeds"], seed=0, seconds=1)
    assert found.conditions.limits == f"cores {MINE[-1]}; 2000 MB (data segment)"
    assert found.conditions.fingerprint == target.conditions().fingerprint
    assert found.conditions.fingerprint != load("local_cpu").conditions().fingerprint
    assert Measurement.from_json(found.to_json()) == found
    assert sorted(os.sched_getaffinity(0)) == MINE, "the limits are the child's alone"


def test_the_cores_are_the_measuring_process_s(bench: dict[str, Path]) -> None:
    code = (
        "import os; from hardware_targets import _limits; "
        f"_limits.apply({{'cores': [{MINE[-1]}], 'memory_mb': 300}}); "
        "import resource; print(sorted(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_DATA)[0])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == f"[{MINE[-1]}] 300000000\n"
    assert Target(cores=1)._cpu._job("inputs", bench["small"])["limits"]["cores"] == MINE[:1]


def test_a_model_that_does_not_fit_says_so_and_fits_with_more(bench: dict[str, Path]) -> None:
    for memory_mb in (40, 150):  # too little for the runtime, and for this model only
        with pytest.raises(DeviceFailure, match=rf"does not fit into {memory_mb} MB.*give `memory_mb` more"):
            Target(memory_mb=memory_mb).predict(bench["wide"], bench["wide_feeds"])
    assert Target(memory_mb=150).predict(bench["small"], bench["feeds"]).shape == (4, 3)
    assert Target(memory_mb=1000).predict(bench["wide"], bench["wide_feeds"]).shape == (2, 3)


def test_other_failures_are_left_as_they_are(bench: dict[str, Path]) -> None:
    with pytest.raises(TargetError) as told:
        Target(memory_mb=1000).predict(bench["small"], bench["wide_feeds"])
    assert "fit into" not in str(told.value) and "its inputs are" in str(told.value)


def test_it_shares_the_lock_of_the_processor(bench: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[dict[str, object]] = []

    def note(job: dict[str, object], **options: object) -> object:
        jobs.append(job)
        return run_child(job, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("hardware_targets._sitting.run_child", note)
    for name in ("local_cpu", "constrained_cpu"):
        load(name).measure(bench["small"], bench["feeds"], bench["small"], bench["feeds"], seed=0, seconds=1)
    locks = {job["lock"] for job in jobs if job["task"] == "measure"}
    assert len(locks) == 1


def test_the_command_line_sets_options(bench: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["measure", str(bench["wide"]), "--target", "constrained_cpu", "--seconds", "1"]
    assert main([*arguments, "--set", "memory_mb=40", "--set", f"cores=[{MINE[0]}]"]) == 3
    assert "does not fit into 40 MB" in capsys.readouterr().err
    for odd in ("memory_mb", "=4", "threads=2", "cores=[1"):
        assert main([*arguments, "--set", odd]) == 2
        assert f"--set '{odd}'" in capsys.readouterr().err


@pytest.mark.parametrize("cores", [0, -1, True, 1.5, "0", [], [9999], 10_000])
def test_odd_cores_are_refused(cores: object) -> None:
    with pytest.raises(TargetError, match=r"cores is .*this process may use"):
        load("constrained_cpu", cores=cores)


@pytest.mark.parametrize("memory_mb", [0, -5, True, 15, float("nan")])
def test_odd_memory_is_refused(memory_mb: float) -> None:
    with pytest.raises(TargetError, match=r"memory_mb is .*nothing starts"):
        load("constrained_cpu", memory_mb=memory_mb)


GROUPS = {"two": ("memory.max", "memory.swap.max", "cgroup.procs"), "one": ("memory.limit_in_bytes", "cgroup.procs")}


@pytest.mark.parametrize("version", GROUPS)
def test_a_control_group_is_limited_and_entered(version: str, tmp_path: Path) -> None:
    for name in GROUPS[version]:
        (tmp_path / name).write_text("max\n")
    assert _limits.group_problem(tmp_path) is None
    before = resource.getrlimit(resource.RLIMIT_DATA)
    _limits.apply({"memory_mb": 50.0, "cgroup": str(tmp_path)})
    written = {name: (tmp_path / name).read_text().strip() for name in GROUPS[version]}
    assert written.pop("cgroup.procs") == str(os.getpid())
    assert written.pop(GROUPS[version][0]) == "50000000"
    assert written in ({}, {"memory.swap.max": "0"})
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_folder_that_is_no_control_group_is_a_sentence(tmp_path: Path) -> None:
    reason = Target(memory_mb=100, cgroup=str(tmp_path)).unavailable()
    assert reason is not None and "no control group with a memory limit" in reason
    with pytest.raises(DeviceFailure, match=r"limits 100 MB \(control group\) cannot be set.*choose other limits"):
        _limits.apply({"memory_mb": 100, "cgroup": str(tmp_path / "absent")})
