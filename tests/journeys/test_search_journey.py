"""A real small search: Ctrl-C, six kills, the same command each time; its three stores agree; then a pick from it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from killer import MOMENTS

from pipeline.record import read_records

pytestmark = pytest.mark.timeout(900)

SEARCH = ("search", "small.yaml")


@pytest.fixture(scope="module")
def searched(home):
    """The search after a kill at every moment and a last run to the end."""
    code, said = home.stopped(1, *SEARCH)
    assert code == 130 and "the same command goes on" in said, said
    for moment in MOMENTS:
        before = {record.number: record for record in read_records(home.search)}
        done = home.killed(moment, *SEARCH)
        assert done.returncode == -9, f"{moment}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        after = {record.number: record for record in read_records(home.search)}
        assert before.items() <= after.items(), f"{moment}: a finished trial was lost or changed"
    done = home.cold(*SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done


def studies_trials(home) -> dict[int, str]:
    with sqlite3.connect(home.root / "study.db") as db:
        return dict(db.execute("select number, state from trials"))


def mlflow_runs(home) -> dict[int, dict[str, str]]:
    query = """select t.value, r.run_uuid, r.status from tags t join runs r using (run_uuid)
               where t.key = 'niwaki.trial' and r.lifecycle_stage = 'active'"""
    with sqlite3.connect(home.root / "mlflow.db") as db:
        rows = db.execute(query).fetchall()
        assert len({number for number, *_ in rows}) == len(rows), "a trial has two runs"
        return {
            int(number): {
                "status": status,
                **dict(db.execute("select key, value from tags where run_uuid = ?", (run,))),
            }
            for number, run, status in rows
        }


def test_three_stores_agree_after_six_kills(searched) -> None:
    home, _ = searched
    records = {record.number: record for record in read_records(home.search)}
    states, runs = studies_trials(home), mlflow_runs(home)
    assert set(records) == {number for number, state in states.items() if state != "WAITING"} == set(runs)
    expected = {
        "complete": "COMPLETE",
        "duplicate": "COMPLETE",
        "failed": "FAIL",
        "interrupted": "FAIL",
        "refused": "PRUNED",
    }
    for number, record in records.items():
        assert states[number] == expected[record.end]
        assert runs[number]["end"] == record.end
        assert runs[number]["status"] != "RUNNING"


def test_nothing_was_done_twice(searched) -> None:
    home, _ = searched
    keys = [record.candidate.key for record in read_records(home.search) if record.counts]
    assert len(keys) == len(set(keys)) == 10


def test_cut_off_trials_were_tried_again(searched) -> None:
    home, _ = searched
    records = read_records(home.search)
    cut_off = [record for record in records if record.end == "interrupted"]
    assert len(cut_off) >= 3  # epoch, export, measuring; the later moments come after the record
    finished = {record.candidate.key for record in records if record.counts}
    assert {record.candidate.key for record in cut_off} <= finished


def test_front_files_are_whole(searched) -> None:
    home, _ = searched
    stored = json.loads((home.search / "front.json").read_text())
    assert stored["front"]
    assert (home.search / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (home.search / "front.html").read_text()
    assert not list(home.search.rglob("*.part"))


def test_front_tags_in_mlflow(searched) -> None:
    home, _ = searched
    stored = json.loads((home.search / "front.json").read_text())
    tagged = {number for number, run in mlflow_runs(home).items() if run["on_front"] == "true"}
    assert tagged == {point["number"] for point in stored["front"]}


def test_the_same_command_again_changes_nothing(searched) -> None:
    home, _ = searched
    before = read_records(home.search)
    assert home.niwaki(*SEARCH).returncode == 0
    assert read_records(home.search) == before


def test_lost_databases_are_written_again_from_the_records(searched) -> None:
    home, _ = searched
    states, runs = studies_trials(home), mlflow_runs(home)
    (home.root / "study.db").unlink()
    (home.root / "mlflow.db").unlink()
    done = home.niwaki(*SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    again = studies_trials(home)
    assert {number: again[number] for number in runs} == {number: states[number] for number in runs}
    assert {number: run["end"] for number, run in mlflow_runs(home).items()} == {
        number: run["end"] for number, run in runs.items()
    }


def test_a_changed_configuration_is_refused(searched) -> None:
    home, _ = searched
    home.write(seed=7)
    done = home.niwaki(*SEARCH)
    home.write()
    assert done.returncode == 2
    assert "seed: 0 -> 7" in done.stderr


BLOCKED = """
import importlib.abc, runpy, sys
class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'transformers', 'pipeline', 'search_spaces', 'hardware_targets', 'sklearn'):
            raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Wall())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""

