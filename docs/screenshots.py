"""Take the pictures of docs/mlflow.md: serve a search's MLflow pages, open them in a headless browser, save PNG files.

    python docs/screenshots.py --root mlruns --search digits

Needs Debian's `chromium` and `chromium-driver`. The browser is driven by the WebDriver protocol of the W3C, which is
JSON over HTTP, so that the standard library is enough.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline import tracking
from pipeline.workspace import Workspace, existing

HOST = "127.0.0.1"
PICTURES = Path(__file__).parent / "pictures"
LARGEST_BYTES = 300_000  # a picture in the repository is paid for by everybody who clones it
COLUMNS = ("accuracy", "speedup", "latency_p50_ms", "energy_mj", "size_mb")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--hide-scrollbars", "--no-proxy-server",
    "--window-size=1500,950",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """One picture: where it is, and words without which the page has not finished drawing."""

    name: str
    url: str
    words: tuple[str, ...]


def missing() -> str | None:
    """What the pictures need and this machine lacks, as a sentence, or None."""
    lacking = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    if not lacking:
        return None
    return f"no {' and no '.join(lacking)} on this machine; type: apt-get install chromium chromium-driver"


class Browser:
    """A headless Chromium behind its driver; use it in a `with`."""

    def __init__(self) -> None:
        self._profile = tempfile.mkdtemp(prefix="niwaki-browser-")
        port = free_port()
        # What the browser drops in the temporary folder goes with the profile.
        self._driver = _group(["chromedriver", f"--port={port}"], TMPDIR=self._profile)
        self._address = f"http://{HOST}:{port}"
        _until_healthy(f"{self._address}/status", self._driver, 30)
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={self._profile}"]}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        self._address += f"/session/{_call(f'{self._address}/session', {'capabilities': wanted})['sessionId']}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        _stop(self._driver)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, page: Page, seconds: float = 60) -> str:
        """Go to a page and wait for its words; returns its text. Errors: TimeoutError with what was there instead."""
        # One application serves all of MLflow's pages, and a new fragment alone would not load it anew.
        _call(f"{self._address}/url", {"url": "about:blank"})
        _call(f"{self._address}/url", {"url": page.url})
        end, text = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            text = self._text()
            if all(word in text for word in page.words):
                time.sleep(1.5)  # charts slide into place after their words are there
                return self._text()
            time.sleep(0.3)
        lacking = [word for word in page.words if word not in text]
        raise TimeoutError(f"{page.url} shows no {lacking} after {seconds:g} s, but: {text[:2000]!r}")

    def remember(self, address: str, items: Mapping[str, str]) -> None:
        """Put items into the browser's local storage for the server at `address`, as the page's own buttons would."""
        _call(f"{self._address}/url", {"url": f"{address}/health"})
        script = "for (const [name, value] of Object.entries(arguments[0])) localStorage.setItem(name, value)"
        self._run(script, dict(items))

    def save(self, path: Path) -> None:
        """A picture of the window, small enough for a repository."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # MLflow writes the artifact's place on this machine above it; that is nobody else's.
        hide = """for (const part of document.querySelectorAll('span, div'))
            if (part.innerText?.startsWith('Path: file:')) part.style.visibility = 'hidden'"""
        self._run(hide)
        path.write_bytes(base64.b64decode(_call(f"{self._address}/screenshot")))
        shrink(path)

    def _text(self) -> str:
        """What stands on the page and in its inner frames."""
        body = "return document.body?.innerText ?? ''"
        parts = [str(self._run(body))]
        for place in range(self._run("return window.length")):
            _call(f"{self._address}/frame", {"id": place})  # MLflow locks an artifact's page into a sandbox
            parts.append(str(self._run(body)))
            _call(f"{self._address}/frame", {"id": None})
        return "\n".join(parts)

    def _run(self, script: str, *arguments: Any) -> Any:
        return _call(f"{self._address}/execute/sync", {"script": script, "args": arguments})


def take(root: Path, search: str, out: Path) -> dict[str, str]:
    """Save every picture of a search to `out`; returns each page's text by the picture's name."""
    workspace = existing(root, search)
    texts = {}
    with serve(workspace) as address, Browser() as browser:
        browser.remember(address, settings(workspace))
        for page in pages(workspace, address):
            texts[page.name] = browser.open(page)
            browser.save(out / f"{page.name}.png")
    return texts


