"""A search over a real sshd whose link is dropped: what was trained is kept, and measured when the device is back."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from loopback import INSTALL, MISSING, Server, within
from small_search import small_search

from pipeline.record import TrialRecord, read_records

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(MISSING, reason=INSTALL),
]

REPO = Path(__file__).parents[2]
TRIALS = 6
SPACE = {
    "students": ["convnet"],
    "convnet": {"width": [8, 16, 24, 32], "depth": 1, "stages": 2},
    "distill": {"epochs": 2},
    "prune": {"ratio": 0},
}
SEARCH = small_search("away", TRIALS, space=SPACE)
BOARD = {"meter": "calibrated", "meter_options": {"device": "raspberry_pi_4"}}


class Caller:
    """The command line in a folder of its own."""

    def __init__(self, folder: Path, server: Server) -> None:
        folder.mkdir()
        self.folder, self.search = folder, folder / "mlruns" / "searches" / "away"
        options = {**server.options(), "retries": 1, "options": BOARD}
        config = {**SEARCH, "target": {"name": "ssh", "seconds": 1, "options": options}}
        (folder / "away.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(REPO), "COLUMNS": "160"}
        command = [sys.executable, "-m", "pipeline.cli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True)

    def niwaki(self, *arguments: str) -> tuple[int, str]:
        with self.start(*arguments) as process:
            said, wrong = process.communicate(timeout=600)
            return process.returncode, said + wrong

    def records(self) -> list[TrialRecord]:
        return read_records(self.search)

    def told(self) -> dict[int, str]:
        """Trial -> what the study knows of it."""
        with sqlite3.connect(self.folder / "mlruns" / "study.db") as db:
            return dict(db.execute("select number, state from trials"))


def test_a_dropped_link_costs_no_training(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    caller = Caller(tmp_path / "caller", server)
    try:
        with caller.start("search", "away.yaml") as search:
            assert within(600, lambda: len(caller.records()) >= 2 or search.poll() is not None)
            server.stop()
            said = "".join(search.communicate(timeout=600))
        assert search.returncode == 0, said
        assert "3 trials in a row were trained and kept" in said and "niwaki measure-pending away" in said
        before = caller.records()
        waiting = [record.number for record in before if record.end == "pending"]
        assert len(waiting) == 3 and all(record.curve for record in before), "trained, each of them"
        assert {caller.told()[number] for number in waiting} == {"RUNNING"}

        code, said = caller.niwaki("measure-pending", "away")
        assert code == 3 and "does not answer" in said and "Traceback" not in said
        assert [record.to_json() for record in caller.records()] == [record.to_json() for record in before]

        server.start()
        code, said = caller.niwaki("measure-pending", "away", "--json")
        assert code == 0, said
        assert json.loads(said)["measured"] == {str(number): "complete" for number in waiting}
    finally:
        server.stop()
    after = caller.records()
    assert {record.end for record in after} == {"complete"}
    assert [record.curve for record in after] == [record.curve for record in before], "nothing was trained again"
    assert set(caller.told().values()) == {"COMPLETE"}
    energies = [(record.measurement or {})["energy"] for record in after]
    assert {energy["kind"] for energy in energies} == {"modelled-calibrated"}
    assert {(energy["boundary"], energy["meter"]) for energy in energies} == {("wall", "calibrated")}
    teacher = json.loads((caller.search / "teacher" / "figures.json").read_text())["measurement"]["energy"]
    assert teacher["kind"] == "modelled-calibrated"
    assert len({(record.measurement or {})["conditions"]["fingerprint"] for record in after}) == 1
