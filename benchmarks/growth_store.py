"""A search of many synthetic trials on disk, for `growth.py`: records, study and MLflow as the product leaves them.

The first trials are run by the product itself, which makes the stores. The rest are written in bulk: the product takes
half a second for a trial, most of it in transactions that only a kill needs. The artifacts of the MLflow runs are left
out. `growth.py` checks that the product accepts the stores as its own: nothing is mended on resuming.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tests")]

import optuna
import synthetic
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

from pipeline.config import SearchConfig
from pipeline.findings import drop_models, find
from pipeline.progress import Quiet
from pipeline.record import TrialRecord, trial_folder
from pipeline.search import loop
from pipeline.search import study as studies
from pipeline.tracking import Tracker
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

FIRST = 12  # trials by the product itself: the identities, recipes, and a few that the sampler asks for
SEED = 7


def settings(trials: int, sampler: str = "tpe") -> SearchConfig:
    """The default space, three objectives."""
    return synthetic.config(trials, space="default", sampler=sampler)


def make(root: Path, trials: int, sampler: str = "tpe") -> Workspace:
    """Leave a search of so many trials below `root`."""
    config = settings(trials, sampler)
    workspace = synthetic.workspace(root, config)
    loop.run_trial = record
    loop.run_search(settings(min(FIRST, trials), sampler), workspace, Quiet(), prepare=synthetic.bench)
    if trials > FIRST:
        bench = synthetic.bench(config, workspace)
        records = list(sampled(bench, range(FIRST, trials)))
        for each in records:  # what `write_record` writes, without waiting for the disk
            path = trial_folder(workspace.folder, each.number) / "record.json"
            path.write_text(json.dumps(each.to_json(), indent=1) + "\n", encoding="utf-8")
        frozen = (studies._frozen(each, config, bench.space.trained()) for each in records)
        into_study(root / "study.db", frozen)
        into_mlflow(workspace, config, records)
    report = find(workspace, config, paired=False)
    drop_models(report, workspace)
    tag_front(root / "mlflow.db", report.front_numbers)
    return workspace


def sampled(bench: Any, numbers: Iterable[int]) -> Iterator[TrialRecord]:
    """Records of random candidates of the space."""
    space = bench.space.trained()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    for number in numbers:
        candidate = space.sample(study.ask(), number)
        yield record(number, candidate, bench, None)


def record(number: int, candidate: Candidate, bench: Any, step: Any, begun: Any = None, **_: Any) -> TrialRecord:
    """A synthetic record with all that a real one holds; of 25 trials, two are refused and one fails."""
    made: TrialRecord = synthetic.record(number, candidate, bench, step)
    energy = {"mj": made.metrics["energy_mj"], "mj_low": 1.0, "mj_high": 2.0, "kind": "modelled-generic"}
    energy |= {"boundary": "server share", "meter": "modelled_generic", "source": "a table " * 20}
    measurement = {
        "latency": {"median_ms": made.metrics["latency_p50_ms"], "ratio_samples": [0.0901340335] * 8, **PLAIN_LATENCY},
        "energy": energy,
        "peak_memory_mb": 29.38,
        "conditions": PLAIN_CONDITIONS,
        "warnings": [],
    }
    cpu = {"distill": 9.5, "measure": 2.9}
    made = made.with_(measurement=measurement, cpu_seconds=cpu)
    if begun is not None:
        made = made.with_(trained_by=begun.number)
    if number % 25 in (7, 13):
        return made.with_(end="refused", reason="too slow", violations={"latency_p50_ms": 0.7})
    return made.with_(end="failed", reason="diverged", metrics={}) if number % 25 == 19 else made


PLAIN_LATENCY: dict[str, Any] = {
    "p90_ms": 0.317361, "p95_ms": 0.3236, "p99_ms": 0.340455, "reference_median_ms": 6.906290203125, "ratio": 0.0903065,
    "ratio_low": 0.0891831, "ratio_high": 0.0914440, "blocks": 240, "calls": 9600, "batch_size": 1,
    "cpu_seconds": 0.0006235701375, "warmup_calls": 321, "steady": True, "undisturbed_share": 1.0, "unreliable": False,
}  # fmt: skip
PLAIN_CONDITIONS: dict[str, Any] = {
    "cpu_model": "synthetic", "architecture": "x86_64", "logical_cores": 2, "kernel": "Linux", "python": "3.11",
    "runtime": "onnxruntime", "runtime_version": "1.32.0", "threads": 1, "spinning": False, "load_start": 2.0,
    "load_end": 1.8, "steal_share": 0.0, "foreign_share": 0.0, "fingerprint": "0" * 16,
}  # fmt: skip


def into_study(path: Path, frozen: Iterable[FrozenTrial]) -> None:
    """The rows that `Study.add_trial` would write, in one transaction."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("pragma synchronous = off")
        (begin,) = db.execute("select max(trial_id) from trials").fetchone()
        for place, trial in enumerate(frozen, begin + 1):
            moments = (str(trial.datetime_start), str(trial.datetime_complete))
            db.execute("insert into trials values (?, ?, 1, ?, ?, ?)", (place, place - 1, trial.state.name, *moments))
            _rows(db, "trial_values", [(place, n, v, "FINITE") for n, v in enumerate(trial.values or ())])
            _rows(db, "trial_user_attributes", [(place, k, json.dumps(v)) for k, v in trial.user_attrs.items()])
            _rows(db, "trial_system_attributes", [(place, k, json.dumps(v)) for k, v in trial.system_attrs.items()])
            axes = [(name, trial.distributions[name], value) for name, value in trial.params.items()]
            params = [(place, name, of.to_internal_repr(v), distribution_to_json(of)) for name, of, v in axes]
            _rows(db, "trial_params", params)


