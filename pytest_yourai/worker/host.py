"""Keeps one worker with one model in it, replaces it when asked, and journals its life."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import (
    BackendError,
    DataError,
    ModelError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
    WorkerLostError,
)
from pytest_yourai.machine.process_memory import read_process_memory
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.store.journal import EventLog
from pytest_yourai.worker import messages
from pytest_yourai.worker.client import MEMORY_INTERVAL_S, Output, Watch, WorkerClient
from pytest_yourai.worker.protocol import (
    Measurement,
    Saving,
    StepSample,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    TrialRequest,
)

_Answer = TypeVar(
    "_Answer",
    messages.Hello,
    messages.Pong,
    messages.Inspected,
    messages.Loaded,
    messages.Measured,
    messages.TrainingEnded,
)

_PREVIEW_CHARACTERS = 2000

_PONG_TIMEOUT_S = 5.0


class Loading(Protocol):
    """Hears when the model is loaded, and when that is done."""

    def loading(self) -> None: ...

    def started(self) -> None: ...


class Observer(Loading, Protocol):
    """Hears how far a trial is."""

    def add(self, sample: StepSample) -> None: ...


class TrainingObserver(Loading, Protocol):
    """Hears how far training is."""

    def add(self, event: TrainingEvent) -> None: ...


class WorkerWatch(Watch, Protocol):
    """Looks at the machine and at the worker while a trial runs."""

    def attach(self, pid: int, base_bytes: int, *, has_own_memory: bool) -> None:
        """Watch the worker `pid`; `base_bytes` is its footprint before it loaded the model.

        With `has_own_memory` it is that of its CUDA device.
        """
        ...

    def note(self, memory: MlxMemory) -> None:
        """The worker says what MLX holds."""
        ...


class WorkerHost:
    """A worker for `source`, started when it is needed."""

    def __init__(
        self,
        source: ModelSource,
        journal: EventLog,
        start_timeout_s: float,
        memory_interval_s: float = MEMORY_INTERVAL_S,
    ) -> None:
        self._source = source
        self._journal = journal
        self._start_timeout_s = start_timeout_s
        self._memory_interval_s = memory_interval_s
        self._client: WorkerClient | None = None
        self._device: DeviceInfo | None = None
        self._base_bytes = 0
        self._is_loaded = False

    @property
    def has_worker(self) -> bool:
        return self._client is not None

    @property
    def pid(self) -> int | None:
        return self._client.pid if self._client else None

    def look(self, data: str | None) -> tuple[DeviceInfo, Inspection]:
        """Start a worker that says where it runs and what the model is like.

        BackendError where MLX or the worker cannot run, DataError where the data is unfit for
        whatever model, ModelError where the model is, or the worker ends over them.
        """
        kind: type[BackendError | WorkerLostError] = BackendError
        try:
            client, device = self._start()
            kind = WorkerLostError
            client.send(messages.Inspect(self._source, data))
            answer = _receive(client, messages.Inspected, timeout_s=self._start_timeout_s)
        except WorkerDiedError as death:
            last = _last_line(self.end(killed_because=str(death)).stderr)
            raise kind(f"the worker process cannot run ({death}): {last}") from None
        except WorkerError as problem:
            self.end(killed_because=str(problem))
            raise kind(f"the worker process cannot run: {problem}") from None
        return device, answer.inspection

    def run(self, request: TrialRequest, observer: Observer, watch: WorkerWatch) -> Measurement:
        """Run a trial in a worker that holds the model.

        WorkerFailedError where the engine raised, WorkerDiedError where the worker ended,
        WorkerError where it broke the protocol; and whatever `watch` raises.
        """
        client = self._loaded(observer, watch)
        client.send(messages.RunTrial(request))

        def hear(message: messages.Message) -> bool:
            if isinstance(message, messages.Step):
                observer.add(message.sample)
                return True
            return False

        return _receive(client, messages.Measured, watch, hear).measurement

    def train(
        self, request: TrainingRequest, observer: TrainingObserver, watch: WorkerWatch
    ) -> TrainingEnd:
        """Train in a worker that holds the model; raises as `run` does."""
        client = self._loaded(observer, watch)
        client.send(messages.Train(request))

        def hear(message: messages.Message) -> bool:
            event = messages.training_event(message)
            if event is None:
                return False
            observer.add(event)
            if isinstance(event, Saving):
                client.go_on()
            return True

        return _receive(client, messages.TrainingEnded, watch, hear).end

    def stop_training(self) -> None:
        """Make `train` end after the step that runs, with everything saved."""
        if self._client is not None:
            self._client.stop_training()

    def _loaded(self, observer: Loading, watch: WorkerWatch) -> WorkerClient:
        """A worker that holds the model, and is watched."""
        client, device = self._ready()
        client.take_output()
        if not self._is_loaded:
            self._base_bytes = _footprint_bytes(client.pid, device)
        watch.attach(client.pid, self._base_bytes, has_own_memory=device.has_own_memory)
        if not self._is_loaded:
            observer.loading()
            client.send(messages.Load(self._source))
            base = _receive(client, messages.Loaded, watch).base_memory_bytes
            self._journal.write("model_loaded", pid=client.pid, base_memory_bytes=base)
            self._is_loaded = True
        observer.started()
        return client

    def end(self, *, killed_because: str | None = None, with_stacks: bool = False) -> Output:
        """End the worker, if there is one; what it printed since it was last asked.

        `with_stacks` makes it print where it is, first.
        """
        if self._client is None:
            return Output("", "")
        client = self._client
        try:
            if with_stacks:
                client.print_stacks()
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

    def _ready(self) -> tuple[WorkerClient, DeviceInfo]:
        """The worker that is there and answers, or a new one.

        What happened to it between two trials is not the next one's fault.
        """
        if self._client is None or self._device is None:
            return self._start()
        try:
            self._client.send(messages.Ping())
            _receive(self._client, messages.Pong, timeout_s=_PONG_TIMEOUT_S)
        except WorkerError as problem:
            self.end(killed_because=f"before the trial began: {problem}")
            return self._start()
        return self._client, self._device

    def _start(self) -> tuple[WorkerClient, DeviceInfo]:
        self._journal.write("subprocess_start")
        self._client = WorkerClient(self._memory_interval_s)
        self._journal.write("subprocess_spawned", pid=self._client.pid)
        hello = _receive(self._client, messages.Hello, timeout_s=self._start_timeout_s)
        self._device = hello.device
        return self._client, hello.device


def preview(output: Output) -> dict[str, str]:
    """The end of a worker's output, as journal fields; empty streams are left out."""
    streams = {"stdout_preview": output.stdout, "stderr_preview": output.stderr}
    return {name: text[-_PREVIEW_CHARACTERS:] for name, text in streams.items() if text}


def _footprint_bytes(pid: int, device: DeviceInfo) -> int:
    if device.has_own_memory and device.memory_bytes and device.free_memory_bytes:
        return device.memory_bytes - device.free_memory_bytes
    process = read_process_memory(pid)
    return process.footprint_bytes if process else 0


def _receive(
    client: WorkerClient,
    kind: type[_Answer],
    watch: WorkerWatch | None = None,
    hear: Callable[[messages.Message], bool] | None = None,
    timeout_s: float = math.inf,
) -> _Answer:
    """The answer; what is sent before it goes to `watch`, and to `hear`, which may take it."""
    while True:
        message = client.receive(timeout_s, watch)
        match message:
            case messages.Memory(memory):
                if watch is not None:
                    watch.note(memory)
            case _ if isinstance(message, kind):
                return message
            case _ if hear is not None and hear(message):
                pass
            case _:
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
        case "data":
            return DataError(message.text)
        case "invalid_loss" | "exception":
            return WorkerFailedError(
                message.text, message.traceback, loss_is_invalid=message.failure == "invalid_loss"
            )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
