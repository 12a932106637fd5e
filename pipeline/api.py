"""The verbs as a Python API: `from pipeline import api; api.search("examples/digits.yaml")`.

Every function returns plain data (or a FrontReport) with `sentences` that the command line prints, and raises the
errors of `pipeline.errors`.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import FinalsConfig, SearchConfig
from pipeline.config_file import load_config, read_yaml
from pipeline.errors import ConfigError, NothingFits, Unavailable, near
from pipeline.metrics import METRICS, text
from pipeline.workspace import ROOT, Workspace, existing, root_flag

Say = Callable[[str], None]


def plan(file: str | Path, *, root: Path = ROOT, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Check a configuration whole, short of training and of writing anything; say what a search would do."""
    from pipeline.planning import plan as planned

    return planned(file, root, changes)


def search(
    file: str | Path,
    *,
    root: Path = ROOT,
    changes: Mapping[str, Any] | None = None,
    progress: Callable[[int, float | None], Any] | None = None,
    ask: Callable[[Any], bool] | None = None,
) -> dict[str, Any]:
    """Run or resume a search to its limits. Errors: ConfigError, Unavailable; NothingFits when the front is empty.

    `ask` is shown a `pipeline.estimate.Estimate` after the first trained trials, and says whether to go on.
    """
    from pipeline.front_words import nothing_fits
    from pipeline.progress import Quiet
    from pipeline.search.loop import run_search

    config = load_config(file, changes)
    workspace = Workspace(root, config.name)
    watcher = progress(config.limits.trials, config.limits.hours) if progress else Quiet()
    try:
        result = run_search(config, workspace, watcher, ask=ask)
    finally:
        watcher.close()
    report = result.report
    if not report.front_numbers:
        raise NothingFits(f"{result.reason}, and {nothing_fits(report.records, config)}")
    folder = workspace.folder
    sentences = [
        f"{result.reason}",
        f"picture {folder}/front.png, page {folder}/front.html; every trial in MLflow: "
        f"niwaki ui {config.name}{root_flag(root)}",
    ]
    return {
        "name": config.name,
        "root": str(root),
        "reason": result.reason,
        "trials": len(report.records),
        "front": list(report.front_numbers),
        "notes": (workspace.state() or {}).get("notes", []),
        "report": report,
        "sentences": sentences,
    }


def teacher(file: str | Path, *, root: Path = ROOT, say: Say | None = None) -> dict[str, Any]:
    """Train, fine-tune or load the teacher of a configuration, and score it on validation."""
    from pipeline import workbench
    from pipeline.quality import better_than_chance, quality_with_intervals
    from pipeline.teacher_cache import teacher_targets

    config = load_config(file)
    workspace = Workspace(root, config.name)
    workspace.make()
    task = workbench.prepare_task(config, workspace)
    workbench.tell(task.notes, say or (lambda _: None))
    made = workbench.prepare_teacher(config, workspace, task, say or (lambda _: None))
    workbench.tell(made.notes, say or (lambda _: None))
    logits = teacher_targets(made, task, workspace.cache).logits("validation")
    labels = task.labels("validation")
    metrics, intervals = quality_with_intervals(labels, logits)
    low, high = intervals[task.metric]
    sentences = [f"teacher {made.place}: validation {task.metric} {metrics[task.metric]:.4f} [{low:.4f}, {high:.4f}]"]
    if reason := better_than_chance(labels, logits.argmax(1), task.metric):
        sentences.append(f"of no use as a teacher: {reason}")
    sentences.append(f"next: niwaki search {file}{root_flag(root)}")
    notes = [*task.notes, *made.notes]
    return {"path": str(made.place), "metrics": metrics, "intervals": intervals, "notes": notes, "sentences": sentences}


def front(name: str, *, root: Path = ROOT) -> Any:
    """The FrontReport of a search as it stands."""
    from pipeline.findings import config_of, find
    from pipeline.front_words import nothing_fits

    workspace = existing(root, name)
    report = find(workspace)
    if not report.front_numbers:
        raise NothingFits(f"search {name!r}: {nothing_fits(report.records, config_of(workspace))}")
    return report


