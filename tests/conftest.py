"""Shared by all tests: one thread, offline, and an MLflow store that is made once and copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: a second thread costs more than it brings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, or one of them is what all others wait for at the end."""
    items.sort(key=lambda item: "journeys" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What this machine is known to take is the user's; tests keep theirs apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIWAKI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_kernels() -> Iterator[None]:
    """A search tells torch to keep few kernels; later tests, and what they start, are not told."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        if name.endswith("CACHE_CAPACITY"):
            del os.environ[name]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised mlflow.db: making one takes seconds, copying it nothing."""
    from pipeline.tracking import client
    from pipeline.workspace import Workspace

    root = tmp_path_factory.mktemp("store")
    client(Workspace(root, "none"))
    return root / "mlflow.db"


@pytest.fixture
def store_in(empty_store: Path) -> Callable[[Path], None]:
    """Put an initialised store into a root."""

    def put(root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "mlflow.db").exists():
            shutil.copyfile(empty_store, root / "mlflow.db")

    return put
