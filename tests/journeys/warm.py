"""Processes of a command line, as a user starts them, but forked from one that has the large libraries imported.

Importing them takes seconds of a processor, the same ones every time. What is a process of its own stays one: it is
killed, interrupted and waited for as any other.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

# Of what `niwaki search` imports, that which starts no thread, for a fork has none of them: onnxruntime starts one.
# (pyarrow's allocator does, too, and sees to its forks by itself.)
LIBRARIES = [
    "torch", "transformers", "torch_pruning", "onnx", "datasets", "optuna", "sklearn.gaussian_process", "scipy.stats",
    "mlflow", "mlflow.tracking", "matplotlib.pyplot", "typer",
    # loaded by these when they are first used
    "transformers.models.resnet.modeling_resnet", "transformers.models.bert.modeling_bert",
    "transformers.models.auto.modeling_auto", "alembic.runtime.environment", "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.ensemble",
]  # fmt: skip
_FROM = get_context("forkserver")
_FROM.set_forkserver_preload(LIBRARIES)


class Running:
    """A process that has been started; what it says lies in `folder` until it has ended."""

    def __init__(self, folder: Path, program: tuple[str, ...], arguments: tuple[str, ...], **variables: str) -> None:
        self.command = [*program, *arguments]
        self._said = [folder / name for name in (".stdout", ".stderr")]
        environment = {**os.environ, **variables}
        self._process: BaseProcess = _FROM.Process(
            target=_become, args=(folder, program, arguments, environment, self._said)
        )
        self._process.start()

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGINT)

    def ended(self, within_s: float) -> subprocess.CompletedProcess[str]:
        """Wait for its end. Errors: TimeoutExpired, after it has been killed."""
        self._process.join(within_s)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        out, err = (path.read_text(encoding="utf-8") for path in self._said)
        for path in self._said:
            path.unlink()
        if code is None:
            raise subprocess.TimeoutExpired(self.command, within_s, out, err)
        return subprocess.CompletedProcess(self.command, code, out, err)


def _become(
    folder: Path, program: tuple[str, ...], arguments: tuple[str, ...], environment: Mapping[str, str], said: list[Path]
) -> None:
    """In the new process: `python PROGRAM ARGUMENT...`, in `folder`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(said, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    # A background job of a shell hands down that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if program[0] == "-m":
        sys.argv = [program[1], *arguments]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [*program, *arguments]
        sys.path.insert(0, str(Path(program[0]).parent))
        runpy.run_path(program[0], run_name="__main__")