def front_test(name: str, *, root: Path = ROOT, say: Say | None = None) -> Any:
    """Score the front on the test split once, seal the figures; later calls return what was stored."""
    from pipeline import workbench
    from pipeline.findings import config_of, find
    from pipeline.sealed import sealed_test
    from pipeline.spent import kept

    workspace = existing(root, name)
    config = config_of(workspace)
    with workspace.lock(), kept(workspace, "front --test"):
        sealed_test(
            workspace,
            config,
            lambda: workbench.prepare_task(config, workspace),
            lambda: workbench.prepare_target(config),
            say or (lambda _: None),
        )
    return find(workspace, config)


def front_json(report: Any) -> dict[str, Any]:
    from pipeline.report import to_json

    return to_json(report)


def front_table(report: Any) -> Any:
    from pipeline.report import table

    return table(report)


def front_footer(report: Any, root: Path) -> list[str]:
    """What stands under the table: the teacher's own 8-bit files beside the students, and the next command."""
    from pipeline.front_words import footer

    return footer(report, root)


def show(name: str, number: int, *, root: Path = ROOT) -> dict[str, Any]:
    """The record of one trial as plain data."""
    from pipeline.findings import footprint_of
    from pipeline.record import read_records

    workspace = existing(root, name)
    records = {record.number: record for record in read_records(workspace.folder)}
    if number not in records:
        last = max(records, default=-1)
        raise ConfigError(f"search {name!r} has no trial {number}; there are trials 0 to {last}")
    cost = footprint_of(workspace, list(records.values()), number)
    return {**records[number].to_json(), "footprint": cost, "folder": str(workspace.trial(number))}


def show_lines(found: Mapping[str, Any], name: str, number: int) -> list[str]:
    """A record in words: parameters, figures with intervals, curve, time."""
    from pipeline.show_words import show_lines as lines

    return lines(found, name, number)


def rerun(
    name: str, number: int, *, root: Path = ROOT, seed: int | None = None, say: Say | None = None
) -> dict[str, Any]:
    """Train and measure one trial's candidate again, beside its first result."""
    from pipeline import again, workbench
    from pipeline.findings import config_of
    from pipeline.record import read_records
    from pipeline.spent import kept

    show(name, number, root=root)
    workspace = existing(root, name)
    config = config_of(workspace)
    record = next(item for item in read_records(workspace.folder) if item.number == number)
    with workspace.lock(), kept(workspace, "rerun"):
        bench = workbench.prepare(config, workspace, say or (lambda _: None))
        new, count = again.rerun(record, bench, seed, say or (lambda _: None))
    names = [metric for metric in METRICS if metric in record.metrics or metric in new.metrics]
    rows = [
        f"  {metric:<30} {text(metric, record.metrics.get(metric)):>12} {text(metric, new.metrics.get(metric)):>12}"
        for metric in names
    ]
    kinds = [f"{one.energy_kind}, boundary: {one.energy_boundary}" for one in (record, new) if one.energy_kind]
    told = [f"  energy_mj is {kind}" for kind in dict.fromkeys(kinds)]
    head = f"trial {number}, rerun {count} with seed {new.candidate.seed}: {new.end}" + (
        f", {new.reason}" if new.reason else ""
    )
    return {
        "first": record.to_json(),
        "again": new.to_json(),
        "sentences": [head, f"  {'':<30} {'first':>12} {'again':>12}", *rows, *told],
    }


