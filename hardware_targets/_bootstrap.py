"""What a remote Python runs first: it takes the package once, by its hash, and becomes the agent.

The text of this file is handed to `python -c`, so it uses the standard library alone, in words
that an old Python reads too.
"""

import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

MARK = "niwaki-agent "  # what a login shell prints before is no answer
OLDEST = (3, 11)


def say(**fields: object) -> None:
    os.write(1, (MARK + json.dumps(fields) + "\n").encode("ascii"))


def read(count: int) -> bytes:
    parts = []
    while count:
        part = os.read(0, min(count, 1 << 20))
        if not part:
            sys.exit(1)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def unpack(home: Path, content: bytes, digest: str) -> None:
    """Into a folder beside, then renamed: what bears the name is whole."""
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit("the package arrived damaged")
    beside = home.with_name(f"{digest}.{os.getpid()}")
    zipfile.ZipFile(io.BytesIO(content)).extractall(str(beside))
    try:
        beside.rename(home)
    except OSError:  # another caller was faster
        shutil.rmtree(str(beside))


def begin(workdir: str, digest: str) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        say(error=f"{sys.executable} is Python {version}; name a Python 3.11 or newer in `python:`")
        return
    root = Path(workdir).expanduser()
    home = root / "packages" / digest
    missing = not home.is_dir()
    say(missing=missing)
    if missing:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.parent.mkdir(exist_ok=True)
        unpack(home, read(int.from_bytes(read(8), "big")), digest)
    sys.path.insert(0, str(home))
    try:
        import numpy  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as error:
        install = f"{sys.executable} -m pip install numpy pyyaml onnxruntime"
        say(error=f"{sys.executable} lacks what the measuring needs ({error}); type there: {install}")
        return
    import hardware_targets._agent as agent

    say(ready=True)
    agent.serve(root)


if __name__ == "__main__":
    begin(*sys.argv[1:])
