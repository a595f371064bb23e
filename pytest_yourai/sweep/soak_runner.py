"""Soaks a configuration in a fresh worker: under the guard of the trials, with its own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_yourai.core.config import LEARNING_RATE
from pytest_yourai.core.errors import StepOverdueError
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
from pytest_yourai.sweep.trial_record import OnProgress
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.diagnosis import Diagnosis
from pytest_yourai.worker.host import WorkerHost, preview
from pytest_yourai.worker.protocol import TrainingParameters, TrainingRequest
from pytest_yourai.worker.supervised_run import BrokenOff, completed, supervise

_NO_END = 1 << 53
"""More steps than there is time for."""


@dataclass(frozen=True, slots=True)
class SoakClock:
    """The time to train, and the limit for a step; seconds, 0 for as long as it takes."""

    asked_s: float
    step_timeout_s: float


@dataclass(frozen=True, slots=True)
class SoakOutcome:
    """A soak, and the output and traceback of its worker where it failed."""

    result: SoakResult
    output: Output
    traceback: str


@dataclass
class SoakTimer:
    """Asks once for the end of a soak when its time is over, and ends one that hangs."""

    record: SoakRecord
    clock: SoakClock
    stop: Callable[[], None]
    is_asked: bool = False

    def check(self) -> None:
        """StepOverdueError where no step ended for too long."""
        if self.record.is_time_over and not self.is_asked:
            self.is_asked = True
            self.stop()
        limit_s = self.clock.step_timeout_s
        if limit_s and time.monotonic() > self.record.heard_at + limit_s:
            raise StepOverdueError(f"no step ended for {limit_s:g} s")


@dataclass(frozen=True)
class SoakRunner:
    """Soaks configurations of one sweep, one after the other; each has a worker of its own."""

    plan: SweepPlan
    context: SweepContext
    journal: EventLog
    on_progress: OnProgress | None = None

    def soak(self, trial: TrialResult, clock: SoakClock) -> SoakOutcome:
        """Train with the configuration of `trial`. Whatever is raised from outside ends it."""
        guard = Guard(self._limit_bytes, read_system_memory(), forced=self.plan.force)
        footprint_counts = not self.context.device.has_own_memory
        record = SoakRecord(trial, clock.asked_s, guard, footprint_counts=footprint_counts)
        config = configuration(trial.config)
        self.journal.write("soak_start", asked_minutes=clock.asked_s / 60, **config)
        host = WorkerHost(self.plan.source, self.journal, self.plan.start_timeout_s)
        with scratch_folder("yourai-soak-") as adapter_path:
            try:
                result = record.result(self._run(host, record, clock, adapter_path))
            finally:
                host.end()
        printed = {} if result.success else preview(record.output)
        self.journal.write("soak_complete", **SoakRow.from_result(result).as_json(), **printed)
        return SoakOutcome(result, record.output, record.traceback)

    @property
    def _limit_bytes(self) -> int:
        return self.context.budget.limit_bytes

    def _run(
        self, host: WorkerHost, record: SoakRecord, clock: SoakClock, adapter_path: str
    ) -> Diagnosis:
        timer = SoakTimer(record, clock, host.stop_training)

        def on_check() -> None:
            if self.on_progress is not None:
                self.on_progress(record.progress(self._limit_bytes))
            timer.check()

        on_check()
        watch = GuardedWatch(record.guard, on_check)
        request = self._request(record, adapter_path)
        ended = supervise(
            lambda: host.train(request, record, watch),
            host,
            record,
            backend=self.context.device.backend,
            limit_bytes=self._limit_bytes,
            largest_array_bytes=largest_array_bytes(record.config, self.plan.source.architecture),
        )
        if isinstance(ended, BrokenOff):
            return ended.diagnosis
        if ended.reason == "memory_limit":
            limit = gigabytes(self._limit_bytes)
            reason = f"MLX held more than the budget of {limit} in step {ended.step}"
            return Diagnosis(Outcome.OVER_BUDGET, reason)
        return completed(record)

    def _request(self, record: SoakRecord, adapter_path: str) -> TrainingRequest:
        data = self.plan.data
        return TrainingRequest(
            config=record.config,
            parameters=TrainingParameters(
                max_steps=_NO_END,
                # Made-up rows are few, and would be learned by heart: in bfloat16 the loss of what
                # is known for sure is exactly 0, which is that of a GPU that fails, too.
                learning_rate=LEARNING_RATE if data is not None else 0.0,
                seed=self.plan.seed,
                save_every=_NO_END,
                steps_per_eval=_NO_END,
                val_batches=0,
            ),
            memory_limit_bytes=self._limit_bytes,
            data=data,
            adapter_path=adapter_path,
            resume=False,
            may_pass_the_limit=self.plan.force,
        )
