"""`python -m hardware_targets`: sentences, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models

from hardware_targets.__main__ import main


def test_measure_prints_figures_with_kind_and_band(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tiny_models.multiply(tmp_path / "small.onnx", width=64)
    big = tiny_models.multiply(tmp_path / "big.onnx", width=64, layers=12, batch="n")
    assert main(["measure", str(small), "--against", str(big), "--seconds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["latency"]["ratio"] < 1
    assert found["energy"]["kind"] == "modelled-generic"


def test_measure_reads_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fakes

    target = fakes.ScriptedTarget(latency_ms=2.0)
    monkeypatch.setattr("hardware_targets.__main__.load", lambda *_, **__: target)
    model = tiny_models.multiply(tmp_path / "m.onnx")
    assert main(["measure", str(model)]) == 0
    out = capsys.readouterr().out
    assert "2 ms median" in out and "p90 2.2 ms" in out and "p99" not in out
    assert "0.2 of itself (0.198 to 0.202, 95 %)" in out
    assert "modelled-generic" in out and "5 MB" in out
    target.energy, target.reason = False, None
    assert main(["measure", str(model)]) == 0
    assert "energy    not measured: no meter in this test" in capsys.readouterr().out
    target.reason = "no such board"
    assert main(["measure", str(model)]) == 3
    assert "no such board" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["measure", "none.onnx"], "there is no file none.onnx"),
        (["measure", "."], "is a folder"),
        (["measure", "bad.onnx"], "does not load"),
        (["measure", "good.onnx", "--against", "none.onnx"], "there is no file none.onnx"),
        (["measure", "good.onnx", "--feeds", "nowhere"], "holds no feeds"),
        (["measure", "good.onnx", "--target", "local_gpu"], "did you mean 'local_cpu'"),
        (["measure", "good.onnx", "--threads", "0"], "threads is 0"),
    ],
)
def test_bad_input_is_a_sentence(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_models.multiply(tmp_path / "good.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"PK\x03\x04")
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and said in printed.err
    assert printed.out == "" and "Traceback" not in printed.err


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "runtime  onnxruntime        available" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert all(row.keys() == {"role", "name", "available", "reason"} for row in json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("arguments", [[], ["measure"], ["weigh"], ["measure", "m.onnx", "--threads", "two"]])
def test_usage_errors(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