def finals(
    name: str,
    numbers: Sequence[int],
    *,
    root: Path = ROOT,
    seeds: int | None = None,
    epochs: int | None = None,
    hours: float | None = None,
    progress: Callable[[int, float | None], Any] | None = None,
) -> dict[str, Any]:
    """Distil trials in full (every training row, `finals.epochs`), once per seed; each becomes a trial of its own.

    Without numbers it is the students of the front and their near ties (`pipeline.finalists`).
    """
    from pipeline.finals import run_finals
    from pipeline.findings import config_of, finalists_of
    from pipeline.progress import Quiet
    from pipeline.record import read_records
    from pipeline.spreads import sentence, spreads

    workspace = existing(root, name)
    config = config_of(workspace)
    given = {"seeds": seeds, "epochs": epochs, "hours": hours}
    changes = {key: value for key, value in given.items() if value is not None}
    config = config.model_copy(update={"finals": _finals_as_told(config.finals, changes)})
    numbers = list(dict.fromkeys(numbers)) or finalists_of(workspace, config)
    watcher = progress(config.finals.seeds * len(numbers), config.finals.hours) if progress else Quiet()
    try:
        made = run_finals(config, workspace, numbers, watcher)
    finally:
        watcher.close()
    quality = config.task.metric
    sentences = [
        sentence(number, found, quality)
        for number, found in spreads(read_records(workspace.folder), quality).items()
        if number in numbers
    ]
    sentences += [
        f"trial {record.number}: {record.end}, {record.reason}" for record in made if record.end != "complete"
    ]
    best = next((record.number for record in made if record.end == "complete"), numbers[0])
    sentences.append(f"next: niwaki pick {name} --trial {best} --out picked{root_flag(root)}")
    return {"name": name, "finals": [record.number for record in made], "sentences": sentences}


def _finals_as_told(finals: FinalsConfig, changes: Mapping[str, Any]) -> FinalsConfig:
    """With the flags of the command line, checked like the file's keys. Errors: ConfigError."""
    from pydantic import ValidationError

    try:
        return type(finals).model_validate({**finals.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0])
        raise ConfigError(f"{flag} {first['input']}: {first['msg']}") from None


def measure_pending(
    name: str, *, root: Path = ROOT, progress: Callable[[int, float | None], Any] | None = None
) -> dict[str, Any]:
    """Measure the trials that were trained while the device was away, and again those that are unreliable.

    Errors: Unavailable while the device is away still.
    """
    from pipeline.findings import config_of
    from pipeline.pending import measure_pending as measure_all
    from pipeline.pending import sentences
    from pipeline.progress import Quiet

    workspace = existing(root, name)
    config = config_of(workspace)
    watcher = progress(config.limits.trials, None) if progress else Quiet()
    try:
        settled = measure_all(config, workspace, watcher)
    finally:
        watcher.close()
    measured = {record.number: record.end for record in settled.done}
    return {
        "name": name,
        "measured": measured,
        "pending": settled.left,
        "measured_again": {record.number: not record.unreliable for record in settled.again},
        "unreliable": dict(settled.unquiet),
        "sentences": sentences(settled, name, root_flag(root)),
    }


def rescore(
    name: str, *, root: Path = ROOT, device: str | Path | None = None, say: Say | None = None
) -> dict[str, Any]:
    """Model the energy of every finished trial anew; the old figures stay beside it. Errors: ConfigError."""
    import hardware_targets
    from pipeline.findings import config_of
    from pipeline.rescore import rescore as replace_all
    from pipeline.rescore import sentences

    workspace = existing(root, name)
    try:
        file = None if device is None else hardware_targets.device_path(device)
    except hardware_targets.TargetError as error:
        raise ConfigError(str(error)) from None
    command = f"niwaki rescore {name}" + (f" --device {device}" if device else "") + root_flag(root)
    found = replace_all(config_of(workspace), workspace, file, say or (lambda _: None), command=command)
    changed = {
        number: {"before": old.metrics.get("energy_mj"), "now": new.metrics.get("energy_mj")}
        for number, (old, new) in found.changed.items()
    }
    return {
        "name": name,
        "kind": found.kind,
        "boundary": found.boundary,
        "energy_mj": changed,
        "sentences": sentences(found, name, root_flag(root)),
    }


def pick(
    name: str,
    *,
    root: Path = ROOT,
    out: Path = Path("picked"),
    budget: Mapping[str, float] | None = None,
    budget_file: Path | None = None,
    min_quality: float | None = None,
    knee: bool = False,
    trial: int | None = None,
) -> dict[str, Any]:
    """Choose a model for a budget, write its folder, register it. Errors: NothingFits with the nearest misses."""
    from pipeline.picking import pick as choose_and_write

    workspace = existing(root, name)
    limits = _budget(dict(budget or {}), budget_file)
    return choose_and_write(workspace, out, limits, min_quality=min_quality, knee=knee, trial=trial)


