"""An sshd of the test's own on this machine (Debian: apt-get install openssh-server)."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from hardware_targets._lock import lock_path
from hardware_targets.ssh import Target

sys.path.insert(0, str(Path(__file__).parents[1] / "hardware_targets"))
from processes import within

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
MISSING = SSHD is None or shutil.which("ssh-keygen") is None
INSTALL = "needs a ssh server; apt-get install openssh-server openssh-client"


class Server:
    """One sshd on a free port of the loopback interface, with keys of its own; nothing of the machine's is used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for key in ("host", "user", "stranger"):
            self.new_key(key)
        shutil.copy(folder / "user.pub", folder / "authorized")
        (folder / "authorized").chmod(0o600)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "tmp").mkdir()
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nTMPDIR={folder}/tmp exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        self.lock = lock_path(folder / "tmp")
        self.write_config()
        self.start()

    def new_key(self, name: str) -> None:
        for path in (self.folder / name, self.folder / f"{name}.pub"):
            path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)

    def write_config(self) -> None:
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        self.trust("host")

    def trust(self, key: str | None) -> None:
        """What known_hosts of the caller says of this server. Its config asks for no check, which must not count."""
        line = "" if key is None else f"[127.0.0.1]:{self.port} {(self.folder / f'{key}.pub').read_text()}"
        (self.folder / "known_hosts").write_text(line)
        (self.folder / "client_config").write_text(
            f"StrictHostKeyChecking no\nUserKnownHostsFile {self.folder}/known_hosts\nGlobalKnownHostsFile /dev/null\n"
            "IdentitiesOnly yes\n"
        )

    def start(self) -> None:
        assert SSHD
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd shuts its unprivileged half in
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=log, start_new_session=True
            )
        assert within(10, self.listens), (self.folder / "sshd.log").read_text()

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """The server and every session that it has open."""
        for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def options(self) -> dict[str, Any]:
        """Of the target `ssh`."""
        return {
            "host": "127.0.0.1",
            "user": getpass.getuser(),
            "port": self.port,
            "identity_file": str(self.folder / "user"),
            "config_file": str(self.folder / "client_config"),
            "python": str(self.folder / "python"),
            "workdir": str(self.folder / "work"),
        }

    def target(self, **options: Any) -> Target:
        return Target(**{**self.options(), "seconds": 6.0, **options})

    def measuring(self) -> psutil.Process:
        """The process that holds the lock, once there is one."""
        assert within(60, lambda: self.lock.exists() and self.lock.read_text() != ""), "it never came to measuring"
        return psutil.Process(int(self.lock.read_text()))
