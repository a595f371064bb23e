"""Keeps one worker with one model in it, replaces it when asked, and journals its life."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import BackendError, WorkerDiedError, WorkerError, WorkerLostError
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.estimate.buffers import largest_array_bytes
from pytest_yourai.models.source import READ_BY_DEFAULT, Inspection, ModelSource, RowReading, Wanted
from pytest_yourai.store.journal import EventLog
from pytest_yourai.worker import messages
from pytest_yourai.worker.client import WorkerClient
from pytest_yourai.worker.conversation import Conversation, TimeLimit
from pytest_yourai.worker.process import WorkerStarter
from pytest_yourai.worker.protocol import (
    Measurement,
    TrainingEnd,
    TrainingRequest,
    TrialRequest,
)
from pytest_yourai.worker.ranks.start import StartedGroup, start_group
from pytest_yourai.worker.run_record import Output, RunRecord

_PREVIEW_CHARACTERS = 2000

_PONG_TIMEOUT_S = 5.0

TRIAL_SILENCE_S = 2
"""Seconds without a sign of a rank that end a trial: what it measures is wrong by then anyway."""

_REMEDIES = {
    BackendError: "check that python -c 'import mlx_lm' works here",
    WorkerLostError: "run it again, and report it if it comes back",
}


RunEnd = TypeVar("RunEnd", Measurement, TrainingEnd)


class WorkerHost:
    """A worker for `source`, or a group of ranks, started when it is needed.

    `start_timeout_s` limits the start of a worker, and start and inspection together. With
    `workers` the first may have been started already. A rank of `hosts` may be silent for
    `silent_s` seconds.
    """

    def __init__(
        self,
        source: ModelSource,
        journal: EventLog,
        start_timeout_s: float,
        workers: WorkerStarter | None = None,
        hosts: HostGroup | None = None,
        silent_s: int = TRIAL_SILENCE_S,
    ) -> None:
        self._hosts, self._silent_s = hosts, silent_s
        self.group: StartedGroup | None = None
        """The last group that was started; None for one worker."""
        self._source = source
        self._journal = journal
        self._start_timeout_s = start_timeout_s
        self._workers = workers or WorkerStarter()
        self._client: Conversation | None = None
        self._device: DeviceInfo | None = None
        self._is_loaded = False

    @property
    def has_worker(self) -> bool:
        return self._client is not None

    def inspect(
        self,
        data: str | None,
        reading: RowReading = READ_BY_DEFAULT,
        print_line: Callable[[str], None] = lambda _: None,
        wanted: Wanted | None = None,
    ) -> tuple[DeviceInfo, Inspection]:
        """Start a worker, and let it inspect its device, the model and the data.

        `print_line` gets a line now and then while there are many rows to read.

        For a group one worker of this machine inspects, before the ranks are started: MLX traces no
        step of a process that is to join one.

        BackendError where MLX or the worker cannot run, ConnectError where the ranks do not come
        together, DataError and RecipeError where no model
        could use the data or the recipe, ModelError where the model cannot be used or not trained
        as `wanted`, WorkerLostError where the worker ends or hangs over them.
        """
        if self._hosts is not None:
            alone = WorkerHost(self._source, self._journal, self._start_timeout_s, self._workers)
            try:
                _, inspection = alone.inspect(data, reading, print_line, wanted)
            finally:
                alone.end()
            _, device = self._ready()
            return device, inspection
        kind: type[BackendError | WorkerLostError] = BackendError
        limit = TimeLimit(self._start_timeout_s)
        try:
            client, device = self._start(limit)
            kind = WorkerLostError
            client.send(messages.Inspect(self._source, data, reading, wanted))
            inspection = client.answer(
                Inspection,
                limit=limit,
                on_rows=lambda read: print_line(
                    f"Reading training data: {read.rows:,} of {read.total:,} rows"
                ),
            )
        except WorkerError as problem:
            output = self.end(killed_because=str(problem))
            why = str(problem)
            if isinstance(problem, WorkerDiedError):
                last = output.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
                why += f", and its last line is: {last[0]}"
            remedy = _REMEDIES[kind]
            if not limit.left_s:
                remedy = "use a smaller data set, or raise --yourai-timeout in a sweep"
            raise kind(f"the worker process cannot run: {why}; {remedy}") from None
        return device, inspection

    def run(
        self, request: TrialRequest | TrainingRequest, end: type[RunEnd], record: RunRecord
    ) -> RunEnd:
        """Run a trial, or train, in a worker that holds the model; `end` is the answer's class.

        WorkerFailedError where the engine raised, WorkerDiedError where the worker ended,
        WorkerError where it cannot be started or broke the protocol; and whatever the check of
        `record` raises.
        """
        client = self._loaded(record)
        client.send(request)
        return client.answer(end, record)

    def stop_training(self) -> None:
        """Make training end after the step that runs, with everything saved."""
        if self._client is not None:
            self._client.send(messages.Stop())

    def largest_array_bytes(self, config: LoraConfig) -> int:
        """The largest allocation of a step on the CPU backend, by arithmetic; 0 on others."""
        if self._device is None or self._device.backend != "cpu":
            return 0
        return largest_array_bytes(config, self._source.architecture)

    def _loaded(self, record: RunRecord) -> Conversation:
        """A worker that holds the model, and is watched."""
        client, device = self._ready()
        client.take_output()
        client.watch(record.guard, device, holds_the_model=self._is_loaded)
        if not self._is_loaded:
            record.loading()
            client.send(messages.Load(self._source))
            base = client.answer(messages.Loaded, record).base_memory_bytes
            self._journal.write("model_loaded", pid=client.pid, base_memory_bytes=base)
            self._is_loaded = True
        record.started()
        return client

    def end(self, *, killed_because: str | None = None, with_stacks: bool = False) -> Output:
        """End the worker, if there is one; returns its output since the last trial began.

        With `with_stacks` it prints its Python stacks first.
        """
        if self._client is None:
            return Output()
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

    def _ready(self) -> tuple[Conversation, DeviceInfo]:
        """The present worker if it answers, else a new one.

        What happened to it between two trials does not count against the next one.
        """
        if self._client is not None and self._device is not None:
            try:
                self._client.send(messages.Ping())
                self._client.answer(messages.Pong, limit=TimeLimit(_PONG_TIMEOUT_S))
            except WorkerError as problem:
                self.end(killed_because=f"before the trial began: {problem}")
            else:
                return self._client, self._device
        return self._start(TimeLimit(self._start_timeout_s))

    def _start(self, limit: TimeLimit) -> tuple[Conversation, DeviceInfo]:
        self._journal.write("subprocess_start")
        if self._hosts is not None:
            return self._start_group(self._hosts)
        client = self._client = WorkerClient(self._workers.take())
        self._journal.write("subprocess_spawned", pid=client.pid)
        device = self._device = client.answer(DeviceInfo, limit=limit)
        return client, device

    def _start_group(self, hosts: HostGroup) -> tuple[Conversation, DeviceInfo]:
        group = self.group = start_group(hosts, self._source, self._silent_s)
        self._client, self._device = group.conversation, group.device
        self._journal.write(
            "subprocess_spawned",
            pid=group.conversation.pid,
            ranks=[{"host": each.host, "pid": each.pid} for each in group.conversation.hellos],
        )
        return group.conversation, group.device


def preview(output: Output) -> dict[str, str]:
    """The end of a worker's output as journal fields, without empty streams."""
    streams = {"stdout_preview": output.stdout, "stderr_preview": output.stderr}
    return {name: text[-_PREVIEW_CHARACTERS:] for name, text in streams.items() if text}