OUTSIDER = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image
sys.path.insert(0, sys.argv[1])
import predict
rows = np.load(sys.argv[2])
answers = [int(np.argmax(predict.logits(Image.fromarray(row)))) for row in rows]
print(json.dumps(answers))
"""


def outside(script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    wall = cwd / "wall.py"
    wall.write_text(BLOCKED)
    body = cwd / "body.py"
    body.write_text(script)
    command = [sys.executable, str(wall), str(body), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_pick_predict_and_the_sealed_test(searched, tmp_path: Path) -> None:
    home, _ = searched
    # how fast the fastest is beside so small a teacher depends on the machine
    front = json.loads((home.search / "front.json").read_text())["front"]
    best = max(row["metrics"]["speedup"] for row in front)
    picked = home.niwaki("pick", "small", "--speedup", f"{0.99 * best:.4f}", "--out", "picked", "--json")
    assert picked.returncode == 0, picked.stdout + picked.stderr
    number = json.loads(picked.stdout)["trial"]
    by_number = home.niwaki(
        "pick", "small", "--trial", str(number), "--speedup", "9999", "--knee", "--out", "by", "--json"
    )
    told = json.loads((home.folder / "by" / "pick.json").read_text())
    assert json.loads(by_number.stdout)["alias"] == f"trial-{number}" and not told["budget"]
    done = home.niwaki("front", "small", "--test", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    sealed = json.loads((home.search / "test.json").read_text())
    again = home.niwaki("front", "small", "--test")
    assert json.loads((home.search / "test.json").read_text()) == sealed
    assert "scored once" in again.stdout

    from pipeline.findings import config_of
    from pipeline.workbench import prepare_task
    from pipeline.workspace import Workspace

    workspace = Workspace(home.root, "small")
    task = prepare_task(config_of(workspace), workspace)
    images = np.stack([np.asarray(image) for image in task.raw("test", task.rows("test"))])
    np.save(tmp_path / "rows.npy", images)
    outsider = outside(OUTSIDER, str(home.folder / "picked"), str(tmp_path / "rows.npy"), cwd=tmp_path)
    assert outsider.returncode == 0, outsider.stderr
    right = float(np.mean(np.array(json.loads(outsider.stdout)) == task.labels("test")))
    assert right == pytest.approx(sealed["trials"][str(number)]["metrics"]["accuracy"], abs=0)


def test_an_edited_seal_is_noticed(searched) -> None:
    home, _ = searched
    path = home.search / "test.json"
    stored = path.read_text()
    path.write_text(stored.replace('"accuracy": 0.', '"accuracy": 1.', 1))
    done, shown = (home.niwaki("front", "small", *more) for more in (["--test"], []))
    path.write_text(stored)
    assert done.returncode == 2
    assert "sealed" in done.stderr
    assert shown.returncode == 0 and "scored once" not in shown.stdout
    assert "was changed after it was sealed" in shown.stdout.replace("\n", " ")


def test_nothing_fits_names_the_nearest(searched) -> None:
    home, _ = searched
    done = home.niwaki("pick", "small", "--speedup", "100000", "--out", "none")
    assert done.returncode == 1
    assert "Nearest" in done.stderr
    assert not (home.folder / "none").exists()
