"""The processes that the journeys start: they end as others do, and are forked from one that has no thread to lose."""

from __future__ import annotations

import subprocess
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
from warm import Running

SCRIPT = """
import os, sys, time
print(os.getcwd(), os.environ["WANTED"], *sys.argv[1:], flush=True)
print("to the other", file=sys.stderr, flush=True)
if sys.argv[1] == "wait":
    Path = __import__("pathlib").Path
    Path("begun").touch()
    time.sleep(60)
sys.exit(3)
"""


def started(folder: Path, word: str) -> Running:
    (folder / "script.py").write_text(SCRIPT)
    return Running(folder, (str(folder / "script.py"),), (word,), WANTED="here")


def test_it_says_what_it_says_and_ends_with_its_code(tmp_path: Path) -> None:
    done = started(tmp_path, "go").ended(within_s=60)
    assert (done.returncode, done.stdout.split()) == (3, [str(tmp_path), "here", "go"])
    assert done.stderr == "to the other\n"


def test_it_can_be_interrupted_and_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    process = started(tmp_path, "wait")
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    process.interrupt()
    assert "KeyboardInterrupt" in process.ended(within_s=30).stderr
    with pytest.raises(subprocess.TimeoutExpired):
        started(tmp_path, "wait").ended(within_s=0.5)


def test_no_thread_is_lost_by_a_fork(tmp_path: Path) -> None:
    started(tmp_path, "go").ended(within_s=60)
    tasks = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/task")  # type: ignore[attr-defined]
    if not tasks.exists():
        pytest.skip("this system does not show the threads of a process")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
    assert [name for name in names if not name.startswith("jemalloc")] == names[:1], names
