"""Runs one trial in a worker, under the guard, and says how it ended."""

from __future__ import annotations

from typing import Protocol

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import (
    InputError,
    SafetyStopError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.core.results import Outcome, TrialResult
from pytest_yourai.estimate.training_memory import largest_array_bytes
from pytest_yourai.machine.budget import NO_BUDGET, Budget, detect_budget, given_budget
from pytest_yourai.machine.guard import Guard, GuardedWatch, too_little_left
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.store.journal import EventLog
from pytest_yourai.sweep.trial_record import Tell, TrialRecord, nobody_hears
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.diagnosis import (
    SMALLER_OR_CLOSE,
    TIMEOUT_REMEDY,
    Diagnosis,
    classify,
    gather,
    over_budget,
    paging,
    safety_stop,
)
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.process import WorkerStarter
from pytest_yourai.worker.protocol import TrialRequest


class Runner(Protocol):
    """Where trials run: a worker, or a recording."""

    last_output: Output
    last_traceback: str

    def look(self) -> tuple[DeviceInfo, Inspection]: ...

    def detect_budget(self, device: DeviceInfo) -> Budget: ...

    def stay_within(self, budget: Budget) -> None: ...

    def forget(self) -> None: ...

    def danger(self, floor_bytes: int | None = None) -> str | None: ...

    def available_bytes(self) -> int | None: ...

    def begin(self, config: LoraConfig) -> TrialRecord: ...

    def run(self, record: TrialRecord) -> TrialResult: ...

    def give_up(self, record: TrialRecord, outcome: Outcome, reason: str) -> TrialResult: ...

    def end(self, *, because: str | None = None) -> None: ...


class TrialWatch(GuardedWatch):
    """The guard of a trial; whenever it looks, `tell` hears how far the trial is."""

    def __init__(self, record: TrialRecord, tell: Tell) -> None:
        super().__init__(record.guard)
        self._record = record
        self._tell = tell

    def look(self) -> None:
        """SafetyStopError where the trial must end."""
        self._guard.look()
        self._tell(self._record.progress)


class TrialRunner:
    """Runs trials in a worker; `last_output` and `last_traceback` are the last one's.

    Whatever is raised from outside ends the worker and comes out again; `give_up` then says what
    was measured so far.
    """

    def __init__(
        self,
        plan: SweepPlan,
        journal: EventLog,
        tell: Tell = nobody_hears,
        workers: WorkerStarter | None = None,
    ) -> None:
        self.forget()
        self._plan = plan
        self._tell = tell
        self._host = WorkerHost(plan.source, journal, plan.start_timeout_s, workers)
        self._budget = NO_BUDGET
        self._device: DeviceInfo | None = None

    def look(self) -> tuple[DeviceInfo, Inspection]:
        """Starts a worker that looks at the device and the model; nothing is loaded yet.

        BackendError, ModelError or DataError where it cannot work.
        """
        device, inspection = self._host.look(self._plan.data)
        self._device = device
        return device, inspection

    def detect_budget(self, device: DeviceInfo) -> Budget:
        """The user's, or what this machine has."""
        system = read_system_memory()
        if self._plan.memory_limit_bytes is None:
            return detect_budget(system, device)
        return given_budget(self._plan.memory_limit_bytes, system, device)

    def stay_within(self, budget: Budget) -> None:
        self._budget = budget

    def end(self, *, because: str | None = None) -> None:
        """End the worker, if there is one."""
        self._host.end(killed_because=because)

    def forget(self) -> None:
        """What the last trial's worker said is not the next one's."""
        self.last_output = Output("", "")
        self.last_traceback = ""

    def danger(self, floor_bytes: int | None = None) -> str | None:
        """Why no trial may start now, in words; None where one may.

        `floor_bytes` must be available, or else what the guard keeps free.
        """
        return too_little_left(read_system_memory(), floor_bytes)

    def available_bytes(self) -> int | None:
        """What a model that is loaded now may take: of the device where it has its own."""
        if self._device is not None and self._device.has_own_memory:
            return self._device.free_memory_bytes
        return read_system_memory().available_bytes

    def begin(self, config: LoraConfig) -> TrialRecord:
        """The record of a trial that is about to run."""
        limit_bytes = self._budget.limit_bytes
        return TrialRecord(
            model=self._plan.source.name,
            config=config,
            plan=self._plan.steps,
            memory_limit_bytes=limit_bytes,
            guard=Guard(limit_bytes, read_system_memory(), forced=self._plan.force),
        )

    def run(self, record: TrialRecord) -> TrialResult:
        """The result; the worker is ended afterwards where it is not as it was before."""
        try:
            result, worker_is_clean = self._run(record)
            if not result.outcome.leaves_the_worker_usable:
                self._end_worker(f"the trial ended as {result.outcome}")
            elif not worker_is_clean:
                self._host.end(killed_because="memory was not back at base after the trial")
            elif self._plan.isolation == "trial":
                self._host.end()
        except BaseException as interruption:
            # Whoever presses Ctrl-C wants the end; a timeout wants to know where it hung.
            in_a_hurry = isinstance(interruption, KeyboardInterrupt | SystemExit)
            self._end_worker(repr(interruption), with_stacks=not in_a_hurry)
            raise
        return result

    def _end_worker(self, reason: str, *, with_stacks: bool = False) -> None:
        if self._host.has_worker:
            self.last_output = self._host.end(killed_because=reason, with_stacks=with_stacks)

    def give_up(self, record: TrialRecord, outcome: Outcome, reason: str) -> TrialResult:
        """The result of a trial that `run` was interrupted in."""
        record.guard.read_system()
        if outcome is Outcome.TIMEOUT:
            paces = record.paces(with_running_step=True)
            if why := paging(paces, record.swap_growth_bytes):
                reason = f"{reason} {record.where}: {why}"
                return record.result(Diagnosis(Outcome.PAGING, reason, SMALLER_OR_CLOSE))
        return record.result(Diagnosis(outcome, f"{reason} {record.where}", TIMEOUT_REMEDY))

    def _run(self, record: TrialRecord) -> tuple[TrialResult, bool]:
        """The result, and whether the worker is as it was before the trial."""
        request = TrialRequest(
            config=record.config,
            plan=record.plan,
            memory_limit_bytes=record.memory_limit_bytes,
            data=self._plan.data,
            seed=self._plan.seed,
        )
        if not self._host.has_worker:
            self._tell(record.progress)
        try:
            measurement = self._host.run(request, record, TrialWatch(record, self._tell))
        except SafetyStopError as stop:
            return record.result(safety_stop(stop, record.where)), False
        except WorkerDiedError as death:
            return self._broken_off(record, returncode=death.returncode), False
        except (WorkerError, InputError) as problem:
            return self._broken_off(record, problem), False
        record.guard.read_system()
        return _ended(record, fits=measurement.fits), measurement.memory_is_back_at_base

    def _broken_off(
        self,
        record: TrialRecord,
        problem: Exception | None = None,
        *,
        returncode: int | None = None,
    ) -> TrialResult:
        record.guard.read_system()
        trace = record.guard.trace
        architecture = self._plan.source.architecture
        if returncode is not None:
            self._end_worker("it ended by itself")
        if isinstance(problem, WorkerFailedError):
            self.last_traceback = problem.traceback
        diagnosis = classify(
            gather(
                trace,
                where=record.where,
                problem=problem,
                returncode=returncode,
                stderr=self.last_output.stderr,
                backend=self._device.backend if self._device else "cpu",
                memory_limit_bytes=record.memory_limit_bytes,
                largest_bytes=0 if record.warmup_is_over else record.largest_mlx_bytes,
                largest_array_bytes=largest_array_bytes(record.config, architecture),
            )
        )
        return record.result(diagnosis)


def _ended(record: TrialRecord, *, fits: bool) -> TrialResult:
    """The result of a trial that ran to its end."""
    if not fits:
        return record.result(over_budget(record.minimum_bytes or 0, record.memory_limit_bytes))
    if why := paging(record.paces(with_running_step=False), record.swap_growth_bytes):
        return record.result(Diagnosis(Outcome.PAGING, why, SMALLER_OR_CLOSE))
    return record.result(Diagnosis(Outcome.OK))
