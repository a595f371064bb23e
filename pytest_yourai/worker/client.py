"""The parent's side of a worker: exchanges messages, captures its output, ends it.

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
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import (
    BackendError,
    DataError,
    ModelError,
    RecipeError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.sanitize import without_controls
from pytest_yourai.models.source import Inspection
from pytest_yourai.worker import messages
from pytest_yourai.worker.process import WorkerProcess
from pytest_yourai.worker.protocol import (
    Measurement,
    RowsRead,
    RunEvent,
    Saving,
    TrainingEnd,
)
from pytest_yourai.worker.run_record import Output, RunRecord

_READ_SIZE = 1 << 16

_LONGEST_LINE_BYTES = 1 << 24

_STACK_WAIT_S = 1.0

_STACK_QUIET_S = 0.2

_Answer = TypeVar(
    "_Answer", DeviceInfo, Inspection, messages.Pong, messages.Loaded, Measurement, TrainingEnd
)


class TimeLimit:
    """One limit for several messages together."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.restart()

    def restart(self) -> None:
        self._end = time.monotonic() + self.limit_s

    @property
    def left_s(self) -> float:
        return max(0.0, self._end - time.monotonic())


_NO_LIMIT = TimeLimit(math.inf)


class WorkerClient:
    """The conversation with one worker process, which this ends."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._number = 0
        self._partial = b""
        self._ended = False
        self._released = False
        self._inbox: deque[bytes] = deque()
        self._tails = (Tail(), Tail())
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.message_fd, selectors.EVENT_READ, None)
        for fd, tail in zip(process.output_fds, self._tails, strict=True):
            self._selector.register(fd, selectors.EVENT_READ, tail)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: messages.Command) -> None:
        """Send a command, which the worker will answer, or Stop or GoOn to the running one.

        WorkerDiedError where the worker has ended.
        """
        if not isinstance(command, messages.Stop | messages.GoOn):
            self._number += 1
        data = memoryview(messages.encode(messages.Envelope(self._number, command)))
        try:
            while data:
                data = data[os.write(self._process.command_fd, data) :]
        except BrokenPipeError:
            raise WorkerDiedError(self._process.await_end()) from None

    def answer(
        self,
        kind: type[_Answer],
        record: RunRecord | None = None,
        limit: TimeLimit = _NO_LIMIT,
        on_rows: Callable[[RowsRead], None] = lambda _: None,
    ) -> _Answer:
        """The answer to the last command, of the class `kind`.

        MLX's memory, steps and events go to `record`, after which the worker may write the
        checkpoint that it announced. Raises as `receive`, and WorkerError if there is no answer
        within `limit`, or since rows of data were last read, which `on_rows` gets; where the
        command failed BackendError, ModelError, DataError or WorkerFailedError.
        """
        while True:
            message = self.receive(limit.left_s, record)
            match message:
                case None:
                    raise WorkerError(f"the worker gave no answer for {limit.limit_s:g} s")
                case MlxMemory():
                    if record is not None:
                        record.guard.note(message)
                case RowsRead():
                    limit.restart()
                    on_rows(message)
                case _ if isinstance(message, kind):
                    return message
                case _ if record and isinstance(message, RunEvent):
                    record.add(message)
                    if isinstance(message, Saving):
                        self.send(messages.GoOn())
                case messages.Failed():
                    raise _error_of(message)
                case _:
                    raise WorkerError(f"the worker sent a {type(message).__name__} out of turn")

    def receive(
        self, timeout_s: float = math.inf, record: RunRecord | None = None
    ) -> messages.Message | None:
        """The next message that belongs to the last command; None if none comes in `timeout_s`.

        While waiting for it, `record` checks whenever its guard is due. WorkerDiedError where the
        worker ended, WorkerError where it sent something else.
        """
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
        """Make the worker print its Python stacks, and wait until it has: a second at most."""
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
        """The worker's output since the last call, at most 64 KiB of each stream."""
        while not self._released and self._read_once(0.0):
            pass
        stdout, stderr = self._tails
        return Output(stdout.take(), stderr.take())

    def close(self) -> int:
        """Let the worker end itself, or kill it if it does not; returns its status."""
        self._process.close_commands()
        self._process.await_end()
        return self.kill()

    def kill(self) -> int:
        """End the worker and all that it started, now. Returns its status."""
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


def _error_of(failed: messages.Failed) -> Exception:
    text, traceback = map(redactor(), (failed.text, failed.traceback))
    match failed.failure:
        case "backend":
            return BackendError(
                f"MLX cannot run here ({text}): install a backend, on Linux "
                "pip install 'pytest-yourai[cpu]' or 'pytest-yourai[cuda13]'"
            )
        case "model":
            return ModelError(text)
        case "data":
            return DataError(text)
        case "recipe":
            return RecipeError(text)
        case "invalid_loss":
            return WorkerFailedError(text, traceback, loss_is_invalid=True)
        case "exception":
            return WorkerFailedError(text, traceback, loss_is_invalid=False)


_KEPT_BYTES = 1 << 16

_CUT_WORD = re.compile(r"\A\S*")


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
        # First the colours, which mlx-lm prints into pipes too: they may part a secret.
        return redactor()(without_controls(text))
