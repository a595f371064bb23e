"""Runs one command in a worker, and diagnoses why it broke off: for trials, soaks and training."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.errors import (
    CompileOverdueError,
    InputError,
    OverdueError,
    SafetyStopError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.core.outcomes import Overdue
from pytest_yourai.worker.diagnosis import Diagnosis, classify, overdue, safety_stop
from pytest_yourai.worker.host import RunEnd, WorkerHost
from pytest_yourai.worker.protocol import TrainingRequest, TrialRequest
from pytest_yourai.worker.run_record import RunRecord


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """A run that did not come to its end; its worker was ended."""

    cause: Exception
    diagnosis: Diagnosis


def supervise(
    host: WorkerHost, request: TrialRequest | TrainingRequest, end: type[RunEnd], record: RunRecord
) -> RunEnd | BrokenOff:
    """The answer to `request`, of the class `end`, or why the run broke off.

    Whatever else is raised, an interruption from outside for one, ends the worker and comes out.
    """
    cause: SafetyStopError | OverdueError | WorkerError | InputError | None = None
    try:
        try:
            answer = host.run(request, end, record)
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
            is_compiling = isinstance(cause, CompileOverdueError)
            limit = Overdue.COMPILE if is_compiling else Overdue.STEP
            diagnosis = overdue(record, f"{cause},", limit)
        case _:
            if isinstance(cause, WorkerFailedError):
                record.traceback = cause.traceback
            diagnosis = classify(record, cause, host.largest_array_bytes(request.config))
    return BrokenOff(cause, diagnosis)
