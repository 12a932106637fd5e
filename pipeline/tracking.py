"""The one door to MLflow: a view of the records, which may fail without harm and is mended on the next start.

One experiment per search; one parent run for the search; one nested run per trial. Stored in SQLite under the root.
"""

from __future__ import annotations

import io
import logging
import math
import os
import shutil
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import SearchConfig
from pipeline.errors import Unavailable
from pipeline.metrics import known
from pipeline.record import TrialRecord, write_json
from pipeline.tracked import Book, Tracked
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from pipeline.report import FrontReport

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves the machine unasked
os.environ.setdefault("DO_NOT_TRACK", "true")

# Tags by which a run is known to be older than its record.
CHANGING = ("end", "energy.rescored", "measured.again", "continued_in")
PARENT, NUMBER, SEARCH = "mlflow.parentRunId", "niwaki.trial", "niwaki.search"
MOST_LOOKED_UP = 50  # trials that are looked for in MLflow one by one; for more, all runs are read


def client(workspace: Workspace) -> MlflowClient:
    """A client on this root's store; made once, by one process, since two that make it together spoil it."""
    from mlflow.tracking import MlflowClient

    # After the import, which sets levels of its own: the store's making is no news to the user.
    for name in ("mlflow", "mlflow.store.db.utils", "alembic", "alembic.runtime.migration"):
        logging.getLogger(name).setLevel(logging.ERROR)

    # The URI is always passed: a user's MLFLOW_TRACKING_URI must not send a search elsewhere.
    with _alone(workspace.root / "mlflow.lock"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = MlflowClient(tracking_uri=workspace.tracking_url, registry_uri=workspace.tracking_url)
        made.search_experiments(max_results=1)
        return made


class Tracker:
    """Writes trials and the front to MLflow. Its failures are said once each and lose nothing: the records stay."""

    def __init__(self, workspace: Workspace, config: SearchConfig, say: Callable[[str], None]) -> None:
        self._workspace, self._config, self._say = workspace, config, say
        self._client: Any = None
        self._runs: dict[int, str] = {}  # trial number -> run
        self._shown: set[int] = set()  # trials tagged on_front
        self._missed: dict[int, TrialRecord] = {}
        self._parent = ""
        self._experiment = ""
        self._book = Book(workspace.folder / "tracked.jsonl")
        self._guard(self._open)

    @property
    def parent(self) -> str:
        """Run id of the search; empty where MLflow could not be opened."""
        return self._parent

    def repair(self, records: Iterable[TrialRecord]) -> None:
        """Log every record that has no finished run, and remove half-written ones."""
        self._guard(lambda: self._repair(list(records)))

    def log(self, record: TrialRecord) -> None:
        """One trial; what failed before is tried again first."""
        for missed in list(self._missed.values()):
            if self._guard(lambda missed=missed: self._log(missed)):  # type: ignore[misc]
                del self._missed[missed.number]
        if not self._guard(lambda: self._log(record)):
            self._missed[record.number] = record

    def replace(self, record: TrialRecord) -> None:
        """Write a trial's run anew, after its record has changed; `on_front` comes with the next front."""
        self._guard(lambda: self._forget(record.number))
        self.log(record)

    def show_front(self, report: FrontReport, files: Iterable[Path]) -> None:
        """The parent's artifacts, and the tag `on_front` of the trials that came or went."""
        self._guard(lambda: self._show_front(report, list(files)))

    def drop_model(self, number: int) -> None:
        """Delete a trial's model from the artifacts (`keep: front`)."""
        run = self._runs.get(number)
        if run:
            shutil.rmtree(self._artifacts(run) / "model", ignore_errors=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The parent run while the search runs; a later start of the same search opens it again."""
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            if self._parent:
                self._guard(lambda: self._client.set_terminated(self._parent, status))

    def _guard(self, work: Callable[[], Any]) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if self._client is None:
                    self._client = client(self._workspace)
                work()
        except Exception as error:  # MLflow raises what its database, disk and validation raise; none may end a search
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            self._say(
                f"MLflow could not be written ({first}); the records are safe, and the next start writes it again"
            )
            return False
        return True

    def _open(self) -> None:
        name = self._config.name
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = self._workspace.artifacts / name
            place.mkdir(parents=True, exist_ok=True)
            self._experiment = self._client.create_experiment(name, artifact_location=place.as_uri())
        else:
            self._experiment = found.experiment_id
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(self._experiment)
        parents = self._search(f"tags.`{SEARCH}` = '{name}'")
        if parents:
            self._parent = parents[0].info.run_id
            self._client.update_run(self._parent, status="RUNNING")
            return
        tags = {SEARCH: name, "target": self._config.target.name, "sampler": self._config.sampler.name}
        self._parent = self._client.create_run(self._experiment, run_name=f"search {name}", tags=tags).info.run_id

    def _search(self, condition: str) -> list[Any]:
        runs, token = [], None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=1000, page_token=token)
            runs += list(page)
            token = page.token
            if not token:
                return runs

    def _repair(self, records: list[TrialRecord]) -> None:
        if not self._parent:
            self._open()
        tracked = self._book.read(self._parent)
        known = {record.number: _changing(record) for record in records}
        missing = sorted(known.keys() - (tracked or {}).keys())
        if tracked is None or len(missing) > MOST_LOOKED_UP:
            tracked = self._read_runs()
        else:
            self._delete_runs(missing)
            front = self._search(f"tags.`{PARENT}` = '{self._parent}' and tags.on_front = 'true'")
            self._shown = {int(run.data.tags[NUMBER]) for run in front}
        self._runs = {number: each.run for number, each in tracked.items()}
        for number, each in tracked.items():  # a run whose record is gone, or says something else: that is the truth
            if dict(each.says) != known.get(number):
                self._forget(number)
        for record in records:
            if record.number not in self._runs:
                self._log(record)

    def _read_runs(self) -> dict[int, Tracked]:
        """Every whole run of this search as it is in MLflow, into a new book; what is half or double is deleted."""
        found: dict[int, Tracked] = {}
        self._shown.clear()
        for run in self._search(f"tags.`{PARENT}` = '{self._parent}'"):
            number = int(run.data.tags.get(NUMBER, -1))
            if run.info.status == "RUNNING" or number in found or run.data.tags.get("end") is None:
                self._client.delete_run(run.info.run_id)
                continue
            says = {name: run.data.tags[name] for name in CHANGING if name in run.data.tags}
            found[number] = Tracked(run.info.run_id, says)
            if run.data.tags.get("on_front") == "true":
                self._shown.add(number)
        self._book.begin(self._parent, found)
        return found

    def _delete_runs(self, numbers: Iterable[int]) -> None:
        """What a trial that is not in the book has left in MLflow: half a run, or a whole one that nobody noted."""
        for number in numbers:
            for run in self._search(f"tags.`{PARENT}` = '{self._parent}' and tags.`{NUMBER}` = '{number}'"):
                self._client.delete_run(run.info.run_id)

    def _forget(self, number: int) -> None:
        run = self._runs.pop(number, None)
        self._shown.discard(number)
        if run:
            self._client.delete_run(run)
            self._book.add(number, None)
            shutil.rmtree(self._artifacts(run), ignore_errors=True)

    def _log(self, record: TrialRecord) -> None:
        from mlflow.entities import Metric, Param, RunTag

        if record.number in self._runs:
            return
        if not self._parent:
            self._open()
        tags = {PARENT: self._parent, NUMBER: str(record.number)}
        begun = _milliseconds(record.started) or _milliseconds(record.ended)
        run = self._client.create_run(
            self._experiment, start_time=begun, tags=tags, run_name=f"{record.number:03d} {record.candidate.student}"
        ).info.run_id
        moment = _milliseconds(record.ended)
        figures = {
            **known(record.end, record.metrics),
            **{f"seconds.{name}": value for name, value in record.seconds.items()},
        }
        figures |= {f"drift.{name}": value for name, value in record.drift.items()}
        figures |= {} if record.rung_accuracy is None else {"rung_accuracy": record.rung_accuracy}
        figures |= {f"cpu_seconds.{name}": value for name, value in record.cpu_seconds.items()}
        for name, (low, high) in record.intervals.items():
            figures |= {f"{name}_low": low, f"{name}_high": high}
        metrics = [Metric(name, float(value), moment, 0) for name, value in figures.items()]
        for row in record.curve:
            step = int(row["epoch"])
            metrics += [
                Metric(f"curve.{name}", float(value), moment, step) for name, value in row.items() if name != "epoch"
            ]
        params = [Param(name, str(value)) for name, value in record.candidate.flat().items()]
        params.append(Param("seed", str(record.candidate.seed)))
        self._client.log_batch(run, metrics[:1000], params, [RunTag(k, v) for k, v in self._tags(record).items()])
        self._log_files(run, record)
        self._client.set_terminated(run, _status(record), end_time=moment)
        self._book.add(record.number, Tracked(run, _changing(record)))
        self._runs[record.number] = run

    def _log_files(self, run: str, record: TrialRecord) -> None:
        folder = self._workspace.trial(record.number)
        if (folder / "record.json").exists():
            self._client.log_artifact(run, str(folder / "record.json"))
        if record.curve:
            self._client.log_dict(run, {"epochs": [dict(row) for row in record.curve]}, "curve.json")
        if (folder / "model.onnx").exists():
            self._client.log_artifact(run, str(folder / "model.onnx"), "model")

    def _tags(self, record: TrialRecord) -> dict[str, str]:
        energy = (record.measurement or {}).get("energy") or {}
        tags = {
            **_changing(record),
            "reason": record.reason or "",
            "on_front": "false",
            "feasible": str(record.feasible).lower(),
            "target": self._config.target.name,
            "precision": record.precision,
            "energy.kind": str(energy.get("kind", "")),
            "energy.boundary": str(energy.get("boundary", "")),
            "energy.unmeasured": str(energy.get("unmeasured", "")),
            "test_seen": str(record.test_seen).lower(),
            **{
                name: "" if (value := getattr(record, name)) is None else str(value)
                for name in ("same_as", "trained_by", "inherited_from", "lent_by", "rung", "resumed_from")
            },
        }
        if record.earlier_energy:
            last = record.earlier_energy[-1]
            before = last.get("energy") or {}
            figure = "no figure" if last.get("energy_mj") is None else f"{last['energy_mj']:.4g} mJ"
            tags["energy.before"] = f"{figure}, {before.get('kind')}, {before.get('boundary')}"
        if record.earlier_timing:
            last = record.earlier_timing[-1]
            tags["latency_p50_ms.before"] = f"{last['metrics'].get('latency_p50_ms', math.nan):.4g} ms, unreliable"
        return {name: value[:4900] for name, value in tags.items() if value != ""}

    def _show_front(self, report: FrontReport, files: list[Path]) -> None:
        now = set(report.front_numbers)
        try:
            for number in now ^ self._shown:
                run = self._runs.get(number)
                if run:
                    self._client.set_tag(run, "on_front", str(number in now).lower())
                    self._shown.symmetric_difference_update({number})
        except Exception:
            self._book.drop()  # a run that is noted and cannot be written, such as one that a user deleted
            raise
        self._log_own_energy(report.footprint.get("search", {}))
        for path in files:
            self._client.log_artifact(self._parent, str(path))

    def _log_own_energy(self, own: Mapping[str, Any]) -> None:
        """The search's own energy on the parent, with its kind and boundary; its absence with the reason."""
        from mlflow.entities import Metric, RunTag

        moment = int(time.time() * 1000)
        names = ("kwh", "kwh_low", "kwh_high", "cpu_seconds", *(name for name in own if name.endswith("_kwh")))
        metrics = [Metric(f"search.{name}", float(own[name]), moment, 0) for name in names if name in own]
        tags = {f"search.energy.{name}": str(own[name]) for name in ("kind", "boundary", "unmeasured") if name in own}
        self._client.log_batch(self._parent, metrics, [], [RunTag(name, value) for name, value in tags.items()])

    def _artifacts(self, run: str) -> Path:
        return self._workspace.artifacts / self._config.name / run / "artifacts"

    def log_parent(
        self,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        files: Iterable[Path],
        notes: Iterable[str] = (),
    ) -> None:
        """The resolved configuration, the environment, and the teacher's figures on the parent run; tag `notes`."""
        from mlflow.entities import Metric, Param, RunTag

        def work() -> None:
            moment = int(time.time() * 1000)
            kept = [Param(name, str(value)[:5900]) for name, value in params.items()]
            known = set(self._client.get_run(self._parent).data.params)
            rows = [Metric(f"teacher.{name}", float(value), moment, 0) for name, value in metrics.items()]
            said = "\n".join(notes)[:4900]
            tags = [RunTag("notes", said)] if said else []
            self._client.log_batch(self._parent, rows, [param for param in kept if param.key not in known], tags)
            for path in files:
                self._client.log_artifact(self._parent, str(path))

        self._guard(work)


def register(workspace: Workspace, name: str, model: Path, alias: str, tags: Mapping[str, str]) -> str:
    """Register an ONNX file as a version of model `name` under `alias`; returns the version."""
    import mlflow
    import onnx

    store = client(workspace)
    experiment = store.get_experiment_by_name(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(workspace.tracking_url)
        mlflow.set_registry_uri(workspace.tracking_url)
        with (
            redirect_stderr(io.StringIO()),
            mlflow.start_run(experiment_id=experiment.experiment_id, run_name=f"pick {alias}", tags=dict(tags)),
        ):
            info = mlflow.onnx.log_model(onnx.load(str(model)), name="picked", registered_model_name=name)
        version = str(info.registered_model_version)
        store.set_registered_model_alias(name, alias, version)
        for key, value in tags.items():
            store.set_model_version_tag(name, version, key, value)
    return version


def ui_command(workspace: Workspace, host: str, port: int) -> list[str]:
    """The command that serves this store's pages."""
    import sys

    if not (workspace.root / "mlflow.db").exists():
        raise Unavailable(f"there is no {workspace.root}/mlflow.db yet; run a search first: niwaki search FILE.yaml")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended is no obstacle
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(f"port {port} cannot be had: {error.strerror}; take another: --port {port + 1}") from None
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", workspace.tracking_url,
        "--artifacts-destination", workspace.artifacts.as_uri(), "--host", host, "--port", str(port), "--workers", "1",
    ]  # fmt: skip


def addresses(workspace: Workspace, host: str, port: int) -> dict[str, str]:
    """Search name -> address of its parent run in the MLflow pages."""
    store = client(workspace)
    found = {}
    for experiment in store.search_experiments():
        parents = store.search_runs([experiment.experiment_id], f"tags.`{SEARCH}` = '{experiment.name}'", max_results=1)
        if parents:
            run = parents[0].info.run_id
            found[experiment.name] = f"http://{host}:{port}/#/experiments/{experiment.experiment_id}/runs/{run}"
    return found


@contextmanager
def _alone(path: Path) -> Any:
    try:
        import fcntl
    except ImportError:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _milliseconds(moment: str) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp() * 1000) if moment else None


def _changing(record: TrialRecord) -> dict[str, str]:
    """The tags `CHANGING` of a record."""
    tags = {"end": record.end}
    for name, earlier in (("energy.rescored", record.earlier_energy), ("measured.again", record.earlier_timing)):
        if earlier:
            tags[name] = f"{earlier[-1]['until']}, {len(earlier)}x"
    return tags if record.continued_in is None else {**tags, "continued_in": str(record.continued_in)}


def _status(record: TrialRecord) -> str:
    return {"failed": "FAILED", "interrupted": "KILLED"}.get(record.end, "FINISHED")


def save_environment(path: Path) -> None:
    """Versions of what a figure may depend on."""
    import platform
    from importlib.metadata import distributions

    versions = {item.metadata["Name"]: item.version for item in distributions() if item.metadata["Name"]}
    facts = {"python": platform.python_version(), "platform": platform.platform()}
    write_json(path, {**facts, "packages": dict(sorted(versions.items()))})
