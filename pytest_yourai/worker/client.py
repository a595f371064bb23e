"""The parent's side of a worker: starts it, talks to it, captures its output, ends it.

Everything waits in one selector, without threads. A caller that is interrupted in here
(pytest-timeout raises out of a blocked read, and so does Ctrl-C) must call `kill`: the conversation
is broken.
"""

from __future__ import annotations

import contextlib
import math
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
from typing import Protocol

from pytest_yourai.core.errors import WorkerDiedError, WorkerError
from pytest_yourai.core.paths import PACKAGE
from pytest_yourai.core.sanitize import redactor
from pytest_yourai.worker import messages

_READ_SIZE = 1 << 16

_LONGEST_LINE_BYTES = 1 << 24

_EXIT_WAIT_S = 5.0

_STACK_WAIT_S = 1.0

_STACK_QUIET_S = 0.2

MEMORY_INTERVAL_S = 0.25
"""How often a worker sends what MLX holds."""


class Watch(Protocol):
    """Checks the machine between messages."""

    def due_in_s(self) -> float:
        """How long the next check can wait."""
        ...

    def check(self) -> None:
        """Check now; whatever this raises comes out of `WorkerClient.receive`."""
        ...


class WorkerClient:
    """One worker process, in a session and process group of its own.

    Constructing it starts the process and does not wait for it. WorkerError where the system
    refuses one.
    """

    def __init__(self, memory_interval_s: float = MEMORY_INTERVAL_S) -> None:
        """`memory_interval_s`: how often it sends what MLX holds; 0 for never."""
        self._process, self._command_fd, self._message_fd = _spawn(memory_interval_s)
        self._number = 0
        self._partial = b""
        self._ended = False
        self._released = False
        self._inbox: deque[bytes] = deque()
        self._tails = (Tail(), Tail())
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
        """Send a command, which is to be answered; WorkerDiedError where the worker has ended."""
        self._number += 1
        self._write(command)

    def stop_training(self) -> None:
        """Ask for an early end of the running command, whose answer is still to come."""
        self._write(messages.Stop())

    def go_on(self) -> None:
        """Let the running command write the checkpoint that it has announced."""
        self._write(messages.GoOn())

    def _write(self, command: messages.Command) -> None:
        data = memoryview(messages.encode(messages.Envelope(self._number, command)))
        try:
            while data:
                data = data[os.write(self._command_fd, data) :]
        except BrokenPipeError:
            raise self._died() from None

    def receive(
        self, timeout_s: float = math.inf, watch: Watch | None = None
    ) -> messages.Message | None:
        """The next message that belongs to the last command; None if none comes in `timeout_s`.

        While waiting for it, `watch` checks whenever it is due. WorkerDiedError where the worker
        ended, WorkerError where it sent something else.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if watch and watch.due_in_s() <= 0:
                watch.check()
            if self._inbox:
                envelope = messages.decode_message(self._inbox.popleft())
                if envelope.number == self._number:
                    return envelope.body
            elif self._ended:
                raise self._died()
            else:
                left_s = max(0.0, deadline - time.monotonic())
                look_s = watch.due_in_s() if watch else math.inf
                wait_s = min(left_s, look_s)
                came = self._read_once(None if math.isinf(wait_s) else wait_s)
                if not came and look_s > left_s:
                    return None

    def print_stacks(self) -> None:
        """Make the worker print its Python stacks, and wait until it has: a second at most."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, messages.STACK_SIGNAL)
            os.kill(self.pid, signal.SIGCONT)
        deadline = end = time.monotonic() + _STACK_WAIT_S
        while (left_s := end - time.monotonic()) > 0 and self._selector.get_map():
            if self._read_once(left_s):
                end = min(deadline, time.monotonic() + _STACK_QUIET_S)

    def take_output(self) -> Output:
        """The worker's output since this was last called, at most 64 KiB of each stream."""
        while not self._released and self._read_once(0.0):
            pass
        stdout, stderr = self._tails
        return Output(stdout.take(), stderr.take())

    def close(self) -> int:
        """Let the worker end itself; it is killed where it does not. Returns its status."""
        self._close_commands()
        self._await_end()
        return self._release()

    def kill(self) -> int:
        """End the worker and all that it started, now. Returns its status."""
        if self._process.returncode is None:
            self._kill_group()
            self._await_end()
        return self._release()

    def _await_end(self) -> int:
        """The worker's status; it is killed where it does not end, and so is what it leaves."""
        if self._process.returncode is None:
            try:
                self._process.wait(_EXIT_WAIT_S)
            except subprocess.TimeoutExpired:
                self._kill_group()
                self._process.wait()
            else:
                # At once, and never again: its number may soon be that of another's group.
                self._kill_group()
        return self._process.returncode

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
        """Wait for data and read it; False where none came in time."""
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
        return WorkerDiedError(self._await_end())


def _spawn(memory_interval_s: float) -> tuple[subprocess.Popen[bytes], int, int]:
    """The process, and the descriptors to write commands to and to read messages from."""
    fds: list[int] = []
    try:
        for _ in range(2):
            fds += os.pipe()
        command_read, command_write, message_read, message_write = fds
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pytest_yourai.worker"]
            + [str(command_read), str(message_write), str(memory_interval_s)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(command_read, message_write),
            env=_environment(os.environ),
            start_new_session=True,
        )
    except BaseException as problem:
        for fd in fds:
            os.close(fd)
        if isinstance(problem, OSError):
            raise WorkerError(f"the worker process cannot be started: {problem}") from problem
        raise
    os.close(command_read)
    os.close(message_write)
    return process, command_write, message_read


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The parent's environment, so changed that the worker imports the parent's package."""
    environment = {**own, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "true"}
    # mlx-lm prints symbols that a pipe in an ASCII locale would refuse.
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    root = str(PACKAGE.parent)
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        earlier = own.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{earlier}" if earlier else root
    return environment


_KEPT_BYTES = 1 << 16

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and cursor movements, which mlx-lm prints into pipes too."""

_CUT_WORD = re.compile(r"\A\S*")


@dataclass(frozen=True, slots=True)
class Output:
    """The end of the worker's output since it was last taken."""

    stdout: str
    stderr: str


class Tail:
    """The last 64 KiB of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._is_cut = False

    def add(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > _KEPT_BYTES:
            self._is_cut = True
            del self._data[:-_KEPT_BYTES]

    def take(self) -> str:
        """The text that was added since this was last called."""
        text = self._data.decode(errors="replace")
        if self._is_cut:
            # It could be the rest of a secret, which the redactor would not recognise.
            text = _CUT_WORD.sub("", text)
        self._data.clear()
        self._is_cut = False
        return redactor()(_TERMINAL_CODES.sub("", text))
