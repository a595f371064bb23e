"""One sweep: which trials run, what of them is known already, and its events in the journal.

Knows nothing of pytest: whoever interrupts `measure` (a timeout, Ctrl-C) does so by raising out
of it; the worker is ended, and `abandon_trial` turns what was measured so far into a result.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome, Overdue
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.signals import deferred
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import GB, gigabytes
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.earlier_runs import EarlierRuns
from pytest_yourai.estimate.step_time import epoch_time_s
from pytest_yourai.estimate.training_memory import trained_parameters
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.power import PowerWatch
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan, predictor_of
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.store.journal import EventLog
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.sweep.preflight import Preflight, TrialChecks, model_size, preflight
from pytest_yourai.sweep.replay_runner import replay_trial
from pytest_yourai.sweep.resume import ResumeState
from pytest_yourai.sweep.search.sweep_search import SweepSearch
from pytest_yourai.sweep.soak_runner import SoakClock, SoakOutcome, run_soak
from pytest_yourai.sweep.trial_progress import OnProgress
from pytest_yourai.sweep.trial_runner import TrialRecord, run_trial
from pytest_yourai.worker.diagnosis import overdue
from pytest_yourai.worker.host import WorkerHost, preview
from pytest_yourai.worker.run_record import Output

OnResult = Callable[[TrialResult], None]
"""Called with each result, before the journal has it."""


class Sweep:
    """Runs the trials of one model, one after the other, and makes their results.

    Writes to `journal`, does not close it. `host` has the worker, which a replay does not start.
    `last_output` and `last_traceback` are those of the worker of the last trial, if it ended.
    """

    def __init__(
        self,
        plan: SweepPlan,
        context: SweepContext,
        journal: EventLog,
        host: WorkerHost,
        resumed: ResumeState | None = None,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        self.plan = plan
        self.context = context
        self.results: dict[LoraConfig, TrialResult] = {}
        self.last_output, self.last_traceback = Output(), ""
        self._journal = journal
        self._host = host
        self._resumed = resumed or ResumeState()
        self._on_progress = on_progress
        self._on_result = on_result
        self._size = model_size(context.inspection)
        self._limit_bytes = context.budget.limit_bytes
        self._record: TrialRecord | None = None
        self._external_failures: tuple[TrialResult, ...] = ()
        self.learn_from({})

    def add_external_failures(self, failures: Iterable[TrialResult]) -> None:
        """Take in the trials of other models that failed for memory."""
        self._external_failures = tuple(failures)

    def learn_from(self, earlier: Mapping[str, EarlierRuns]) -> None:
        """Take in how far this machine's estimates were off, before the first trial."""
        self._predictor = predictor_of(self.plan, earlier, self.context)
        self.search = SweepSearch(self.plan, self._limit_bytes, self._predictor)
        self._checks = TrialChecks(
            self.plan,
            self.context,
            self.search,
            end_worker=lambda because: self._host.end(killed_because=because),
        )
        for result in self._resumed.kept.values():
            self._predictor.learn(result)
        self._earlier = {
            **self._resumed.kept,
            **{config: self._complete(end) for config, end in self._resumed.crashed.items()},
        }

    def release(self) -> None:
        """End the worker, so that another model has the memory; the next trial starts a new one."""
        self._host.end()

    def soak(
        self, trial: TrialResult, clock: SoakClock, on_result: Callable[[SoakResult], None]
    ) -> SoakOutcome:
        """Train on with the configuration of `trial` in a fresh worker; ends that of the trials."""
        self.release()
        return run_soak(
            self.plan, self.context, self._journal, trial, clock, on_result, self._on_progress
        )

    def close(self, *, complete: bool) -> None:
        """End the worker, and the run in the journal."""
        self.release()
        self._journal.write("benchmark_complete", complete=complete, trials=len(self.results))

    @property
    def learned(self) -> dict[str, Calibration]:
        """What this run's own trials teach about the model, with its own earlier ones."""
        own = self._predictor.alone()
        for result in self.results.values():
            if result.started and not result.kept:
                own.learn(result)
        return own.learned

    @functools.cached_property
    def safe_config(self) -> LoraConfig | None:
        """The configuration of a check, safe for this model and budget; None for a sweep."""
        if self.plan.check is None:
            return None
        return self.plan.check.configuration(self.context.inspection, self._limit_bytes)

    def preflight(self) -> Preflight | None:
        """The predicted memory of the first configuration; None where it cannot be predicted."""
        config = self.safe_config or next(iter(self.plan.configs))
        prediction = self._predictor.predict(config)
        if prediction is None or self.plan.recording is not None:
            return None
        return preflight(config, prediction, self.context.device)

    def choose(
        self, here: Collection[LoraConfig], elsewhere: Collection[LoraConfig]
    ) -> LoraConfig | None:
        """The configuration out of `here` that the fast search runs next; None for none of them.

        It judges those `elsewhere` too, that cannot run next. Once it has stopped, `measure` skips
        whatever was not measured.
        """
        if not self.search.is_on:
            return None
        chosen = self.search.choose(here, elsewhere, {**self._earlier, **self.results})
        if self.search.stopped is not None:
            self._journal.write("search_stopped", reason=self.search.stopped)
        return chosen

    def expects_trial(self, config: LoraConfig) -> bool:
        """True if a configuration is still to be run, as far as is known by now."""
        if config in self.results or config in self._earlier:
            return False
        prediction = self._predictor.predict(config)
        return self._checks.expects_trial(config, prediction, self._failures())

    def measure(self, config: LoraConfig) -> TrialResult:
        """Run one trial, or give the reason why it need not run; a configuration is measured once.

        Whatever is raised from outside ends the worker and comes out again.
        """
        if config in self.results:
            return self.results[config]
        self._record = None
        self.last_output, self.last_traceback = Output(), ""
        if earlier := self._earlier.get(config):
            return self._keep(earlier)
        return self._keep(self._complete(self._not_run(config) or self._run(config)))

    def forget(self, config: LoraConfig) -> None:
        """Let `measure` run a trial again; the journal keeps both results, and the last counts."""
        self.results.pop(config, None)
        self._earlier.pop(config, None)

    def _not_run(self, config: LoraConfig) -> TrialResult | None:
        """The result of a trial that need not or must not run; None where it is to run."""
        prediction = self._predictor.predict(config)
        if skip := self._checks.skip(config, prediction, self._failures()):
            return TrialResult.skipped(self.plan.source.name, config, skip)
        if prediction is not None:
            self._journal.write(
                "preflight_check",
                available_gb=read_system_memory().available_bytes / GB,
                estimated_base_gb=prediction.weights_bytes / GB,
                estimated_minimum_gb=prediction.minimum_bytes / GB,
                estimated_conservative_gb=prediction.conservative_bytes / GB,
                **configuration(config),
            )
        return None if self.plan.force else self._checks.refusal(config, prediction)

    def _failures(self) -> Iterator[TrialResult]:
        """The trials that did not fit: of this model, first of earlier runs, and of others."""
        own = {**self._earlier, **self.results}
        yield from (each for each in own.values() if each.prunes_larger)
        yield from self._external_failures

    def measure_again(self, config: LoraConfig, step_timeout_s: float) -> TrialResult:
        """Run a trial once more; its first result stays the one of this sweep."""
        result = self._complete(self._run(config, step_timeout_s))
        with deferred():
            self._record = None
            self._journal.write("trial_repeated", **TrialRow.from_result(result).as_json())
        return result

    def _run(self, config: LoraConfig, step_timeout_s: float = 0.0) -> TrialResult:
        plan, guard = self.plan, Guard(self._limit_bytes, forced=self.plan.force)
        record = TrialRecord(
            plan.source.name,
            config,
            plan.steps,
            guard,
            self._on_progress,
            plan.compile_timeout_s,
            step_timeout_s,
            power=PowerWatch() if plan.recording is None else None,
        )
        self._record = record
        self._journal.write("trial_start", **configuration(config))
        try:
            if plan.recording is not None:
                result = replay_trial(plan.recording, record)
            else:
                result = run_trial(plan, self._host, record)
        except Exception:
            # No interruption, so that nobody abandons the trial.
            self._record = None
            raise
        finally:
            self.last_output, self.last_traceback = record.output, record.traceback
        return result

    @property
    def is_measuring(self) -> bool:
        """True if a trial runs, or was interrupted before its result was taken in."""
        return self._record is not None

    def abandon_trial(self, reason: str) -> TrialResult:
        """The result of the trial that `measure` was interrupted in by a timeout, so far.

        `reason` begins the sentence of it. RuntimeError where no trial was interrupted.
        """
        record, self._record = self._record, None
        if record is None:
            raise RuntimeError("no trial is under way")
        result = self._complete(record.result(overdue(record, reason, Overdue.ITEM)))
        self._journal.write("subprocess_timeout", reason=result.error)
        return self._keep(result)

    def _complete(self, result: TrialResult) -> TrialResult:
        """`result` with what the sweep knows, and a warning if predicted over the budget."""
        prediction = self._predictor.predict(result.config)
        changes: dict[str, Any] = {"memory_limit_bytes": self._limit_bytes, "size": self._size}
        inspection = self.context.inspection
        if (built := inspection.sizes.get(result.config.lora_keys)) is not None:
            changes["trained_parameters"] = trained_parameters(
                result.config, self.plan.source, built
            )
        if (data := inspection.data) is not None:
            changes["epoch_time_s"] = epoch_time_s(data, result)
        if prediction is not None:
            changes["predicted_minimum_memory_bytes"] = prediction.minimum_bytes
            changes["predicted_peak_memory_bytes"] = prediction.peak_bytes_within(None)
            if result.started and prediction.conservative_bytes > self._limit_bytes:
                most = gigabytes(prediction.conservative_bytes)
                warning = f"it was predicted to need up to {most}, over the budget"
                changes["warnings"] = (*result.warnings, warning)
        return dataclasses.replace(result, **changes)

    def _keep(self, result: TrialResult) -> TrialResult:
        """Take in a result, and hand it on before the journal has it: no interruption parts them.

        What the journal has is known to all who print and write.
        """
        with deferred():
            self._record = None
            self.results[result.config] = result
            if self._on_result is not None:
                self._on_result(result)
            self._write_result(result)
            if not result.kept:
                self._predictor.learn(result)
        return result

    def _write_result(self, result: TrialResult) -> None:
        config = configuration(result.config)
        if result.kept:
            self._journal.write("trial_kept", **config)
            return
        if result.outcome is Outcome.SAFETY_STOP:
            self._journal.write("safety_stop", reason=result.error, **config)
        for warning in result.warnings:
            self._journal.write("warning", reason=warning, **config)
        printed = {} if result.success else preview(self.last_output)
        self._journal.write("trial_complete", **TrialRow.from_result(result).as_json(), **printed)
