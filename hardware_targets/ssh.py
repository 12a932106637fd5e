"""Another machine, over the system's ssh client: the same measuring code runs there, pushed once, in a warm agent.

It needs there a login without a password, Python 3.11 with numpy, PyYAML and the runtime, and some space. Host keys
are always verified. Nothing is installed, and nothing runs there after the link has gone.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets import _bundles
from hardware_targets._errors import DeviceFailure, TargetError
from hardware_targets._feeds import Input
from hardware_targets._link import Link, LinkDown
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement, Unmeasured, energy_from
from hardware_targets._package import start_command
from hardware_targets._plan import Tier
from hardware_targets._remote import Remote

SECONDS = 12.0
_NO_HOST = "ssh needs a machine to measure on; give `host:`, e.g. an alias of ~/.ssh/config"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*")  # no leading -, which the client would take for an option


class Target:
    """Measures on `host` as `target` there does, with `options` of that target.

    `host` may be an alias of ~/.ssh/config; user, port, identity_file and config_file are what ssh calls -l, -p, -i and
    -F. `python` and `workdir` are the other machine's. `retries` is how often a dropped link is taken up again.
    """

    name = "ssh"

    def __init__(
        self,
        threads: int = 1,
        host: str | None = None,
        user: str | None = None,
        port: int | None = None,
        identity_file: str | None = None,
        config_file: str | None = None,
        python: str = "python3",
        workdir: str = "~/.cache/niwaki",
        seconds: float = SECONDS,
        runtime: str | None = None,
        target: str = "local_cpu",
        options: Mapping[str, Any] | None = None,
        retries: int = 5,
    ) -> None:
        for option, value in (("host", host), ("user", user)):
            if value is not None and not (isinstance(value, str) and _NAME.fullmatch(value)):
                raise TargetError(f"{option} is {value!r}, which is no name; give one as ssh takes it, e.g. pi")
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:
            raise TargetError(f"retries is {retries!r}; give a whole number from 0 to 100")
        if target == self.name:
            raise TargetError("target is 'ssh' there too; name the target that measures there, e.g. local_cpu")
        self.threads, self._host = threads, host
        self._place = f"{user}@{host}" if user else str(host)
        self._client = _client(host, user, port, identity_file, config_file)
        self._python, self._workdir = python, workdir
        kept = {"threads": threads, "seconds": seconds} | ({} if runtime is None else {"runtime": runtime})
        self._there = {"target": target, "options": {**kept, **(options or {})}}
        self._energy_kind: str | None = None
        self._remote = Remote(self._connect, self._place, explain=self._explain, retries=retries)

    def mistaken(self) -> str | None:
        """What is wrong with the options, whatever the device says."""
        return None if self._host is not None else _NO_HOST

    def unavailable(self) -> str | None:
        """Why nothing can be measured there, or None; asks the device, once."""
        try:
            reply, _ = self._remote.ask({"verb": "unavailable", **self._there}, retry=False)
        except TargetError as error:
            return str(error)
        return None if reply["result"] is None else f"on {self._place}: {reply['result']}"

    def conditions(self) -> Conditions:
        """The other machine as it is now. Errors: DeviceFailure."""
        reply, _ = self._remote.ask({"verb": "conditions", **self._there})
        return Conditions.from_json(reply["result"])

    def energy_kind(self) -> str:
        """Of the energy figures that will come from there, asked once; `unknown` where that target does not say.

        Errors: DeviceFailure.
        """
        if self._energy_kind is None:
            self._energy_kind = str(self._remote.ask({"verb": "energy_kind", **self._there})[0]["result"])
        return self._energy_kind

    def energy_of(
        self, latency: Latency, conditions: Conditions, *, precision: str | None = None, macs_m: float | None = None
    ) -> Energy | Unmeasured | None:
        """What was timed, by the energy model in use there; None where a counter there tells. Errors: DeviceFailure."""
        timed = {"latency": latency.to_json(), "conditions": conditions.to_json()}
        request = {"verb": "energy_of", **self._there, **timed, "precision": precision, "macs_m": macs_m}
        reply, _ = self._remote.ask(request)
        return None if reply["result"] is None else energy_from(reply["result"])

    def inputs(self, model: Path) -> tuple[Input, ...]:
        """Names, dtypes and shapes of a model's inputs, as the runtime there reads them. Errors: TargetError."""
        files = _bundles.of_model(model)
        request = {"verb": "inputs", "model": _bundles.listing(files), **self._there}
        reply, _ = self._remote.ask(request, [files])
        return tuple(Input(item["name"], item["dtype"], tuple(item["shape"])) for item in reply["result"])

    def measure(
        self,
        model: Path,
        feeds: Path,
        reference: Path,
        reference_feeds: Path,
        *,
        seed: int,
        seconds: float | None = None,
        time_limit_s: float | None = None,
        tier: Tier = "trial",
        raw: Path | None = None,  # noqa: ARG002 - blocks are not brought over the link
        over: float | None = None,
    ) -> Measurement:
        """Time `model` against `reference` there, under the lock of that machine. Errors: TargetError."""
        sides = [
            (_bundles.of_model(file), _bundles.of_feeds(rows))
            for file, rows in ((model, feeds), (reference, reference_feeds))
        ]
        ours, theirs = ({"model": _bundles.listing(file), "feeds": _bundles.listing(rows)} for file, rows in sides)
        limits = {"seconds": seconds, "time_limit_s": time_limit_s, "tier": tier, "over": over}
        request = {"verb": "measure", **self._there, **ours, "reference": theirs, "seed": seed, **limits}
        files = [bundle for side in sides for bundle in side]
        reply, _ = self._remote.ask(request, files)
        return Measurement.from_json(reply["result"])

    def predict(self, model: Path, feeds: Path, *, time_limit_s: float = 600.0) -> np.ndarray:
        """The first output for every row, [rows, ...], by the very calls that are timed. Errors: TargetError."""
        files, rows = _bundles.of_model(model), _bundles.of_feeds(feeds)
        request = {"verb": "predict", "model": _bundles.listing(files), "feeds": _bundles.listing(rows), **self._there}
        _, content = self._remote.ask({**request, "time_limit_s": time_limit_s}, [files, rows])
        found: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
        return found

    def close(self) -> None:
        """End the agent; the next call starts another."""
        self._remote.close()

    def _connect(self) -> Link:
        if self._host is None:
            raise TargetError(_NO_HOST)
        if shutil.which(self._client[0]) is None:
            raise DeviceFailure("there is no ssh client here; install OpenSSH's, e.g. apt-get install openssh-client")
        return Link([*self._client, start_command(self._python, self._workdir)])

    def _explain(self, down: LinkDown) -> str | None:
        """A sentence for an end that comes again however often one tries; None where trying helps."""
        said, login = down.said, " ".join(word for word in self._client if word not in ("-T", "--", *_ALWAYS))
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said or "has changed and you have requested strict" in said:
            return (
                f"the host key of {self._place} is not the one that known_hosts holds: another machine answers, or it "
                f"was set up anew. If that is so, type: ssh-keygen -R {self._host}, and then: {login}"
            )
        if "Host key verification failed" in said or "host key is known" in said:
            return (
                f"the host key of {self._place} is not known here. Type: {login}; compare the fingerprint that it "
                "shows with the device's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), and answer yes"
            )
        if "Permission denied" in said:
            return (
                f"{self._place} refuses the login ({said}); give `user:` and `identity_file:`, or type: "
                f"ssh-copy-id {self._place}. A key with a passphrase must be in ssh-agent"
            )
        if down.code == 127:
            return f"there is no {self._python} on {self._place} ({said}); name a Python 3.11 or newer in `python:`"
        return None


_ALWAYS = tuple(
    word
    for option in (
        "BatchMode=yes",  # never ask: nobody is there to answer
        "StrictHostKeyChecking=yes",
        "ConnectTimeout=10",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
    )
    for word in ("-o", option)
)


def _client(
    host: str | None, user: str | None, port: int | None, identity_file: str | None, config_file: str | None
) -> list[str]:
    """The command line of the ssh client, up to the remote command."""
    files = [str(Path(name).expanduser()) if name else None for name in (config_file, identity_file)]
    given = (("-F", files[0]), ("-i", files[1]), ("-p", port), ("-l", user))
    options = [word for flag, value in given if value is not None for word in (flag, str(value))]
    return ["ssh", "-T", *_ALWAYS, *options, "--", str(host)]
