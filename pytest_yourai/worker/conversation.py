"""What the parent says to workers and hears from them, whatever carries it."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable
from typing import TypeVar

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import (
    BackendError,
    DataError,
    ModelError,
    RecipeError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.core.redaction import redactor
from pytest_yourai.machine.guard import Guard
from pytest_yourai.models.source import Inspection
from pytest_yourai.worker import messages
from pytest_yourai.worker.joining import Joined
from pytest_yourai.worker.protocol import Measurement, RowsRead, RunEvent, Saving, TrainingEnd
from pytest_yourai.worker.run_record import Output, RunRecord

_Answer = TypeVar(
    "_Answer",
    DeviceInfo,
    Inspection,
    messages.Pong,
    Joined,
    messages.Loaded,
    Measurement,
    TrainingEnd,
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


NO_LIMIT = TimeLimit(math.inf)


class Conversation(abc.ABC):
    """The conversation with one worker, or with all the ranks of a group."""

    @property
    @abc.abstractmethod
    def pid(self) -> int:
        """The process to name in the journal."""

    @abc.abstractmethod
    def watch(self, guard: Guard, device: DeviceInfo, *, holds_the_model: bool) -> None:
        """Let `guard` watch the run that begins on `device`.

        What a worker holds that does not hold the model yet is the base of all its runs.
        """

    @abc.abstractmethod
    def send(self, command: messages.Command) -> None:
        """Send a command, which the worker will answer, or Stop or GoOn to the running one.

        WorkerDiedError where the worker has ended.
        """

    @abc.abstractmethod
    def receive(
        self, timeout_s: float = math.inf, record: RunRecord | None = None
    ) -> messages.Message | None:
        """The next message that belongs to the last command; None if none comes in `timeout_s`.

        While waiting for it, `record` checks whenever its guard is due. WorkerDiedError where the
        worker ended, WorkerError where it sent something else.
        """

    @abc.abstractmethod
    def print_stacks(self) -> None:
        """Make the worker print its Python stacks, and wait until it has: a second at most."""

    @abc.abstractmethod
    def take_output(self) -> Output:
        """The worker's output since the last call, at most 64 KiB of each stream."""

    @abc.abstractmethod
    def close(self) -> int:
        """Let the worker end itself, or kill it if it does not; returns its status."""

    @abc.abstractmethod
    def kill(self) -> int:
        """End the worker and all that it started, now. Returns its status."""

    def answer(
        self,
        kind: type[_Answer],
        record: RunRecord | None = None,
        limit: TimeLimit = NO_LIMIT,
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
                    raise error_of(message)
                case _:
                    raise WorkerError(f"the worker sent a {type(message).__name__} out of turn")


def error_of(failed: messages.Failed) -> Exception:
    """The exception that says what the worker reported."""
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
