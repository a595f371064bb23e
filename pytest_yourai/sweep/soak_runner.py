"""Soaks a configuration in a fresh worker: under the guard of the trials, with its own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_yourai.core.config import LEARNING_RATE
from pytest_yourai.core.errors import (
    InputError,
    SafetyStopError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
    YouraiError,
)
from pytest_yourai.core.files import scratch_folder
from pytest_yourai.core.results import Outcome, SoakResult, TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.estimate.training_memory import largest_array_bytes
from pytest_yourai.machine.guard import Guard, GuardedWatch
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.store.journal import EventLog
from pytest_yourai.store.rows import SoakRow, configuration
from pytest_yourai.sweep.soak_record import SoakRecord
from pytest_yourai.sweep.trial_record import Tell, nobody_hears
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.diagnosis import (
    SMALLER_OR_CLOSE,
    TIMEOUT_REMEDY,
    Diagnosis,
    classify,
    gather,
    paging,
    safety_stop,
)
from pytest_yourai.worker.host import WorkerHost, preview
from pytest_yourai.worker.protocol import TrainingEnd, TrainingParameters, TrainingRequest

_NO_END = 1 << 53
"""More steps than there is time for."""


@dataclass(frozen=True, slots=True)
class SoakClock:
    """How long to train, and how long to wait for a step; seconds, 0 for as long as it takes."""

    asked_s: float
    step_timeout_s: float


@dataclass(frozen=True, slots=True)
class SoakOutcome:
    """A soak, and what its worker said where it failed."""

    result: SoakResult
    output: Output
    traceback: str


class StepOverdueError(YouraiError):
    """No step of training ended for too long."""


class SoakWatch(GuardedWatch):
    """The guard of a trial, and the clock: asks for the end when the time is over."""

    def __init__(
        self,
        record: SoakRecord,
        clock: SoakClock,
        stop: Callable[[], None],
        tell: Callable[[], None],
    ) -> None:
        super().__init__(record.guard)
        self._record = record
        self._clock = clock
        self._stop = stop
        self._tell = tell
        self._is_asked = False

    def look(self) -> None:
        """SafetyStopError and StepOverdueError where the soak must end."""
        self._guard.look()
        self._tell()
        if self._record.is_time_over and not self._is_asked:
            self._is_asked = True
            self._stop()
        limit_s = self._clock.step_timeout_s
        if limit_s and time.monotonic() > self._record.heard_at + limit_s:
            raise StepOverdueError(f"no step ended for {limit_s:g} s")


class SoakRunner:
    """Soaks configurations of one sweep, one after the other; each has a worker of its own."""

    def __init__(
        self,
        plan: SweepPlan,
        where: SweepContext,
        journal: EventLog,
        tell: Tell = nobody_hears,
    ) -> None:
        self._plan = plan
        self._where = where
        self._journal = journal
        self._tell = tell

    def soak(self, trial: TrialResult, clock: SoakClock) -> SoakOutcome:
        """Train with the configuration of `trial`. What is raised from outside ends the worker."""
        record = SoakRecord(
            trial,
            clock.asked_s,
            Guard(self._limit_bytes, read_system_memory(), forced=self._plan.force),
            footprint_counts=not self._where.device.has_own_memory,
        )
        self._journal.write(
            "soak_start", asked_minutes=clock.asked_s / 60, **configuration(trial.config)
        )
        host = WorkerHost(self._plan.source, self._journal, self._plan.start_timeout_s)
        with scratch_folder("yourai-soak-") as adapter_path:
            try:
                soaked = self._soaked(host, record, clock, adapter_path)
                host.end()
            except BaseException as interruption:
                host.end(killed_because=repr(interruption))
                raise
        printed = {} if soaked.result.success else preview(soaked.output)
        self._journal.write(
            "soak_complete", **SoakRow.from_result(soaked.result).as_json(), **printed
        )
        return soaked

    @property
    def _limit_bytes(self) -> int:
        return self._where.budget.limit_bytes

    def _soaked(
        self, host: WorkerHost, record: SoakRecord, clock: SoakClock, adapter_path: str
    ) -> SoakOutcome:
        def tell() -> None:
            self._tell(record.progress(self._limit_bytes))

        watch = SoakWatch(record, clock, host.stop_training, tell)
        output, traceback = Output("", ""), ""
        tell()
        try:
            end = host.train(self._request(record, adapter_path), record, watch)
        except SafetyStopError as stop:
            diagnosis = safety_stop(stop, record.where)
            host.end(killed_because=str(stop))
        except StepOverdueError as hang:
            record.guard.read_system()
            diagnosis = _overdue(record, hang)
            output = host.end(killed_because=str(hang), with_stacks=True)
        except (WorkerError, InputError) as problem:
            output = host.end(killed_because=str(problem))
            diagnosis = self._broken_off(record, problem, output)
            if isinstance(problem, WorkerFailedError):
                traceback = problem.traceback
        else:
            record.guard.read_system()
            diagnosis = self._ended(record, end)
        return SoakOutcome(record.result(diagnosis), output, traceback)

    def _ended(self, record: SoakRecord, end: TrainingEnd) -> Diagnosis:
        """How a soak ended that nothing broke off."""
        if end.reason == "memory_limit":
            limit = gigabytes(self._limit_bytes)
            reason = f"MLX held more than the budget of {limit} in step {end.step}"
            return Diagnosis(Outcome.OVER_BUDGET, reason)
        if why := paging(record.paces(with_running_step=False), record.swap_growth_bytes):
            return Diagnosis(Outcome.PAGING, why, SMALLER_OR_CLOSE)
        return Diagnosis(Outcome.OK)

    def _request(self, record: SoakRecord, adapter_path: str) -> TrainingRequest:
        data = self._plan.data
        return TrainingRequest(
            config=record.config,
            parameters=TrainingParameters(
                max_steps=_NO_END,
                # Made-up rows are few, and would be learned by heart: in bfloat16 the loss of what
                # is known for sure is exactly 0, which is that of a GPU that fails, too.
                learning_rate=LEARNING_RATE if data is not None else 0.0,
                seed=self._plan.seed,
                save_every=_NO_END,
                steps_per_eval=_NO_END,
                val_batches=0,
            ),
            memory_limit_bytes=self._limit_bytes,
            data=data,
            adapter_path=adapter_path,
            resume=False,
            reload_active_bytes=None,
            usual_active_bytes=None,
            reload_footprint_bytes=None,
            may_pass_the_limit=self._plan.force,
        )

    def _broken_off(self, record: SoakRecord, problem: Exception, output: Output) -> Diagnosis:
        record.guard.read_system()
        died = problem if isinstance(problem, WorkerDiedError) else None
        return classify(
            gather(
                record.guard.trace,
                where=record.where,
                problem=None if died else problem,
                returncode=died.returncode if died else None,
                stderr=output.stderr,
                backend=self._where.device.backend,
                memory_limit_bytes=self._limit_bytes,
                largest_array_bytes=largest_array_bytes(
                    record.config, self._plan.source.architecture
                ),
            )
        )


def _overdue(record: SoakRecord, hang: StepOverdueError) -> Diagnosis:
    """A step without an end is paging where swap grew, as in a trial."""
    paces = record.paces(with_running_step=True)
    if why := paging(paces, record.swap_growth_bytes):
        return Diagnosis(Outcome.PAGING, f"{hang}, {record.where}: {why}", SMALLER_OR_CLOSE)
    return Diagnosis(Outcome.TIMEOUT, f"{hang}, {record.where}", TIMEOUT_REMEDY)