def pages(workspace: Workspace, address: str) -> list[Page]:
    """The pages of docs/mlflow.md for one search. Errors: LookupError while it has no trial in MLflow."""
    number, parent, trials = _runs(workspace)
    students = [run for run in trials if "distill.temperature" in run.data.params] or trials
    shown = next((run for run in students if run.data.tags.get("on_front") == "true"), students[0])
    title, first, chosen = (str(run.info.run_name) for run in (parent, trials[0], shown))
    experiment = f"{address}/#/experiments/{number}/runs"
    whole, one = f"{experiment}/{parent.info.run_id}", f"{experiment}/{shown.info.run_id}"
    return [
        Page("runs", experiment, (title, first, "latency_p50_ms")),
        Page("charts", f"{experiment}?compareRunsMode=CHART", (title, first, "latency_p50_ms", "student")),
        Page("search", whole, (title, "teacher.accuracy")),
        Page("search-artifacts", f"{whole}/artifacts/front.html", (title, "mattered.json", "Quality and cost")),
        Page("trial", one, (chosen, "latency_p50_ms", "on_front")),
        Page(
            "front",
            (workspace.folder / "front.html").absolute().as_uri(),
            (workspace.name, "Parameters and objectives"),
        ),
    ]


def settings(workspace: Workspace) -> dict[str, str]:
    """What a user would click before reading: trials unfolded, columns and two charts chosen, the assistant closed."""
    number, parent, _ = _runs(workspace)
    chart = {"metricSectionId": "search", "deleted": False, "isGenerated": False, "runsCountToCompare": 100}
    parallel = {
        "selectedParams": ["student", "quantize.scheme"],
        "selectedMetrics": ["size_mb", "latency_p50_ms", "accuracy"],
    }
    axes = {"xaxis": {"key": "latency_p50_ms", "type": "METRIC"}, "yaxis": {"key": "accuracy", "type": "METRIC"}}
    state = {
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "selectedColumns": [*(f"metrics.`{name}`" for name in COLUMNS), "params.`quantize.scheme`", "tags.`on_front`"],
        "runsExpanded": {parent.info.run_id: True},
        "runsHiddenMode": "SHOWALL",
        "isAccordionReordered": True,
        "compareRunSections": [
            {"uuid": "search", "name": "Search", "display": True, "isReordered": False, "columns": 2}
        ],
        "compareRunCharts": [
            {**chart, "type": "PARALLEL", "uuid": "parallel", "showAllRuns": True, **parallel},
            {**chart, "type": "SCATTER", "uuid": "scatter", **axes},
        ],
    }
    return {
        f'MLflowLocalStorage-1.1-ExperimentPage-["{number}"]-ReactComponentState': json.dumps(state),
        "mlflow.assistant.panelOpen_v1": "false",
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    }


@contextmanager
def serve(workspace: Workspace) -> Iterator[str]:
    """The server of `niwaki ui` on a free port; yields its address and ends all of its processes."""
    port = free_port()
    server = _group(tracking.ui_command(workspace, HOST, port))
    try:
        _until_healthy(f"http://{HOST}:{port}/health", server, 180)
        yield f"http://{HOST}:{port}"
    finally:
        _stop(server)


def shrink(path: Path, colours: Sequence[int] = (256, 128, 64, 32)) -> None:
    """Give a PNG file fewer colours until it is small enough."""
    for count in colours:
        if path.stat().st_size <= LARGEST_BYTES:
            return
        with Image.open(path) as picture:
            fewer = picture.convert("RGB").quantize(count)
        fewer.save(path, optimize=True)


def free_port() -> int:
    with socket.socket() as door:
        door.bind((HOST, 0))
        return int(door.getsockname()[1])


def _runs(workspace: Workspace) -> tuple[str, Any, list[Any]]:
    """Experiment, parent run, and the complete trials by number."""
    store, name = tracking.client(workspace), workspace.name
    number = str(store.get_experiment_by_name(name).experiment_id)
    parents = store.search_runs([number], f"tags.`{tracking.SEARCH}` = '{name}'", max_results=1)
    trials = list(store.search_runs([number], f"tags.`{tracking.NUMBER}` != '' and tags.end = 'complete'"))
    if not parents or not trials:
        raise LookupError(f"search {name!r} has no complete trial in MLflow; let it run on")
    return number, parents[0], sorted(trials, key=lambda run: int(run.data.tags[tracking.NUMBER]))


def _group(command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
    # A session of its own, so that the whole family can be ended with one signal.
    silent, variables = subprocess.DEVNULL, {**os.environ, **environment}
    return subprocess.Popen(command, stdout=silent, stderr=silent, env=variables, start_new_session=True)


def _stop(leader: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(leader.pid, number)
        except ProcessLookupError:
            break
        try:
            leader.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(0.5)  # the children end a moment after their leader
    leader.wait(timeout=10)


def _until_healthy(url: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it answered")
        try:
            with _opener.open(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer within {seconds:g} s")


# Addresses of this machine are never asked of a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _call(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """One WebDriver command; returns its `value`. Errors: RuntimeError with the driver's own message."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with _opener.open(
            urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=120
        ) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["value"]["message"]) from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of docs/mlflow.md.")
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--search", default="digits")
    parser.add_argument("--out", type=Path, default=PICTURES)
    given = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    for name in take(given.root, given.search, given.out):
        print(given.out / f"{name}.png")


if __name__ == "__main__":
    main()
