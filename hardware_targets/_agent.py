"""The remote end of `ssh`: answers one caller over stdin and stdout, with the targets of the machine it runs on.

`_bootstrap` starts it. It lives as long as its caller: when stdin ends, or nothing is heard for a minute, it stops what
it does, and the measuring process, which alone holds the device's lock, dies with it.
"""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets._errors import DeviceFailure, TargetError
from hardware_targets._measurement import Conditions, Latency, energy_json
from hardware_targets._parts import build
from hardware_targets._roles import HardwareTarget
from hardware_targets._store import Store
from hardware_targets._wire import SILENCE_S, Closed, Message, Reader, Silent, encoded

_GRACE_S = 5.0  # to end a measuring process and remove its folder, before this one is ended without asking


def serve(root: Path) -> None:
    """Answer on the process's own stdin and stdout until the caller goes."""
    out = Out(os.dup(1))
    os.dup2(2, 1)  # whatever a library prints is no answer
    signal.signal(signal.SIGINT, signal.default_int_handler)
    requests: queue.Queue[tuple[Message, bytes]] = queue.Queue()
    threading.Thread(target=_listen, args=(Reader(0), requests, out), daemon=True).start()
    store = Store(root)
    os.utime(Path(__file__).parents[1])  # this package is in use
    store.prune()
    agent = Agent(store)
    try:
        while True:
            message, payload = requests.get()
            out.busy = True
            reply, content = agent.answer(message, payload)
            out.busy = False
            out.write(encoded({**reply, "id": message["id"]}, content))
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(0)


class Out:
    """Where answers go; while one is worked out, a beat of the caller is answered, so that it knows to wait on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lock, self.busy = descriptor, threading.Lock(), False

    def write(self, data: bytes) -> None:
        """All of it. Errors: OSError where the caller has gone."""
        view = memoryview(data)
        with self._lock:
            while view:
                view = view[os.write(self._descriptor, view) :]


def _listen(reader: Reader, requests: queue.Queue[tuple[Message, bytes]], out: Out) -> None:
    """Hand on what is asked; when the caller has gone, end the main thread wherever it is."""
    try:
        while True:
            message, payload = reader.message(SILENCE_S)
            if message["verb"] != "beat":
                requests.put((message, payload))
            elif out.busy:  # else nobody reads, and what nobody reads would fill the link
                out.write(encoded({"beat": True}))
    except (Closed, Silent, ValueError, OSError):
        pass
    timer = threading.Timer(_GRACE_S, os._exit, [1])
    timer.daemon = True
    timer.start()
    os.kill(os.getpid(), signal.SIGINT)


class Agent:
    """Answers requests: files to keep, and the verbs of a target."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._targets: dict[str, HardwareTarget] = {}

    def answer(self, request: Mapping[str, Any], payload: bytes) -> tuple[Message, bytes]:
        """The reply and its payload; an error is a reply too."""
        try:
            return self._answered(request, payload)
        except TargetError as error:
            return {"error": {"kind": type(error).__name__, "sentence": str(error)}}, b""
        except Exception as error:  # a defect here must reach the caller as words, not as a dead link
            traceback.print_exc(file=sys.stderr)
            sentence = f"the agent failed at {request.get('verb')}: {type(error).__name__}: {error}"
            return {"error": {"kind": DeviceFailure.__name__, "sentence": sentence}}, b""

    def _answered(self, request: Mapping[str, Any], payload: bytes) -> tuple[Message, bytes]:
        verb = request["verb"]
        if verb == "need":
            present = {digest: self._store.present(digest) for digest in request["digests"]}
            return {"need": {digest: size for digest, size in present.items() if size is not None}}, b""
        if verb == "put":
            arrived = self._store.put(request["sha256"], request["size"], request["offset"], payload)
            return {"arrived": arrived}, b""
        target = self._target(request["target"], request["options"])
        if verb == "predict":
            return {}, _as_npy(target.predict(self._model(request), self._feeds(request), **_given(request)))
        return {"result": self._plain(verb, target, request)}, b""

    def _plain(self, verb: str, target: HardwareTarget, request: Mapping[str, Any]) -> Any:
        if verb == "unavailable":
            return target.unavailable()
        if verb == "conditions":
            return target.conditions().to_json()
        if verb == "energy_kind":
            say = getattr(target, "energy_kind", lambda: "unknown")
            return say()
        if verb == "energy_of":
            return _modelled(target, request)
        if verb == "inputs":
            return [asdict(item) for item in target.inputs(self._model(request))]
        if verb == "measure":
            sides = (request, request["reference"])
            files = [path for side in sides for path in (self._model(side), self._feeds(side))]
            return target.measure(*files, seed=request["seed"], **_given(request)).to_json()
        raise TargetError(f"no agent knows the verb {verb!r}; let caller and agent be of one version")

    def _target(self, name: str, options: Mapping[str, Any]) -> HardwareTarget:
        """Kept: a target that has measured knows its null model."""
        key = json.dumps([name, options], sort_keys=True)
        if key not in self._targets:
            self._targets[key] = build("target", name, **options)
        return self._targets[key]

    def _model(self, side: Mapping[str, Any]) -> Path:
        return self._store.place(side["model"]) / str(side["model"][0][0])

    def _feeds(self, side: Mapping[str, Any]) -> Path:
        return self._store.place(side["feeds"])


def _modelled(target: HardwareTarget, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Energy by the target's model; None where it has a counter, or no model that it tells."""
    model = getattr(target, "energy_of", None)
    if model is None:
        return None
    latency, conditions = Latency.from_json(request["latency"]), Conditions.from_json(request["conditions"])
    found = model(latency, conditions, precision=request["precision"], macs_m=request["macs_m"])
    return None if found is None else energy_json(found)


def _given(request: Mapping[str, Any]) -> dict[str, Any]:
    """Limits and the tier that the caller set; the target's own hold otherwise."""
    return {
        name: request[name] for name in ("seconds", "time_limit_s", "tier", "over") if request.get(name) is not None
    }


def _as_npy(rows: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, rows, allow_pickle=False)
    return file.getvalue()
