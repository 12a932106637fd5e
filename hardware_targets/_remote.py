"""Asking a remote device: connect, push what it lacks, ask; and all that again when the link drops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hardware_targets import _errors
from hardware_targets._bundles import Blob, Bundle
from hardware_targets._errors import DeviceAway, DeviceFailure, TargetError
from hardware_targets._link import AgentRefused, Link, LinkDown
from hardware_targets._wire import CHUNK, Message

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

Explain = Callable[[LinkDown], str | None]


class Remote:
    """A device that is reached through links; one is kept open while it lasts.

    `explain` turns the end of a link into a sentence where trying again is of no use (a host key, a login), else None.
    `retries` pauses of 1, 2, 4 ... 30 s; they begin anew when bytes of a file got through.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        host: str,
        *,
        explain: Explain,
        retries: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect, self._host, self._explain = connect, host, explain
        self._retries, self._sleep = retries, sleep
        self._link: Link | None = None
        self._pushed = 0
        self._turn = threading.RLock()  # a link holds one conversation

    def ask(self, request: Message, bundles: Iterable[Bundle] = (), *, retry: bool = True) -> tuple[Message, bytes]:
        """The agent's reply and payload, once it holds the files of `bundles`.

        Errors: what the device reported; DeviceFailure where the device cannot be used; DeviceAway when it stays away.
        """
        blobs = {blob.sha256: blob for bundle in bundles for blob in bundle}
        with self._turn:
            return self._persist(request, blobs, retry)

    def _persist(self, request: Message, blobs: dict[str, Blob], retry: bool) -> tuple[Message, bytes]:
        pauses, pushed = self._pauses(retry), self._pushed
        while True:
            try:
                self._push(blobs)
                return self._asked(request)
            except LinkDown as down:
                self._link = None
                if self._pushed > pushed:
                    pauses, pushed = self._pauses(retry), self._pushed
                self._wait(down, pauses)

    def close(self) -> None:
        """End the link, if there is one."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _pauses(self, retry: bool) -> Iterator[float]:
        return iter([min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(self._retries if retry else 0)])

    def _wait(self, down: LinkDown, pauses: Iterator[float]) -> None:
        if reason := self._explain(down):
            raise DeviceFailure(reason) from None
        pause = next(pauses, None)
        if pause is None:
            raise DeviceAway(
                f"{self._host} does not answer: {down}; see that it is on and that its network is up, then try again"
            ) from None
        self._sleep(pause)

    def _push(self, blobs: dict[str, Blob]) -> None:
        """Send the files that the device does not hold, from where a dropped link left off."""
        if not blobs:
            return
        reply, _ = self._asked({"verb": "need", "digests": list(blobs)})
        for digest, arrived in reply["need"].items():
            self._push_one(blobs[digest], arrived)

    def _push_one(self, blob: Blob, arrived: int | None) -> None:
        with blob.path.open("rb") as file:
            while arrived is not None:
                file.seek(arrived)
                content = file.read(CHUNK)
                request = {"verb": "put", "sha256": blob.sha256, "size": blob.size, "offset": arrived}
                reply, _ = self._asked(request, content)
                if reply["arrived"] is not None and reply["arrived"] <= arrived:
                    raise TargetError(f"{blob.path} changed while it was pushed to {self._host}; try again")
                arrived = reply["arrived"]
                self._pushed += len(content)

    def _asked(self, request: Message, payload: bytes = b"") -> tuple[Message, bytes]:
        if self._link is None:
            try:
                self._link = self._connect()
            except AgentRefused as refused:
                raise DeviceFailure(f"on {self._host}, {refused}") from None
        reply, content = self._link.ask(request, payload)
        if "error" in reply:
            raise self._reported(reply["error"])
        return reply, content

    def _reported(self, error: dict[str, Any]) -> TargetError:
        kind = getattr(_errors, str(error["kind"]), None)
        sentence = f"on {self._host}: {error['sentence']}"
        return kind(sentence) if isinstance(kind, type) and issubclass(kind, TargetError) else DeviceFailure(sentence)
