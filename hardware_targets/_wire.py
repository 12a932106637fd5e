"""What is said between a caller and the agent on a remote device: JSON lines, each with `bytes` raw bytes behind it."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from typing import Any

CHUNK = 1 << 22  # bytes of a file per message: a dropped link costs at most this
BEAT_S = 15.0  # the caller says at least this often that it is there
SILENCE_S = 60.0  # after which either takes the other for gone

Message = dict[str, Any]


class Closed(Exception):
    """The other end has gone."""


class Silent(Exception):
    """The other end said nothing in time."""


def encoded(message: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """One message with its payload, as bytes."""
    line = json.dumps({**message, "bytes": len(payload)}, allow_nan=False)
    return line.encode("ascii") + b"\n" + payload


class Reader:
    """Messages from a file descriptor; a wait ends after the seconds that it is given."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._buffer = descriptor, bytearray()

    def line(self, wait_s: float) -> str:
        """The next line. Errors: Closed, Silent."""
        while (end := self._buffer.find(b"\n")) < 0:
            self._more(wait_s)
        return self._taken(end + 1)[:-1].decode("utf-8", errors="replace")

    def message(self, wait_s: float) -> tuple[Message, bytes]:
        """The next message and its payload; the wait begins anew with every byte. Errors: Closed, Silent."""
        message: Message = json.loads(self.line(wait_s))
        while len(self._buffer) < message["bytes"]:
            self._more(wait_s)
        return message, self._taken(message["bytes"])

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _more(self, wait_s: float) -> None:
        ready, _, _ = select.select([self._descriptor], [], [], wait_s)
        if not ready:
            raise Silent
        part = os.read(self._descriptor, 1 << 20)
        if not part:
            raise Closed
        self._buffer += part


class Deadline:
    """How many seconds are left of a limit."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s

    def left_s(self) -> float:
        return max(0.0, self._end - time.monotonic())
