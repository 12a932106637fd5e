"""The benchmarks of measuring, in small: the independent loop, the repeated measurement, the simulated counter."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import fakes
import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent / "hardware_targets"))

import compare_independent
import independent_loop
import repeat_measure
import simulated_counter
import tiny_models

from hardware_targets import Energy, Measurement, load_feeds

LOOP = Path(independent_loop.__file__)


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path, Path]:
    return (
        tiny_models.multiply(tmp_path / "small.onnx", width=128, layers=1),
        tiny_models.multiply(tmp_path / "big.onnx", width=128, layers=24),
        tiny_models.feeds(tmp_path / "feeds", rows=20, width=128),
    )


def test_the_loop_knows_nothing_of_niwaki_and_tells_which_file_is_faster(models: tuple[Path, Path, Path]) -> None:
    tree = ast.parse(LOOP.read_text())
    imported = {item.name for node in ast.walk(tree) if isinstance(node, ast.Import) for item in node.names}
    assert imported == {"argparse", "time", "numpy", "onnxruntime"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    small, big, feeds = models
    faster = independent_loop.speedup(str(small), str(big), list(load_feeds(feeds))[:4], 0.2)
    slower = independent_loop.speedup(str(big), str(small), list(load_feeds(feeds))[:4], 0.2)
    assert min(faster) > 2 and max(slower) < 0.5


def test_both_programs_work_on_the_same_rows(models: tuple[Path, Path, Path], tmp_path: Path) -> None:
    small, big, feeds = models
    for given in (feeds, None):
        folder, inputs = compare_independent.prepared(small, given, tmp_path / f"{given is None}")
        (name, held), *_ = np.load(inputs).items()
        np.testing.assert_array_equal(held, np.concatenate([feed[name] for feed in load_feeds(folder)]))
        assert len(held) == compare_independent.MOST_ROWS
    loop = [sys.executable, str(LOOP), str(small), str(big), str(inputs)]
    assert min(compare_independent.told([*loop, "--seconds", "0.1"])) > 1.5


def measured(ratio: float, *warnings: str, **changes: object) -> Measurement:
    latency = fakes.latency(ratio * 10, 10.0, conclusive=True, **changes)
    energy = Energy(1.0, 0.5, 1.5, "modelled-generic", "test", "scripted", "a test")
    return Measurement(latency, energy, 1.0, fakes.conditions(), warnings)


VOID = {"rounds": 9, "voided_rounds": 9, "void_reasons": ("foreign CPU: 9",)}


def test_the_scatter_is_of_conclusive_and_reliable_figures() -> None:
    good = [measured(0.5), measured(0.505)]
    odd = [measured(0.8, "inconclusive: ..."), measured(0.9, "unreliable: ...", **VOID)]
    odd[0] = Measurement.from_json({**odd[0].to_json(), "latency": {**odd[0].latency.to_json(), "conclusive": False}})
    told = repeat_measure.summary([*good, *odd], loaded=False)
    assert (told["times"], told["conclusive"], told["unreliable"], told["flagged"]) == (4, 2, 1, 2)
    assert told["sd_percent"] == pytest.approx(0.704, abs=1e-3) and told["met"]
    assert told["all_sd_percent"] > 20
    assert not repeat_measure.summary([measured(0.5), measured(0.52)], loaded=False)["met"]
    assert not repeat_measure.summary([odd[1], odd[1]], loaded=False)["met"]  # nothing conclusive is no success
    assert "9 of 9 rounds void; unreliable" in repeat_measure.line(odd[1])


def test_under_a_load_nothing_may_look_like_a_quiet_machine() -> None:
    void = measured(0.5, "unreliable: ...", **VOID)
    flagged = measured(0.5, "other processes used 50% of the machine while it was timed")
    assert repeat_measure.summary([void, flagged], loaded=True)["met"]
    assert not repeat_measure.summary([void, flagged, measured(0.5)], loaded=True)["met"]


def test_the_load_keeps_a_core_busy_and_ends() -> None:
    before = psutil.Process().children()
    with repeat_measure.busy(None):
        (loop,) = set(psutil.Process().children()) - set(before)
        assert loop.is_running()
    assert not psutil.pid_exists(loop.pid)


@pytest.mark.parametrize(("name", "kind", "bars"), list(simulated_counter.scenes()))
def test_the_simulated_counter(name: str, kind: str, bars: list[tuple[str, float, float]]) -> None:
    shown = simulated_counter.summary(kind, [1, 2, 3])
    for key, low, high in bars:
        if key not in ("covered", "covered_joules"):  # of three sessions nobody can say
            assert low <= shown[key] <= high, (name, key)
