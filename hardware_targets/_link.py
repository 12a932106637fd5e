"""One process whose stdin and stdout lead to an agent, normally the system's ssh client."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any

from hardware_targets._bootstrap import MARK
from hardware_targets._package import packed
from hardware_targets._wire import BEAT_S, SILENCE_S, Closed, Deadline, Message, Reader, Silent, encoded

START_S = 60.0  # to log in and to import numpy on a slow board, the push of the package apart
_LAST_LINES = 4


class LinkDown(Exception):
    """The link ended, or never came to be; `said` is what its client wrote last, `code` its exit code if it has one."""

    def __init__(self, why: str, said: str = "", code: int | None = None) -> None:
        super().__init__(f"{why}{f'; it last said: {said}' if said else ''}")
        self.said, self.code = said, code


class AgentRefused(Exception):
    """The other machine was reached, but cannot run the agent; a sentence."""


class Link:
    """A running agent at the other end of `command`. Errors: LinkDown, AgentRefused."""

    def __init__(self, command: Sequence[str]) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the link
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is the caller's to handle; it may want one more answer
        )
        assert self._process.stdin and self._process.stdout
        self._reader = Reader(self._process.stdout.fileno())
        self._writing, self._over = threading.Lock(), threading.Event()
        self._numbers = itertools.count(1)
        self._end = weakref.finalize(self, _end, self._process, self._stderr, self._over)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        beat = threading.Thread(target=_beat, args=(self._process.stdin, self._writing, self._over), daemon=True)
        beat.start()

    @property
    def pid(self) -> int:
        """Of the client process."""
        return self._process.pid

    def ask(self, message: Mapping[str, Any], payload: bytes = b"") -> tuple[Message, bytes]:
        """The agent's reply and its payload, for which it may work as long as it answers beats. Errors: LinkDown."""
        number = next(self._numbers)
        self._write(encoded({**message, "id": number}, payload))
        try:
            while "beat" in (answer := self._reader.message(SILENCE_S))[0]:
                pass
        except (Closed, Silent, ValueError) as error:
            raise self._down(error) from None
        if answer[0].get("id") != number:
            raise self._down(ValueError("an answer to another question"))
        return answer

    def close(self) -> None:
        """End the client; the agent ends with it."""
        self._end()

    def _start(self) -> None:
        """Give the package if it is missing there, and wait for the agent."""
        deadline = Deadline(START_S)
        hello = self._hello(deadline)
        if hello["missing"]:
            content = packed()[1]
            self._write(len(content).to_bytes(8, "big") + content)
            deadline = Deadline(START_S)
        self._hello(deadline)

    def _hello(self, deadline: Deadline) -> Message:
        """The next line that begins with the mark: what a login shell prints is passed over."""
        try:
            while not (line := self._reader.line(deadline.left_s())).startswith(MARK):
                pass
        except (Closed, Silent) as error:
            raise self._down(error) from None
        hello: Message = json.loads(line.removeprefix(MARK))
        if "error" in hello:
            raise AgentRefused(hello["error"])
        return hello

    def _write(self, data: bytes) -> None:
        assert self._process.stdin
        try:
            with self._writing:
                _write_all(self._process.stdin, data)
        except OSError as error:
            raise self._down(error) from None

    def _down(self, error: Exception) -> LinkDown:
        """What is known of the end, and the end itself."""
        if isinstance(error, Silent):
            why = "it did not answer in time"
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2.0)  # its last words and its exit code are about to come
            why = "the link was closed" if isinstance(error, Closed | OSError) else f"it answered nonsense ({error})"
        down = LinkDown(why, self._last_words(), self._process.poll())
        self.close()
        return down

    def _last_words(self) -> str:
        if self._stderr.closed:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", errors="replace").splitlines()
        return " | ".join([line.strip() for line in lines if line.strip()][-_LAST_LINES:])


def _write_all(pipe: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe.fileno(), view) :]


def _beat(pipe: IO[bytes], writing: threading.Lock, over: threading.Event) -> None:
    """Tell the agent that its caller lives; knows nothing of the link itself, so that it does not keep it."""
    beat = encoded({"verb": "beat"})
    while not over.wait(BEAT_S):
        with contextlib.suppress(OSError, ValueError), writing:  # whoever asks next finds the link down
            _write_all(pipe, beat)


def _end(process: subprocess.Popen[bytes], stderr: IO[bytes], over: threading.Event) -> None:
    over.set()
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
