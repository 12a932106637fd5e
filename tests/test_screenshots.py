"""The MLflow pages in a real headless browser: what docs/mlflow.md shows is really there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import synthetic
from PIL import Image

from pipeline.progress import Quiet
from pipeline.search import loop

SCRIPT = Path(__file__).parent.parent / "docs" / "screenshots.py"
TRIALS = 14


def load() -> ModuleType:
    """docs/screenshots.py as a module; docs is no package."""
    spec = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["screenshots"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


screenshots = load()


def test_a_large_picture_is_given_fewer_colours(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((900, 600), 80).convert("RGB").save(path)
    before = path.stat().st_size
    assert before > screenshots.LARGEST_BYTES
    screenshots.shrink(path)
    assert path.stat().st_size < before
    with Image.open(path) as picture:
        assert picture.size == (900, 600)


def test_what_is_missing_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screenshots.shutil, "which", lambda _: None)
    assert "apt-get install chromium chromium-driver" in str(screenshots.missing())
    monkeypatch.setattr(screenshots.shutil, "which", lambda program: f"/bin/{program}")
    assert screenshots.missing() is None


@pytest.mark.system
def test_the_pages_show_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := screenshots.missing():
        pytest.skip(reason)
    monkeypatch.setattr(loop, "run_trial", synthetic.record)
    settings = synthetic.config(TRIALS)
    found = loop.run_search(settings, synthetic.workspace(tmp_path, settings), Quiet(), prepare=synthetic.bench)

    texts = screenshots.take(tmp_path, "synthetic", tmp_path / "pictures")

    assert set(texts) == {"runs", "charts", "search", "search-artifacts", "trial", "front"}
    for name in texts:
        picture = tmp_path / "pictures" / f"{name}.png"
        assert picture.stat().st_size <= screenshots.LARGEST_BYTES
        with Image.open(picture) as opened:
            assert len(opened.convert("RGB").getcolors(1 << 24) or []) > 20, f"{name}.png is blank"
    assert f"{TRIALS + 1} matching runs" in texts["runs"]
    for record in found.report.records[:6]:
        assert f"{record.number:03d} {record.candidate.student}" in texts["runs"]
    for column in ("accuracy", "latency_p50_ms", "energy_mj", "on_front"):
        assert column in texts["runs"]
    assert "Parallel Coordinates" in texts["charts"]
    assert "teacher.accuracy" in texts["search"] and "sampler.name" in texts["search"]
    front = f"{len(found.report.front_numbers)} of {TRIALS} complete trials on the front"
    assert front in texts["front"]
    assert front in texts["search-artifacts"], "MLflow shows the front's page itself"
    assert "modelled-generic" in texts["trial"]
    assert "modelled-generic" in texts["front"]
