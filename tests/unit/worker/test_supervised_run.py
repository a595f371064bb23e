"""How a run in a worker breaks off, without a worker."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.errors import (
    CompileOverdueError,
    DataError,
    OverdueError,
    SafetyStopError,
    StepOverdueError,
    WorkerDiedError,
    WorkerFailedError,
)
from pytest_yourai.core.outcomes import Outcome, Overdue
from pytest_yourai.machine.guard import Guard
from pytest_yourai.worker.protocol import Measurement, TrialRequest
from pytest_yourai.worker.run_record import Output, RunRecord, TrainingRecord
from pytest_yourai.worker.supervised_run import BrokenOff, supervise

from support.training import GB, a_step

MEASUREMENT = Measurement(fits=True, memory_is_back_at_base=True)

REQUEST = TrialRequest(LoraConfig(1, 8, 4, 64), StepPlan(), 20 * GB, None)


class Host:
    """A host without a worker whose runs raise `problem`, and that keeps how it was ended."""

    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem
        self.ended: list[dict[str, Any]] = []

    def run(self, *_: object) -> Measurement:
        if self.problem is not None:
            raise self.problem
        return MEASUREMENT

    def largest_array_bytes(self, _: LoraConfig) -> int:
        return 0

    def end(self, **how: Any) -> Output:
        self.ended.append(how)
        return Output("printed", "")


def a_guard() -> Guard:
    return Guard(20 * GB, forced=False)


def supervised(
    problem: BaseException | None, record: RunRecord | None = None
) -> tuple[Measurement | BrokenOff, Host, RunRecord]:
    host, record = Host(problem), record or RunRecord(a_guard())
    made: Any = host
    return supervise(made, REQUEST, Measurement, record), host, record


def test_an_answer_comes_back_and_the_worker_stays() -> None:
    ended, host, _ = supervised(None)
    assert ended == MEASUREMENT
    assert host.ended == []


@pytest.mark.parametrize(
    ("problem", "outcome", "conclusive"),
    [
        (SafetyStopError("too much", is_its_own_fault=True), Outcome.SAFETY_STOP, True),
        (SafetyStopError("too little", is_its_own_fault=False), Outcome.SAFETY_STOP, False),
        (StepOverdueError("no step ended for 5 s"), Outcome.TIMEOUT, True),
        (CompileOverdueError("compiling had no end after 5 s"), Outcome.TIMEOUT, True),
        (WorkerDiedError(-signal.SIGTERM), Outcome.CRASHED, True),
        (WorkerFailedError("odd", "a traceback", loss_is_invalid=False), Outcome.ERROR, True),
        (WorkerFailedError("nan", "", loss_is_invalid=True), Outcome.INVALID_LOSS, True),
        (DataError("a bad row"), Outcome.ERROR, True),
    ],
)
def test_whatever_breaks_it_off_ends_the_worker_and_is_diagnosed(
    problem: Exception, outcome: Outcome, conclusive: bool
) -> None:
    ended, host, record = supervised(problem)
    assert isinstance(ended, BrokenOff)
    assert ended.cause is problem
    assert (ended.diagnosis.outcome, ended.diagnosis.conclusive) == (outcome, conclusive)
    assert "while starting the worker" in (ended.diagnosis.reason or "")
    is_overdue = isinstance(problem, OverdueError)
    assert host.ended == [{"killed_because": str(problem), "with_stacks": is_overdue}]
    assert record.output.stdout == "printed"
    assert record.traceback == getattr(problem, "traceback", "")


def test_the_limit_that_it_was_over_is_kept() -> None:
    for problem, limit in (
        (StepOverdueError("no step ended for 5 s"), Overdue.STEP),
        (CompileOverdueError("compiling had no end after 5 s"), Overdue.COMPILE),
    ):
        ended, _, _ = supervised(problem)
        assert isinstance(ended, BrokenOff)
        assert ended.diagnosis.overdue is limit


@pytest.mark.parametrize(
    ("problem", "with_stacks"),
    [(KeyboardInterrupt(), False), (ZeroDivisionError("a mistake"), True)],
)
def test_anything_else_ends_the_worker_and_comes_out(
    problem: BaseException, with_stacks: bool
) -> None:
    record = RunRecord(a_guard())
    with pytest.raises(type(problem)):
        supervised(problem, record)
    assert record.output.stdout == "printed"


class Slowing(RunRecord):
    """A record of two steps of a second."""

    def paces(self) -> list[float]:
        return [1.0, 1.0]


def test_a_hang_while_swap_grew_is_paging() -> None:
    record = Slowing(a_guard())
    record.heard_at -= 9
    record.guard.trace.largest_swap_used_bytes += GB
    ended, _, _ = supervised(StepOverdueError("no step ended for 5 s"), record)
    assert isinstance(ended, BrokenOff)
    assert ended.diagnosis.outcome is Outcome.PAGING
    assert ended.diagnosis.remedy is not None


def test_an_invalid_loss_of_training_is_of_the_last_step_reported() -> None:
    record = TrainingRecord(a_guard(), first_step=7)
    record.started()
    assert record.where == "in step 8"
    record.add(a_step(8))
    assert record.where == "in step 9"
    ended, _, _ = supervised(WorkerFailedError("nan", "", loss_is_invalid=True), record)
    assert isinstance(ended, BrokenOff)
    assert (ended.diagnosis.reason or "").startswith("nan in step 8")