def _budget(given: dict[str, float], file: Path | None) -> dict[str, float]:
    if file is not None:
        data = read_yaml(file)
        limits = data.get("budget", data)
        if not isinstance(limits, Mapping):
            raise ConfigError(f"{file}: `budget` is {limits!r}, no mapping; give lines such as `latency_p50_ms: 5`")
        given = {**limits, **given}
    for metric, limit in given.items():
        if metric not in METRICS:
            raise ConfigError(f"no metric named {metric!r}{near(str(metric), METRICS)}")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
            raise ConfigError(f"{metric}: {limit!r} is no limit; give a number above 0")
    return {metric: float(limit) for metric, limit in given.items()}


def target_options(pairs: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` each, as `niwaki measure --set` and the device-side command line read them. Errors: ConfigError."""
    import hardware_targets

    try:
        return hardware_targets.options_of(pairs)
    except hardware_targets.TargetError as error:
        raise ConfigError(str(error)) from None


def measure(
    model: Path,
    *,
    against: Path | None = None,
    target: str = "local_cpu",
    options: Mapping[str, Any] | None = None,
    feeds: Path | None = None,
    threads: int = 1,
    seconds: float = 40.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure an ONNX file on a target, interleaved with `against` (or with itself, which shows the resolution).

    `options` are those of the target, as `--set` gives them; `feeds` is a folder that `save_feeds` wrote.
    """
    from pipeline.measuring import measure as measured

    return measured(
        model,
        against=against,
        target=target,
        options=dict(options or {}),
        feeds=feeds,
        threads=threads,
        seconds=seconds,
        seed=seed,
    )


def calibrate(
    source: str,
    *,
    out: Path,
    root: Path = ROOT,
    device: str | None = None,
    boundary: str | None = None,
    told: str | None = None,
    date: str | None = None,
    latency_statistic: str | None = None,
) -> dict[str, Any]:
    """Fit an energy model to metered rows (a table, or a metered search), validate it, write it to `out`."""
    from pipeline.calibrating import calibrate as fit

    given = {"device": device, "boundary": boundary, "source": told, "date": date}
    return fit(source, out, root, **given, latency_statistic=latency_statistic)


def doctor(file: Path | None = None, *, root: Path = ROOT) -> dict[str, Any]:
    """What is available here: targets, meters, runtimes, data, teacher."""
    from pipeline.checkup import checkup

    return {"parts": checkup(file, root)}


def ui(name: str | None = None, *, root: Path = ROOT, port: int = 5000, say: Say = print) -> None:
    """Serve the MLflow pages on 127.0.0.1 until interrupted. Errors: Unavailable."""
    from pipeline import tracking

    workspace = existing(root, name) if name else Workspace(root, "")
    host = "127.0.0.1"
    command = tracking.ui_command(workspace, host, port)
    places = tracking.addresses(workspace, host, port)
    for search, address in places.items():
        if name in (None, search):
            say(f"{search}: {address}")
    say("it takes some ten seconds to start; Ctrl-C stops it")
    if code := subprocess.run(command, check=False).returncode:
        raise Unavailable(f"MLflow's server ended by itself, with code {code}; what it printed says why")


def clean(name: str | None = None, *, root: Path = ROOT, cache: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """Remove what can be made again; never a record."""
    from pipeline.cleaning import clean as remove

    gone = remove(root, name, cache=cache, dry_run=dry_run)
    total = sum(size for _, size in gone)
    verb = "would go" if dry_run else "removed"
    sentences = [f"{path}: {size / 1e6:.1f} MB" for path, size in gone] + [
        f"{len(gone)} things, {total / 1e6:.1f} MB {verb}"
    ]
    return {"removed": [[str(path), size] for path, size in gone], "sentences": sentences}


__all__ = [
    "SearchConfig", "calibrate", "clean", "doctor", "finals", "front", "front_test", "measure", "measure_pending",
    "pick", "plan", "rerun", "rescore", "search", "show", "teacher", "ui",
]  # fmt: skip