def _rows(db: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        db.executemany(f"insert into {table} values (null{', ?' * len(rows[0])})", rows)


def into_mlflow(workspace: Workspace, config: SearchConfig, records: Iterable[TrialRecord]) -> None:
    """The product's own tracker, on a client that writes rows in one transaction."""
    tracker = Tracker(workspace, config, print)
    with closing(sqlite3.connect(workspace.root / "mlflow.db")) as db, db:
        db.execute("pragma synchronous = off")
        tracker._client = _Rows(db, workspace.artifacts / config.name)
        for each in records:
            tracker._log(each)


class _Rows:
    """The part of MLflow's client that logs a trial, as rows of its tables; no artifacts."""

    def __init__(self, db: sqlite3.Connection, artifacts: Path) -> None:
        self._db, self._artifacts = db, artifacts

    def create_run(self, experiment: str, start_time: int, tags: Mapping[str, str], run_name: str) -> Any:
        run = uuid.uuid4().hex
        place = (self._artifacts / run / "artifacts").as_uri()
        row = (run, run_name, "UNKNOWN", "", "", "unknown", "RUNNING", start_time, None, "", "active", place)
        self._db.execute(f"insert into runs values (?{', ?' * 11}, ?, null)", (*row, int(experiment)))
        self._tags(run, {**tags, "mlflow.runName": run_name})
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def log_batch(self, run: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        rows = [(one.key, one.value, one.timestamp, run, one.step) for one in metrics]
        latest = {one.key: (one.key, one.value, one.timestamp, one.step, run) for one in metrics}
        self._db.executemany("insert into metrics values (?, ?, ?, ?, ?, 0)", rows)
        self._db.executemany("insert into latest_metrics values (?, ?, ?, ?, 0, ?)", latest.values())
        self._db.executemany("insert into params values (?, ?, ?)", [(one.key, one.value, run) for one in params])
        self._tags(run, {one.key: one.value for one in tags})

    def set_terminated(self, run: str, status: str, end_time: int) -> None:
        self._db.execute("update runs set status = ?, end_time = ? where run_uuid = ?", (status, end_time, run))

    def log_artifact(self, *_: str) -> None: ...
    def log_dict(self, *_: Any) -> None: ...

    def _tags(self, run: str, tags: Mapping[str, str]) -> None:
        self._db.executemany("insert into tags values (?, ?, ?)", [(key, value, run) for key, value in tags.items()])


def tag_front(path: Path, numbers: Iterable[int]) -> None:
    """The tag `on_front`, which the product sets with the front's files."""
    runs = "select run_uuid from tags where key = 'niwaki.trial' and value = ?"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("update tags set value = 'false' where key = 'on_front'")
        for number in numbers:
            db.execute(
                f"update tags set value = 'true' where key = 'on_front' and run_uuid in ({runs})", (str(number),)
            )
