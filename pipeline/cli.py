"""The verbs. Parses, calls, prints; decides nothing.

Exit codes: 0; 1 nothing fits; 2 your input; 3 not available here; 70 our fault, with a log path; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import LARGEST_SEED
from pipeline.errors import ConfigError, NiwakiError

app = typer.Typer(
    name="niwaki",
    help="Shape a large model to the space it has: search students by accuracy, latency and energy, "
    "taken on the file that would ship.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Root = Annotated[Path, typer.Option("--root", help="Where searches are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
ConfigFile = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The search's configuration.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The search's name.")]
ROOT = Path("mlruns")
INTERRUPTED = 130
GOES_ON = "interrupted; finished trials are kept, and the same command goes on"

_SAMPLER_HELP = (
    "device_aware (default): learns accuracy only, takes device figures as known. "
    "tpe: learns from refused trials, models conditional axes. "
    "nsga2: needs ~50 complete trials before it evolves, learns from complete trials only. "
    "nsga3: as nsga2, for more than three objectives. "
    "gp: samples conditional axes at random, seconds per trial at 100 and minutes at 1,000. "
    "random: learns nothing."
)


@app.command()
def search(
    file: ConfigFile,
    root: Root = ROOT,
    name: Annotated[str | None, typer.Option(help="Another name for this search.")] = None,
    trials: Annotated[int | None, typer.Option(help="limits.trials")] = None,
    hours: Annotated[float | None, typer.Option(help="limits.hours")] = None,
    max_kwh: Annotated[
        float | None, typer.Option(help="limits.max_kwh: of the search's own energy, modelled-generic")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=_SAMPLER_HELP)] = None,
    seed: Annotated[int | None, typer.Option(help="seed")] = None,
    keep: Annotated[str | None, typer.Option(help="Models to keep on disk: all, or those on the front.")] = None,
    warm_start: Annotated[
        str | None, typer.Option(help="Another search: its models are measured again here, not trained.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="target.name")] = None,
    energy: Annotated[str | None, typer.Option(help="energy: measured or modelled")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, train nothing.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="After two trained trials, say what the whole will take, and ask.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer yes to the estimate; for scripts.")] = False,
    as_json: Json = False,
) -> None:
    """Search, or go on with a search: the same command resumes it."""
    from pipeline import api

    changes = {
        "name": name, "limits.trials": trials, "limits.hours": hours, "limits.max_kwh": max_kwh,
        "sampler.name": sampler, "seed": seed, "keep": keep, "target.name": target, "energy": energy,
        "warm_start": warm_start,
    }  # fmt: skip
    if dry_run:
        plan = api.plan(file, root=root, changes=changes)
        _print(plan, as_json, lambda: _lines(plan["sentences"]))
        return
    result = api.search(
        file,
        root=root,
        changes=changes,
        progress=_progress(as_json, plain=estimate),
        ask=_asker(yes, as_json) if estimate else None,
    )
    plain = {**result, "report": api.front_json(result["report"])} if as_json else result
    _print(plain, as_json, lambda: _search_ended(result))


@app.command()
def teacher(file: ConfigFile, root: Root = ROOT, as_json: Json = False) -> None:
    """Train or fine-tune the teacher of a configuration, and store it with its metrics."""
    from pipeline import api

    found = api.teacher(file, root=root, say=None if as_json else _say)
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command()
def front(
    name: Name,
    root: Root = ROOT,
    test: Annotated[
        bool, typer.Option("--test", help="Score the front on the test split, once; later calls print what was stored.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The Pareto front of a search: quality, latency and energy of the files that would ship."""
    from pipeline import api

    report = api.front_test(name, root=root, say=None if as_json else _say) if test else api.front(name, root=root)
    _print(api.front_json(report), as_json, lambda: _front(report, root))


@app.command()
def show(
    name: Name, number: Annotated[int, typer.Argument(metavar="TRIAL")], root: Root = ROOT, as_json: Json = False
) -> None:
    """Everything known of one trial."""
    from pipeline import api

    found = api.show(name, number, root=root)
    _print(found, as_json, lambda: _lines(api.show_lines(found, name, number)))


