"""This package as one file, to be pushed to a device."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import zipfile
from functools import cache
from pathlib import Path

_HOME = Path(__file__).parent
_KINDS = (".py", ".yaml")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # a fixed date: equal files make an equal package


@cache
def packed() -> tuple[str, bytes]:
    """sha256 and bytes of a zip of the sources and tables."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        for path in sorted(path for path in _HOME.rglob("*") if path.suffix in _KINDS):
            name = zipfile.ZipInfo(path.relative_to(_HOME.parent).as_posix(), _LONG_AGO)
            package.writestr(name, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return hashlib.sha256(file.getvalue()).hexdigest(), file.getvalue()


def start_command(python: str, workdir: str) -> str:
    """The shell command that starts the agent on a device; in base64, so that no shell finds anything to interpret."""
    code = base64.b64encode((_HOME / "_bootstrap.py").read_bytes()).decode("ascii")
    run = f"import base64; exec(base64.b64decode({code!r}))"
    return f"exec {_word(python)} -c {shlex.quote(run)} {shlex.quote(workdir)} {packed()[0]}"


def _word(path: str) -> str:
    """A path for the remote shell, with its own home for a leading ~."""
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)
