"""One sweep: runs trials in a worker, journals what happens, and keeps the results.

Knows nothing of pytest: whoever interrupts `measure` (a timeout, Ctrl-C) does so by raising out
of it; the worker is ended, and `give_up` turns what was measured so far into a result.
"""

from __future__ import annotations

import dataclasses
import os
import uuid
from dataclasses import dataclass
from typing import Any, Literal

from pytest_yourai.classify import Evidence, classify
from pytest_yourai.config import LoraConfig, StepPlan
from pytest_yourai.engine.protocol import DeviceInfo, Inspection, ModelSource, TrialRequest
from pytest_yourai.errors import (
    InputError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.memory import (
    Budget,
    address_space_limit_bytes,
    detect_budget,
    process_footprint_bytes,
    read_system_memory,
)
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.search import dominating_failure
from pytest_yourai.store.journal import EventLog
from pytest_yourai.store.profile import row
from pytest_yourai.trial import TrialRecord
from pytest_yourai.units import gigabytes
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.host import WorkerHost, preview

Isolation = Literal["model", "trial"]


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep is to do. `memory_limit_bytes` is None where it is to be detected.

    `settings` is what the journal and the profile say of all this.
    """

    source: ModelSource
    configs: tuple[LoraConfig, ...]
    steps: StepPlan
    isolation: Isolation
    data: str | None
    seed: int
    memory_limit_bytes: int | None
    start_timeout_s: float
    settings: dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """What the worker said before the first trial, and the budget that follows from it."""

    device: DeviceInfo
    inspection: Inspection
    budget: Budget


class Sweep:
    """Runs the trials of one model, one after the other. Writes to `journal`, does not close it.

    Starting one starts a worker that looks at the model; nothing is loaded yet. BackendError,
    ModelError or OptionError where the sweep cannot work.
    """

    def __init__(self, plan: SweepPlan, journal: EventLog) -> None:
        self.plan = plan
        self.results: dict[LoraConfig, TrialResult] = {}
        self.last_output = Output("", "")
        self.last_traceback = ""
        self._journal = journal
        self._record: TrialRecord | None = None
        self._host = WorkerHost(plan.source, journal, plan.start_timeout_s)
        journal.write(
            "benchmark_start",
            run_id=uuid.uuid4().hex,
            pid=os.getpid(),
            model=plan.source.name,
            configurations=len(plan.configs),
            settings=plan.settings,
        )
        try:
            self.surroundings = self._look()
        except BaseException as problem:
            self._host.end(killed_because=repr(problem))
            raise

    def _look(self) -> Surroundings:
        device, inspection = self._host.look(self.plan.data)
        if self.plan.memory_limit_bytes is None:
            budget = detect_budget(read_system_memory(), device)
        else:
            budget = Budget(self.plan.memory_limit_bytes, "as given")
        self._journal.write(
            "model_start",
            model=self.plan.source.name,
            weights="synthetic" if self.plan.source.synthetic else "local",
            parameters=inspection.parameters,
            memory_limit_bytes=budget.limit_bytes,
        )
        return Surroundings(device, inspection, budget)

    def close(self, *, complete: bool) -> None:
        """End the worker."""
        self._host.end()
        self._journal.write("benchmark_complete", complete=complete, trials=len(self.results))

    def measure(self, config: LoraConfig) -> TrialResult:
        """Run one trial, or say why it need not run; a configuration is measured once.

        Whatever is raised from outside ends the worker and comes out again.
        """
        if config in self.results:
            return self.results[config]
        self.last_output, self.last_traceback = Output("", ""), ""
        if reason := self._reason_to_skip(config):
            return self._keep(TrialResult(self.plan.source.name, config, Outcome.SKIPPED, reason))
        self._record = TrialRecord(
            model=self.plan.source.name,
            config=config,
            plan=self.plan.steps,
            memory_limit_bytes=self.surroundings.budget.limit_bytes,
            before=read_system_memory(),
        )
        self._journal.write(
            "trial_start",
            model=self.plan.source.name,
            batch_size=config.batch_size,
            lora_rank=config.rank,
            lora_layers=config.num_layers,
            max_seq_length=config.max_seq_length,
        )
        try:
            result, worker_is_clean = self._run(self._record)
            if not result.outcome.leaves_the_worker_usable:
                reason = f"the trial ended as {result.outcome}"
                self.last_output = self._host.end(killed_because=reason)
            elif not worker_is_clean:
                self._host.end(killed_because="memory was not back at base after the trial")
            elif self.plan.isolation == "trial":
                self._host.end()
        except BaseException as interruption:
            self.last_output = self._host.end(killed_because=repr(interruption))
            raise
        return self._keep(result)

    @property
    def is_measuring(self) -> bool:
        """Whether a trial began that has no result yet."""
        return self._record is not None

    def give_up(self, outcome: Outcome, reason: str) -> TrialResult:
        """The result of the trial that `measure` was interrupted in, with what it measured."""
        if self._record is None:
            raise RuntimeError("no trial is under way")
        text = f"{reason} {self._record.where}"
        if outcome is Outcome.TIMEOUT:
            self._journal.write("subprocess_timeout", reason=text)
        return self._keep(self._record.result(outcome, text))

    def _keep(self, result: TrialResult) -> TrialResult:
        self._record = None
        self.results[result.config] = result
        printed = preview(self.last_output) if result.outcome.is_failure else {}
        self._journal.write("trial_complete", model=result.model, **row(result), **printed)
        return result

    def _reason_to_skip(self, config: LoraConfig) -> str | None:
        depth = self.surroundings.inspection.num_hidden_layers
        if config.num_layers > depth:
            return f"not valid for this model, which has {depth} layers"
        failed = dominating_failure(config, self.results.values())
        if failed is None:
            return None
        return f"no smaller than {failed.config}, which failed for memory ({failed.outcome})"

    def _run(self, record: TrialRecord) -> tuple[TrialResult, bool]:
        """The result, and whether the worker is as it was before the trial."""
        request = TrialRequest(
            config=record.config,
            plan=self.plan.steps,
            memory_limit_bytes=record.memory_limit_bytes,
            data=self.plan.data,
            seed=self.plan.seed,
        )
        try:
            measurement = self._host.run(
                request,
                on_load=record.loading,
                on_start=lambda: record.started(self._footprint_bytes()),
                on_step=record.add,
            )
        except WorkerDiedError as death:
            return self._broken_off(record, death=death), False
        except WorkerFailedError as failure:
            self.last_traceback = failure.traceback
            invalid = failure.loss_is_invalid
            return self._broken_off(record, str(failure), loss_is_invalid=invalid), False
        except (WorkerError, InputError) as problem:
            return self._broken_off(record, str(problem)), False
        result = record.result(
            Outcome.OK if measurement.fits else Outcome.OVER_BUDGET,
            None,
            footprint_bytes=self._footprint_bytes(),
            after=read_system_memory(),
        )
        if not measurement.fits:
            result = dataclasses.replace(result, reason=_over_budget(result))
        return result, measurement.memory_is_back_at_base

    def _footprint_bytes(self) -> int | None:
        return process_footprint_bytes(self._host.pid, self.surroundings.device)

    def _broken_off(
        self,
        record: TrialRecord,
        exception: str | None = None,
        *,
        death: WorkerDiedError | None = None,
        loss_is_invalid: bool = False,
    ) -> TrialResult:
        system = read_system_memory()
        outcome, reason = classify(
            Evidence(
                where=record.where,
                exception=exception,
                loss_is_invalid=loss_is_invalid,
                returncode=death.returncode if death else None,
                largest_bytes=max(
                    record.largest_peak_bytes,
                    record.resident_growth_bytes(death.largest_resident_bytes) if death else 0,
                ),
                memory_limit_bytes=record.memory_limit_bytes,
                available_bytes=system.available_bytes,
                oom_kills=system.oom_kills - record.before.oom_kills,
                address_space_limit_bytes=address_space_limit_bytes(),
            )
        )
        return record.result(outcome, reason, after=system)


def _over_budget(result: TrialResult) -> str:
    need, safe = result.minimum_memory_bytes or 0, result.safe_memory_bytes or 0
    return (
        f"needs {gigabytes(need)}, with the margin {gigabytes(safe)}, over the budget of "
        f"{gigabytes(result.memory_limit_bytes or 0)}"
    )