@app.command()
def rerun(
    name: Name,
    number: Annotated[int, typer.Argument(metavar="TRIAL")],
    root: Root = ROOT,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Another seed than the trial's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train and measure one trial's candidate again, beside the first result; the study does not see it."""
    from pipeline import api

    found = api.rerun(name, number, root=root, seed=seed, say=None if as_json else _say)
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command()
def finals(
    name: Name,
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="TRIAL...", help="Default: the front's students and their near ties.")
    ] = None,
    root: Root = ROOT,
    seeds: Annotated[int | None, typer.Option(help="finals.seeds")] = None,
    epochs: Annotated[int | None, typer.Option(help="finals.epochs")] = None,
    hours: Annotated[float | None, typer.Option(help="finals.hours")] = None,
    as_json: Json = False,
) -> None:
    """Distil trials in full, with several seeds; the same command goes on where it was stopped."""
    from pipeline import api

    wanted = {"seeds": seeds, "epochs": epochs, "hours": hours}
    found = api.finals(name, numbers or [], root=root, **wanted, progress=_progress(as_json))
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command("measure-pending")
def measure_pending(name: Name, root: Root = ROOT, as_json: Json = False) -> None:
    """Measure the trials whose device was away, and again those that are unreliable; goes on where it was stopped."""
    from pipeline import api

    found = api.measure_pending(name, root=root, progress=_progress(as_json))
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command()
def rescore(
    name: Name,
    root: Root = ROOT,
    device: Annotated[
        str | None,
        typer.Option(metavar="DEVICE.yaml", help="What calibrate wrote; default: the target's own model."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Model the energy of every finished trial anew, all at once; nothing is measured, and old figures are kept."""
    from pipeline import api

    found = api.rescore(name, root=root, device=device, say=None if as_json else _say)
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command()
def pick(
    name: Name,
    root: Root = ROOT,
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("picked"),
    budget: Annotated[Path | None, typer.Option(help="Limits from a YAML file of metric: limit.")] = None,
    latency_p50_ms: Annotated[float | None, typer.Option(help="at most")] = None,
    latency_p95_ms: Annotated[float | None, typer.Option(help="at most")] = None,
    energy_mj: Annotated[float | None, typer.Option(help="at most")] = None,
    size_mb: Annotated[float | None, typer.Option(help="at most")] = None,
    peak_memory_mb: Annotated[float | None, typer.Option(help="at most")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="at least, on the selection slice")] = None,
    min_quality: Annotated[
        float | None, typer.Option(help="the task's own metric, at least, on the selection slice")
    ] = None,
    speedup: Annotated[float | None, typer.Option(help="at least, against the teacher")] = None,
    trial: Annotated[int | None, typer.Option(help="Take this trial, whatever the budget.")] = None,
    knee: Annotated[
        bool, typer.Option("--knee", help="The knee of the front instead of the best quality that fits.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Choose one model for a device budget; the folder works without niwaki."""
    from pipeline import api

    limits = {
        "latency_p50_ms": latency_p50_ms, "latency_p95_ms": latency_p95_ms, "energy_mj": energy_mj, "size_mb": size_mb,
        "peak_memory_mb": peak_memory_mb, "accuracy": min_accuracy, "speedup": speedup,
    }  # fmt: skip
    given = {key: value for key, value in limits.items() if value is not None}
    found = api.pick(
        name, root=root, out=out, budget=given, budget_file=budget, min_quality=min_quality, knee=knee, trial=trial
    )
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(metavar="A.onnx")],
    against: Annotated[Path | None, typer.Option(help="The file to compare with.")] = None,
    target: Annotated[str, typer.Option(help="The device; niwaki doctor lists them.")] = "local_cpu",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the target; may be repeated."),
    ] = None,
    feeds: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Inputs for both files, written by save_feeds; else noise.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    seconds: Annotated[float, typer.Option(help="At most this long; less where the ratio is precise earlier.")] = 40.0,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the inputs and the order of blocks.")] = 0,
    as_json: Json = False,
) -> None:
    """Latency, energy and memory of an ONNX file on a target, interleaved with another file where one is given."""
    from pipeline import api

    found = api.measure(
        model,
        against=against,
        target=target,
        options=api.target_options(settings or []),
        feeds=feeds,
        threads=threads,
        seconds=seconds,
        seed=seed,
    )
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command()
def calibrate(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A CSV or Parquet table, or the name of a search that was metered.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DEVICE.yaml", help="The description to write.")],
    root: Root = ROOT,
    device: Annotated[str | None, typer.Option(help="What it is; default: the name of the file written.")] = None,
    boundary: Annotated[str | None, typer.Option(help="Where the meter sat: wall, module, package, ...")] = None,
    told: Annotated[
        str | None, typer.Option("--source", metavar="TEXT", help="Who metered it, and how; default: name and hash.")
    ] = None,
    date: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Default: today.")] = None,
    latency_statistic: Annotated[
        str | None, typer.Option(help="Of the table's latencies: median (default) or p90.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit an energy model of a device to metered rows, and say how wrong it is for a family that was left out."""
    from pipeline import api

    found = api.calibrate(
        source,
        out=out,
        root=root,
        device=device,
        boundary=boundary,
        told=told,
        date=date,
        latency_statistic=latency_statistic,
    )
    _print(found, as_json, lambda: _lines(found["sentences"]))


@app.command()
def doctor(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.yaml]", help="Also check this configuration's data and teacher.")
    ] = None,
    root: Root = ROOT,
    as_json: Json = False,
) -> None:
    """What is available here, and for everything that is not, a sentence why."""
    from pipeline import api

    found = api.doctor(file, root=root)
    _print(found, as_json, lambda: _doctor(found))
    raise typer.Exit(max((part.get("exit_code", 0) for part in found["parts"]), default=0))


@app.command()
def ui(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
    root: Root = ROOT,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Serve the MLflow pages of every trial on 127.0.0.1, and print this search's address."""
    from pipeline import api

    api.ui(name, root=root, port=port, say=_say)


@app.command()
def clean(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One search; all without a name.")] = None,
    root: Root = ROOT,
    cache: Annotated[bool, typer.Option("--cache", help="Also decoded images, inputs and teacher outputs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what can be made again: models off the front, left-over parts, and caches if asked."""
    from pipeline import api

    found = api.clean(name, root=root, cache=cache, dry_run=dry_run)
    _print(found, as_json, lambda: _lines(found["sentences"]))


def main() -> None:
    """The command `niwaki`."""
    code = run()
    if code == INTERRUPTED:
        # All is put away by now, and the interpreter's own end is not to be trusted: a thread of torch's that was at
        # work may abort it, and an interrupt that fell into an exec of a string is noted, so `python -m` dies of it.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line; returns the exit code. No traceback reaches the user."""
    signal.signal(signal.SIGTERM, _terminated)
    as_json = "--json" in (arguments if arguments is not None else sys.argv)
    try:
        code = app(args=arguments, standalone_mode=False)
        if code == INTERRUPTED:  # typer has turned a KeyboardInterrupt into this exit code
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except NiwakiError as error:
        return _failed(str(error), error.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _failed(GOES_ON, INTERRUPTED, as_json)
    except typer.Exit as error:
        return int(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `niwaki front | head`: no complaint at exit
        return 0
    except OSError as error:
        return _failed(*_disk(error), as_json)
    except Exception as error:
        if _interrupted(error):
            return _failed(GOES_ON, INTERRUPTED, as_json)
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
            return _failed(_usage(error), 2, as_json)
        if type(error).__module__.startswith("hardware_targets") and hasattr(error, "exit_code"):
            return _failed(str(error), error.exit_code, as_json)  # the device, outside a trial
        return _failed(f"niwaki broke: {_log(error)}", 70, as_json)


def _interrupted(error: BaseException | None) -> bool:
    """Whether an interruption is what it comes from: a compiled module that is interrupted while it is being imported
    raises an ImportError from it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    hint = f"; see: {context.command_path} --help" if context else ""
    return f"{error.format_message().rstrip('.')}{hint}"


def _disk(error: OSError) -> tuple[str, int]:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "the disk is full; finished trials are kept. Free some space (niwaki clean), then type the same command",
            3,
        )
    return f"niwaki broke: {_log(error)}", 70


def _log(error: BaseException) -> str:
    """Write the traceback to a file; returns the sentence that names it."""
    import tempfile

    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    text = "".join(traceback.format_exception(error))
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    for folder in (ROOT / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"niwaki-{stamp}-{os.getpid()}.log"
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return f"{first}. The log is {path}; finished trials are kept, and the same command goes on"
    return f"{first}; no log could be written"


def _failed(sentence: str, code: int, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": sentence, "exit": code}))
    else:
        print(f"niwaki: {sentence}", file=sys.stderr)
    return code


def _progress(as_json: bool, plain: bool = False) -> Callable[[int, float | None], Any]:
    from pipeline import progress

    def make(trials: int, hours: float | None) -> Any:
        if as_json:
            return progress.Quiet()
        return progress.Panel(trials, hours) if sys.stdout.isatty() and not plain else progress.Lines(trials, hours)

    return make


def _asker(yes: bool, as_json: bool) -> Callable[[Any], bool]:
    """Shows an estimate and asks. Errors: ConfigError where there is nobody to ask and no `--yes`."""

    def ask(estimate: Any) -> bool:
        if yes:
            if not as_json:
                _lines(estimate.sentences())
            return True
        if as_json or not sys.stdin.isatty():
            said = "; ".join(line.strip() for line in estimate.sentences())
            raise ConfigError(f"{said}. There is no terminal to ask at; type the same command with --yes to go on")
        _lines(estimate.sentences())
        return typer.confirm("go on?")

    return ask


def _print(data: Any, as_json: bool, human: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(data, indent=1, allow_nan=False, default=str))
    else:
        human()


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _lines(sentences: list[str]) -> None:
    print("\n".join(sentences))


def _front(report: Any, root: Path) -> None:
    from rich.console import Console

    from pipeline import api

    width = None if sys.stdout.isatty() else 150
    Console(width=width, highlight=False).print(api.front_table(report))
    _lines(api.front_footer(report, root))


def _search_ended(result: dict[str, Any]) -> None:
    _lines(["", *result["sentences"][:1]])
    _front(result.pop("report"), Path(result["root"]))
    _lines(result["sentences"][1:])


def _doctor(found: dict[str, Any]) -> None:
    for part in found["parts"]:
        mark = "yes" if part["available"] else "no "
        reason = f": {part['reason']}" if part.get("reason") else ""
        print(f"{mark}  {part['role']:<8} {part['name']}{reason}")


if __name__ == "__main__":
    main()


__all__ = ["ConfigError", "app", "main", "run"]
