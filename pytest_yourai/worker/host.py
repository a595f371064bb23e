"""Keeps one worker with one model in it, replaces it when asked, and journals its life."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytest_yourai.engine.protocol import (
    DeviceInfo,
    Inspection,
    Measurement,
    ModelSource,
    StepSample,
    TrialRequest,
)
from pytest_yourai.errors import (
    BackendError,
    ModelError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.store.journal import EventLog
from pytest_yourai.worker import messages
from pytest_yourai.worker.client import Output, WorkerClient

_Answer = TypeVar("_Answer", messages.Hello, messages.Inspected, messages.Loaded)

_PREVIEW_CHARACTERS = 2000


class WorkerHost:
    """A worker for `source`, started when it is needed."""

    def __init__(self, source: ModelSource, journal: EventLog, start_timeout_s: float) -> None:
        self._source = source
        self._journal = journal
        self._start_timeout_s = start_timeout_s
        self._client: WorkerClient | None = None
        self._is_loaded = False

    @property
    def pid(self) -> int | None:
        return self._client.pid if self._client else None

    def look(self, data: str | None) -> tuple[DeviceInfo, Inspection]:
        """Start a worker that says where it runs and what the model is like.

        BackendError where MLX or the worker cannot run, ModelError where the model or the data is
        unfit.
        """
        try:
            client, device = self._start()
            client.send(messages.Inspect(self._source, data))
            answer = _receive(client, messages.Inspected, self._start_timeout_s)
        except WorkerDiedError as death:
            output = self.end(killed_because=str(death))
            raise BackendError(
                f"the worker process cannot run ({death}): {_last_line(output.stderr)}"
            ) from None
        except WorkerError as problem:
            self.end(killed_because=str(problem))
            raise BackendError(f"the worker process cannot run: {problem}") from None
        return device, answer.inspection

    def run(
        self,
        request: TrialRequest,
        *,
        on_load: Callable[[], None],
        on_start: Callable[[], None],
        on_step: Callable[[StepSample], None],
    ) -> Measurement:
        """Run a trial in a worker that holds the model.

        WorkerFailedError where the engine raised, WorkerDiedError where the worker ended,
        WorkerError where it broke the protocol.
        """
        client = self._client or self._start()[0]
        if not self._is_loaded:
            on_load()
            client.send(messages.Load(self._source))
            base = _receive(client, messages.Loaded, None).base_memory_bytes
            self._journal.write("model_loaded", pid=client.pid, base_memory_bytes=base)
            self._is_loaded = True
        client.take_output()
        on_start()
        client.send(messages.RunTrial(request))
        while isinstance(message := client.receive(), messages.Step):
            on_step(message.sample)
        if isinstance(message, messages.Measured):
            return message.measurement
        raise _unexpected(message)

    def end(self, *, killed_because: str | None = None) -> Output:
        """End the worker, if there is one; what it printed since it was last asked."""
        if self._client is None:
            return Output("", "")
        client = self._client
        try:
            output = client.take_output()
            status = client.close() if killed_because is None else client.kill()
        finally:
            # Interrupted or not: no worker is left, and none is used again.
            client.kill()
            self._client, self._is_loaded = None, False
        event, why = "subprocess_completed", {}
        if killed_because is not None:
            event, why = "subprocess_failed", {"reason": killed_because}
        self._journal.write(event, pid=client.pid, returncode=status, **why, **preview(output))
        return output

    def _start(self) -> tuple[WorkerClient, DeviceInfo]:
        self._journal.write("subprocess_start", model=self._source.name)
        self._client = WorkerClient()
        self._journal.write("subprocess_spawned", pid=self._client.pid)
        hello = _receive(self._client, messages.Hello, self._start_timeout_s)
        return self._client, hello.device


def preview(output: Output) -> dict[str, str]:
    """The end of a worker's output, as journal fields; empty streams are left out."""
    streams = {"stdout_preview": output.stdout, "stderr_preview": output.stderr}
    return {name: text[-_PREVIEW_CHARACTERS:] for name, text in streams.items() if text}


def _receive(client: WorkerClient, kind: type[_Answer], timeout_s: float | None) -> _Answer:
    message = client.receive(timeout_s)
    if isinstance(message, kind):
        return message
    raise _unexpected(message)


def _unexpected(message: messages.Message) -> Exception:
    if not isinstance(message, messages.Failed):
        return WorkerError(f"the worker sent {message.kind} where it should not have")
    match message.failure:
        case "backend":
            return BackendError(
                f"MLX cannot run here ({message.text}): install a backend, on Linux "
                "pip install 'pytest-yourai[cpu]' or 'pytest-yourai[cuda13]'"
            )
        case "model":
            return ModelError(message.text)
        case "invalid_loss" | "exception":
            return WorkerFailedError(
                message.text, message.traceback, loss_is_invalid=message.failure == "invalid_loss"
            )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
