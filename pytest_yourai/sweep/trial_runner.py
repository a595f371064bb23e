"""Runs one trial in a worker, under the guard, and says how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pytest_yourai.core.results import Outcome, TrialResult
from pytest_yourai.estimate.training_memory import largest_array_bytes
from pytest_yourai.machine.guard import GuardedWatch
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.sweep.trial_record import OnProgress, TrialRecord
from pytest_yourai.worker.diagnosis import over_budget
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.protocol import TrialRequest
from pytest_yourai.worker.supervised_run import BrokenOff, completed, supervise


class Runner(Protocol):
    """Runs a trial in a worker, or takes it from a recording."""

    def run(self, record: TrialRecord) -> TrialResult:
        """Run the trial of a new `record`."""
        ...


@dataclass(frozen=True)
class TrialRunner:
    """Runs trials in the worker of `host`, whose device has the `backend`."""

    plan: SweepPlan
    host: WorkerHost
    backend: str
    on_progress: OnProgress | None = None

    def run(self, record: TrialRecord) -> TrialResult:
        """Run a trial; ends the worker afterwards where it is not as it was before.

        Whatever is raised from outside ends the worker and comes out again.
        """

        def report_progress() -> None:
            if self.on_progress is not None:
                self.on_progress(record.progress)

        if not self.host.has_worker:
            report_progress()
        request = TrialRequest(
            config=record.config,
            plan=record.plan,
            memory_limit_bytes=record.memory_limit_bytes,
            data=self.plan.data,
            seed=self.plan.seed,
        )
        watch = GuardedWatch(record.guard, report_progress)
        ended = supervise(
            lambda: self.host.run(request, record, watch),
            self.host,
            record,
            backend=self.backend,
            limit_bytes=record.memory_limit_bytes,
            largest_array_bytes=largest_array_bytes(record.config, self.plan.source.architecture),
        )
        if isinstance(ended, BrokenOff):
            return record.result(ended.diagnosis)
        diagnosis = completed(record)
        if not ended.fits:
            diagnosis = over_budget(record.minimum_bytes or 0, record.memory_limit_bytes)
        self._keep_or_end_worker(record, diagnosis.outcome, is_clean=ended.memory_is_back_at_base)
        return record.result(diagnosis)

    def _keep_or_end_worker(self, record: TrialRecord, outcome: Outcome, *, is_clean: bool) -> None:
        if not outcome.leaves_the_worker_usable:
            record.output = self.host.end(killed_because=f"the trial ended as {outcome}")
        elif not is_clean:
            self.host.end(killed_because="memory was not back at base after the trial")
        elif self.plan.isolation == "trial":
            self.host.end()
