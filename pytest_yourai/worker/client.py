"""The parent's side of a worker: starts it, talks to it, captures its output, ends it.

Everything waits in one selector, without threads. Whoever is interrupted in here (pytest-timeout
raises out of a blocked read, and so does Ctrl-C) must call `kill`: the conversation is broken.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_yourai.errors import WorkerDiedError, WorkerError
from pytest_yourai.paths import PACKAGE
from pytest_yourai.worker import messages

_READ_SIZE = 1 << 16
_OUTPUT_KEPT_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 24
_EXIT_WAIT_S = 5.0
_EXIT_POLL_S = 0.01

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and cursor movements: mlx-lm prints them into pipes too."""


@dataclass(frozen=True, slots=True)
class Output:
    """The end of what the worker printed since it was last asked."""

    stdout: str
    stderr: str


class _Tail:
    """The last bytes of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        self._data += data
        del self._data[:-_OUTPUT_KEPT_BYTES]

    def take(self) -> str:
        text = _TERMINAL_CODES.sub("", self._data.decode(errors="replace"))
        self._data.clear()
        return text


class WorkerClient:
    """One worker process, in a session and process group of its own."""

    def __init__(self) -> None:
        command_read, self._command_fd = os.pipe()
        self._message_fd, message_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pytest_yourai.worker"]
                + [str(command_read), str(message_write)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(command_read, message_write),
                env=_environment(os.environ),
                start_new_session=True,
            )
        finally:
            os.close(command_read)
            os.close(message_write)
        self._partial = b""
        self._ended = False
        self._released = False
        self._largest_resident_bytes = 0
        self._inbox: deque[bytes] = deque()
        self._tails = (_Tail(), _Tail())
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._message_fd, selectors.EVENT_READ, None)
        streams = (self._process.stdout, self._process.stderr)
        for stream, tail in zip(streams, self._tails, strict=True):
            if stream is not None:
                self._selector.register(stream.fileno(), selectors.EVENT_READ, tail)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: messages.Command) -> None:
        """WorkerDiedError where nobody reads any more."""
        data = memoryview(messages.encode(command))
        try:
            while data:
                data = data[os.write(self._command_fd, data) :]
        except BrokenPipeError:
            raise self._died() from None

    def receive(self, timeout_s: float | None = None) -> messages.Message:
        """The next message.

        WorkerDiedError where the worker ended, WorkerError where it sent something else or
        nothing within `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._inbox:
            if self._ended:
                raise self._died()
            wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._read_once(wait_s):
                raise WorkerError(f"the worker sent nothing for {timeout_s:g} s")
        return messages.decode_message(self._inbox.popleft())

    def take_output(self) -> Output:
        """What the worker printed since this was last called, at most 64 KiB of each stream."""
        while not self._released and self._read_once(0.0):
            pass
        stdout, stderr = self._tails
        return Output(stdout.take(), stderr.take())

    def close(self) -> int:
        """Let the worker end itself; it is killed where it does not. Returns its status."""
        self._close_commands()
        try:
            self._process.wait(_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._kill_group()
        return self._release()

    def kill(self) -> int:
        """End the worker and all that it started, now. Returns its status."""
        self._kill_group()
        self._process.wait()
        return self._release()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _release(self) -> int:
        if self._released:
            return self._process.returncode
        self._released = True
        self._selector.close()
        self._close_commands()
        if self._message_fd >= 0:
            os.close(self._message_fd)
            self._message_fd = -1
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return self._process.returncode

    def _close_commands(self) -> None:
        if self._command_fd >= 0:
            os.close(self._command_fd)
            self._command_fd = -1

    def _read_once(self, wait_s: float | None) -> bool:
        """Read what is there, after waiting for it; False where nothing came in time."""
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            data = os.read(key.fd, _READ_SIZE)
            if key.data is not None:
                key.data.add(data)
                if not data:
                    self._selector.unregister(key.fd)
            elif data:
                self._take_lines(data)
            else:
                self._selector.unregister(key.fd)
                self._ended = True
        return bool(ready)

    def _take_lines(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._inbox.extend(lines)
        if len(self._partial) > _LONGEST_LINE_BYTES:
            raise WorkerError("the worker sent a message without end")

    def _died(self) -> WorkerDiedError:
        deadline = time.monotonic() + _EXIT_WAIT_S
        while not self._reap(os.WNOHANG):
            if time.monotonic() > deadline:
                self._kill_group()
                self._reap(0)
                break
            time.sleep(_EXIT_POLL_S)
        return WorkerDiedError(self._process.returncode, self._largest_resident_bytes)

    def _reap(self, flags: int) -> bool:
        """Take the status of an ended process, with what the kernel counted of it."""
        if self._process.returncode is None:
            pid, status, usage = os.wait4(self._process.pid, flags)
            if pid == 0:
                return False
            self._process.returncode = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024
            self._largest_resident_bytes = usage.ru_maxrss * unit
        return True


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The parent's environment, in which the worker finds this very package."""
    environment = {**own, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "true"}
    # mlx-lm prints symbols that a pipe in an ASCII locale would refuse.
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    root = str(PACKAGE.parent)
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        earlier = own.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{earlier}" if earlier else root
    return environment
