"""One sweep: which trials run, what of them is known already, and what the journal says.

Knows nothing of pytest: whoever interrupts `measure` (a timeout, Ctrl-C) does so by raising out
of it; the worker is ended, and `give_up` turns what was measured so far into a result.
"""

from __future__ import annotations

import dataclasses
import os
import time
import uuid
from typing import Any

from pytest_yourai.config import LoraConfig
from pytest_yourai.engine.protocol import DeviceInfo
from pytest_yourai.memory.budget import Budget, detect_budget, given_budget
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.resume import NOTHING_RESUMED, Resumed, resume
from pytest_yourai.runner import TrialRunner
from pytest_yourai.search import dominating_failure
from pytest_yourai.store.environment import last_boot
from pytest_yourai.store.history import History
from pytest_yourai.store.journal import EventLog
from pytest_yourai.store.profile import configuration, row
from pytest_yourai.sweep_plan import Surroundings, SweepPlan
from pytest_yourai.trial import TrialRecord
from pytest_yourai.worker.host import WorkerHost, preview
from pytest_yourai.worker.output import Output

_WAIT_STEP_S = 0.25


class Sweep:
    """Runs the trials of one model, one after the other. Writes to `journal`, does not close it.

    Starting one starts a worker that looks at the model; nothing is loaded yet. BackendError,
    ModelError or OptionError where the sweep cannot work. With `history`, what earlier runs of
    the same identity measured is kept.
    """

    def __init__(self, plan: SweepPlan, journal: EventLog, history: History | None = None) -> None:
        self.plan = plan
        self.results: dict[LoraConfig, TrialResult] = {}
        self._journal = journal
        self._record: TrialRecord | None = None
        self._host = WorkerHost(plan.source, journal, plan.start_timeout_s)
        self._run_id = uuid.uuid4().hex
        self._boot = last_boot()
        self._write(
            "benchmark_start",
            boot_id=self._boot.boot_id,
            pid=os.getpid(),
            configurations=len(plan.configs),
            settings=plan.settings,
            identity=plan.identity,
        )
        try:
            self.surroundings, self._resumed = self._look(history)
        except BaseException as problem:
            self._host.end(killed_because=repr(problem))
            raise
        self._runner = TrialRunner(plan, self.surroundings, self._host)

    def _look(self, history: History | None) -> tuple[Surroundings, Resumed]:
        device, inspection = self._host.look(self.plan.data)
        budget = self._budget(device)
        resumed = NOTHING_RESUMED
        if history is not None:
            resumed = resume(history, self.plan, budget, device, self._boot)
            budget = resumed.budget or budget
        self._write(
            "model_start",
            weights="synthetic" if self.plan.source.synthetic else "local",
            parameters=inspection.parameters,
            memory_limit_bytes=budget.limit_bytes,
            memory_limit_is_detected=budget.is_detected,
            device=dataclasses.asdict(device),
        )
        return Surroundings(device, inspection, budget, resumed.notes), resumed

    def _budget(self, device: DeviceInfo) -> Budget:
        system = read_system_memory()
        if self.plan.memory_limit_bytes is None:
            return detect_budget(system, device)
        return given_budget(self.plan.memory_limit_bytes, system, device)

    def close(self, *, complete: bool) -> None:
        """End the worker."""
        self._host.end()
        self._write("benchmark_complete", complete=complete, trials=len(self.results))

    def measure(self, config: LoraConfig) -> TrialResult:
        """Run one trial, or say why it need not run; a configuration is measured once.

        Whatever is raised from outside ends the worker and comes out again.
        """
        if config in self.results:
            return self.results[config]
        self._runner.forget()
        if known := self._known(config):
            return self._keep(known)
        self._record = self._runner.begin(config)
        self._write("trial_start", **configuration(config))
        return self._keep(self._runner.run(self._record))

    @property
    def last_output(self) -> Output:
        return self._runner.last_output

    @property
    def last_traceback(self) -> str:
        return self._runner.last_traceback

    @property
    def is_measuring(self) -> bool:
        """Whether a trial began that has no result yet."""
        return self._record is not None

    def give_up(self, outcome: Outcome, reason: str) -> TrialResult:
        """The result of the trial that `measure` was interrupted in, with what it measured."""
        if self._record is None:
            raise RuntimeError("no trial is under way")
        result = self._runner.give_up(self._record, outcome, reason)
        if outcome is Outcome.TIMEOUT:
            self._write("subprocess_timeout", reason=result.reason)
        return self._keep(result)

    def _keep(self, result: TrialResult) -> TrialResult:
        was_run = self._record is not None
        self._record = None
        self.results[result.config] = result
        if result.kept:
            self._write("trial_kept", **configuration(result.config))
            return result
        if result.outcome is Outcome.SAFETY_STOP:
            self._write("safety_stop", reason=result.reason, **configuration(result.config))
        for warning in result.warnings:
            self._write("warning", reason=warning, **configuration(result.config))
        printed = preview(self.last_output) if was_run and not result.success else {}
        self._write("trial_complete", **row(result), **printed)
        return result

    def _write(self, event: str, **fields: Any) -> None:
        """A journal line that names its run and its model."""
        self._journal.write(event, run_id=self._run_id, model=self.plan.source.name, **fields)

    def _known(self, config: LoraConfig) -> TrialResult | None:
        """The result of a trial that need not or must not run."""
        if kept := self._resumed.results.get(config):
            return kept
        if reason := self._reason_to_skip(config):
            return self._not_started(config, Outcome.SKIPPED, reason)
        if not self.plan.force and (danger := self._lasting_danger()):
            reason = f"not started: {danger}; close programs, or add --yourai-force"
            return self._not_started(config, Outcome.SAFETY_STOP, reason)
        return None

    def _not_started(self, config: LoraConfig, outcome: Outcome, reason: str) -> TrialResult:
        conclusive = outcome is not Outcome.SAFETY_STOP
        return TrialResult(
            self.plan.source.name, config, outcome, reason, started=False, conclusive=conclusive
        )

    def _reason_to_skip(self, config: LoraConfig) -> str | None:
        depth = self.surroundings.inspection.num_hidden_layers
        if config.num_layers > depth:
            return f"not valid for this model, which has {depth} layers"
        known = (*self._resumed.results.values(), *self.results.values())
        failed = dominating_failure(config, known)
        if failed is None:
            return None
        return f"no smaller than {failed.config}, which failed for memory ({failed.outcome})"

    def _lasting_danger(self) -> str | None:
        """Why no trial may start, even without our own worker and after a while; else None."""
        danger = self._runner.danger()
        if danger is None:
            return None
        self._host.end(killed_because=f"to free its memory: {danger}")
        deadline = time.monotonic() + self.plan.memory_wait_s
        while danger is not None and time.monotonic() < deadline:
            time.sleep(_WAIT_STEP_S)
            danger = self._runner.danger()
        return danger
