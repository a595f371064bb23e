"""Runs one command in a worker, and diagnoses why it broke off: for trials, soaks and training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pytest_yourai.core.errors import (
    InputError,
    OverdueError,
    SafetyStopError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.core.results import Outcome
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.process_memory import address_space_limit_bytes
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.diagnosis import (
    SMALLER_OR_CLOSE,
    TIMEOUT_REMEDY,
    Diagnosis,
    Evidence,
    classify,
    paging,
    safety_stop,
)
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.protocol import Measurement, TrainedStep, TrainingEnd, TrainingEvent

NO_OUTPUT = Output("", "")

_Answer = TypeVar("_Answer", Measurement, TrainingEnd)


class RunRecord:
    """State of one run in a worker.

    `where` is what it does now, in words; `heard_at` when it began to, `started_at` when it held
    the model. `output` and `traceback` are the worker's once `supervise` has ended it.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.where = "while starting the worker"
        self.heard_at = time.monotonic()
        self.started_at: float | None = None
        self.output = NO_OUTPUT
        self.traceback = ""

    def loading(self) -> None:
        self._advance("while loading the model")

    def started(self) -> None:
        """The worker holds the model."""
        self._advance("in step 1")
        self.started_at = self.heard_at

    def _advance(self, where: str) -> None:
        self.where, self.heard_at = where, time.monotonic()

    @property
    def swap_growth_bytes(self) -> int:
        return self.guard.trace.swap_growth_bytes

    @property
    def where_loss_is_computed(self) -> str:
        """The place in the run of a loss that is invalid."""
        return self.where

    @property
    def largest_mlx_bytes(self) -> int:
        """The most that MLX held, as far as it tells what is needed; else 0."""
        return 0

    def paces(self) -> list[float]:
        """Comparable step times in seconds, by which `paging` judges; empty: not judged."""
        return []

    def paging(self, *, with_running_step: bool = False) -> str | None:
        """Why it was paging; None where it was not.

        A running step counts once it has taken longer than the fastest.
        """
        paces = self.paces()
        running_s = time.monotonic() - self.heard_at
        if with_running_step and paces and running_s > min(paces):
            paces = [*paces, running_s]
        return paging(paces, self.swap_growth_bytes)


class TrainingRecord(RunRecord):
    """State of a worker that trains, after the step `first_step`."""

    def __init__(self, guard: Guard, first_step: int = 0) -> None:
        super().__init__(guard)
        self.first_step = self.step = first_step
        self.peak_memory_bytes: int | None = None

    def started(self) -> None:
        super().started()
        self._advance(f"in step {self.first_step + 1}")

    def add(self, event: TrainingEvent) -> None:
        """Take in what the worker says."""
        if not isinstance(event, TrainedStep):
            self._advance(self.where)
            return
        self.step = event.step
        self.peak_memory_bytes = max(self.peak_memory_bytes or 0, event.peak_memory_bytes)
        self._advance(f"in step {event.step + 1}")

    @property
    def where_loss_is_computed(self) -> str:
        # The step is told before its loss is looked at.
        return f"in step {self.step}"


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """A run that did not come to its end; its worker was ended."""

    cause: Exception
    diagnosis: Diagnosis


def supervise(
    command: Callable[[], _Answer],
    host: WorkerHost,
    record: RunRecord,
    *,
    backend: str,
    limit_bytes: int,
    largest_array_bytes: int = 0,
) -> _Answer | BrokenOff:
    """The answer to `command`, which runs in the worker of `host`, or why it broke off.

    Whatever else is raised, an interruption from outside for one, ends the worker and comes out.
    """
    cause: SafetyStopError | OverdueError | WorkerError | InputError | None = None
    try:
        try:
            answer = command()
        except (SafetyStopError, OverdueError, WorkerError, InputError) as problem:
            cause = problem
        record.guard.read_system()
    except BaseException as interruption:
        # Whoever presses Ctrl-C wants the end; a timeout wants to know where it hung.
        is_in_a_hurry = isinstance(interruption, KeyboardInterrupt | SystemExit)
        record.output = host.end(killed_because=repr(interruption), with_stacks=not is_in_a_hurry)
        raise
    if cause is None:
        return answer
    record.output = host.end(killed_because=str(cause), with_stacks=isinstance(cause, OverdueError))
    match cause:
        case SafetyStopError():
            diagnosis = safety_stop(cause, record.where)
        case OverdueError():
            diagnosis = overdue(record, f"{cause},")
        case _:
            if isinstance(cause, WorkerFailedError):
                record.traceback = cause.traceback
            diagnosis = classify(
                _evidence(record, cause, backend, limit_bytes, largest_array_bytes)
            )
    return BrokenOff(cause, diagnosis)


def completed(record: RunRecord) -> Diagnosis:
    """The outcome of a run that fitted, and that nothing broke off."""
    if why := record.paging():
        return Diagnosis(Outcome.PAGING, why, SMALLER_OR_CLOSE)
    return Diagnosis(Outcome.OK)


def overdue(record: RunRecord, said: str) -> Diagnosis:
    """The outcome of a run that took too long: paging where swap grew; `said` begins the reason."""
    record.guard.read_system()
    if why := record.paging(with_running_step=True):
        return Diagnosis(Outcome.PAGING, f"{said} {record.where}: {why}", SMALLER_OR_CLOSE)
    return Diagnosis(Outcome.TIMEOUT, f"{said} {record.where}", TIMEOUT_REMEDY)


def _evidence(
    record: RunRecord,
    cause: WorkerError | InputError,
    backend: str,
    limit_bytes: int,
    largest_array_bytes: int,
) -> Evidence:
    trace = record.guard.trace
    died = isinstance(cause, WorkerDiedError)
    loss_is_invalid = isinstance(cause, WorkerFailedError) and cause.loss_is_invalid
    return Evidence(
        where=record.where_loss_is_computed if loss_is_invalid else record.where,
        exception=None if died else str(cause),
        loss_is_invalid=loss_is_invalid,
        returncode=cause.returncode if isinstance(cause, WorkerDiedError) else None,
        stderr=record.output.stderr,
        backend=backend,
        largest_bytes=record.largest_mlx_bytes,
        largest_array_bytes=largest_array_bytes,
        memory_limit_bytes=limit_bytes,
        least_available_bytes=trace.least_available_bytes,
        was_under_the_floor=trace.was_under_the_floor,
        oom_kills=trace.oom_kills,
        address_space_bytes=trace.largest_address_space_bytes,
        address_space_limit_bytes=address_space_limit_bytes(),
    )
