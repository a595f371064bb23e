"""The parent's side of a worker: exchanges messages, captures its output, ends it.

Everything waits in one selector, without threads. A caller that is interrupted in here
(pytest-timeout raises out of a blocked read, and so does Ctrl-C) must call `kill`: the conversation
is broken.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import time
from collections import deque

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import WorkerDiedError
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.process_memory import read_process_memory
from pytest_yourai.worker import messages
from pytest_yourai.worker.conversation import Conversation
from pytest_yourai.worker.lines import Lines
from pytest_yourai.worker.process import WorkerProcess
from pytest_yourai.worker.run_record import Output, RunRecord
from pytest_yourai.worker.tail import Tail

_READ_SIZE = 1 << 16

_STACK_WAIT_S = 1.0

_STACK_QUIET_S = 0.2


class WorkerClient(Conversation):
    """The conversation with one worker process, which this ends."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._number = 0
        self._lines = Lines()
        self._ended = False
        self._released = False
        self._base_bytes = 0
        self._inbox: deque[bytes] = deque()
        self._tails = (Tail(), Tail())
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.message_fd, selectors.EVENT_READ, None)
        for fd, tail in zip(process.output_fds, self._tails, strict=True):
            self._selector.register(fd, selectors.EVENT_READ, tail)

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, guard: Guard, device: DeviceInfo, *, holds_the_model: bool) -> None:
        if not holds_the_model:
            self._base_bytes = _held_bytes(self.pid, device)
        guard.attach(self.pid, self._base_bytes, has_own_memory=device.has_own_memory)

    def send(self, command: messages.Command) -> None:
        if not isinstance(command, messages.Stop | messages.GoOn):
            self._number += 1
        data = memoryview(messages.encode(messages.Envelope(self._number, command)))
        try:
            while data:
                data = data[os.write(self._process.command_fd, data) :]
        except BrokenPipeError:
            raise WorkerDiedError(self._process.await_end()) from None

    def receive(
        self, timeout_s: float = math.inf, record: RunRecord | None = None
    ) -> messages.Message | None:
        deadline = time.monotonic() + timeout_s
        while True:
            if record and record.guard.due_in_s() <= 0:
                record.check()
            if self._inbox:
                envelope = messages.decode(messages.Message, self._inbox.popleft())
                if envelope.number == self._number:
                    body: messages.Message = envelope.body
                    return body
            elif self._ended:
                raise WorkerDiedError(self._process.await_end())
            else:
                left_s = max(0.0, deadline - time.monotonic())
                check_s = record.guard.due_in_s() if record else math.inf
                wait_s = min(left_s, check_s)
                came = self._read_once(None if math.isinf(wait_s) else wait_s)
                if not came and check_s > left_s:
                    return None

    def print_stacks(self) -> None:
        if self._process.is_reaped:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, messages.STACK_SIGNAL)
            os.kill(self.pid, signal.SIGCONT)
        deadline = end = time.monotonic() + _STACK_WAIT_S
        while (left_s := end - time.monotonic()) > 0 and self._selector.get_map():
            if self._read_once(left_s):
                end = min(deadline, time.monotonic() + _STACK_QUIET_S)

    def take_output(self) -> Output:
        while not self._released and self._read_once(0.0):
            pass
        stdout, stderr = self._tails
        return Output(stdout.take(), stderr.take())

    def close(self) -> int:
        self._process.close_commands()
        self._process.await_end()
        return self.kill()

    def kill(self) -> int:
        status = self._process.kill()
        if not self._released:
            self._released = True
            self._selector.close()
        return status

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
                self._inbox.extend(self._lines.add(data))
            else:
                self._selector.unregister(key.fd)
                self._ended = True
        return bool(ready)


def _held_bytes(pid: int, device: DeviceInfo) -> int:
    if device.has_own_memory and device.memory_bytes and device.free_memory_bytes:
        return device.memory_bytes - device.free_memory_bytes
    process = read_process_memory(pid)
    return process.footprint_bytes if process else 0
