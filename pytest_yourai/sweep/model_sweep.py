"""One sweep: which trials run, what of them is known already, and what the journal says.

Knows nothing of pytest: whoever interrupts `measure` (a timeout, Ctrl-C) does so by raising out
of it; the worker is ended, and `give_up` turns what was measured so far into a result.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import uuid
from collections.abc import Collection, Iterable, Iterator

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import ModelSize, Outcome, TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.predictor import Prediction, Predictor
from pytest_yourai.machine.environment import last_boot
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan, predictor_of
from pytest_yourai.store.history import History
from pytest_yourai.store.journal import EventLog, TaggedLog
from pytest_yourai.store.rows import TrialRow, configuration
from pytest_yourai.sweep.preflight import Preflight, TrialChecks, preflight, preflight_fields
from pytest_yourai.sweep.replay_runner import ReplayRunner
from pytest_yourai.sweep.resume import NOTHING_RESUMED, ResumeState, resume
from pytest_yourai.sweep.search.memory_model import Predicted
from pytest_yourai.sweep.search.sweep_search import SweepSearch
from pytest_yourai.sweep.soak_runner import SoakClock, SoakOutcome, SoakRunner
from pytest_yourai.sweep.trial_record import Tell, TrialRecord, nobody_hears
from pytest_yourai.sweep.trial_runner import Runner, TrialRunner
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.host import preview
from pytest_yourai.worker.process import WorkerStarter


class Sweep:
    """Runs the trials of one model, one after the other. Writes to `journal`, does not close it.

    Starting one starts a worker that looks at the model; nothing is loaded yet. BackendError,
    ModelError or OptionError where the sweep cannot work. With `history`, what earlier runs of
    the same identity measured is kept. `tell` hears how far the trial or soak is that runs.
    """

    def __init__(
        self,
        plan: SweepPlan,
        journal: EventLog,
        history: History | None = None,
        tell: Tell = nobody_hears,
        workers: WorkerStarter | None = None,
    ) -> None:
        self.plan = plan
        self._tell = tell
        self.results: dict[LoraConfig, TrialResult] = {}
        self._journal = TaggedLog(journal, run_id=uuid.uuid4().hex, model=plan.source.name)
        self._record: TrialRecord | None = None
        self._runner = _runner_of(plan, self._journal, tell, workers)
        self._boot = last_boot()
        self._journal.write(
            "benchmark_start",
            boot_id=self._boot.boot_id,
            pid=os.getpid(),
            configurations=len(plan.configs),
            settings=plan.settings.as_json(),
            identity=plan.identity,
        )
        try:
            self.surroundings, self._resumed = self._look(history)
        except BaseException as problem:
            self._runner.end(because=repr(problem))
            raise
        self._runner.stay_within(self.surroundings.budget)
        self._others_failures: tuple[TrialResult, ...] = ()
        self.start_from(Calibration())

    def hear_of(self, failures: Iterable[TrialResult]) -> None:
        """Take in what other models failed for memory with."""
        self._others_failures = tuple(failures)

    def start_from(self, prior: Calibration) -> None:
        """Take in what this machine's estimates were off by, before the first trial."""
        self._prior = prior
        self._predictor = self._new_predictor()
        first = {
            config: Predicted(found.minimum_bytes, found.relative_error)
            for config in self.plan.configs
            if self.plan.search == "fast" and (found := self._predictor.predict(config))
        }
        self._search = SweepSearch(self.plan, self._limit_bytes, first)
        self._gate = TrialChecks(
            self.plan, self.surroundings, self._size, self._runner, self._search
        )
        for result in self._resumed.results.values():
            self._predictor.learn(result)

    def _look(self, history: History | None) -> tuple[SweepContext, ResumeState]:
        device, inspection = self._runner.look()
        budget = self._runner.detect_budget(device)
        resumed = NOTHING_RESUMED
        if history is not None:
            here = SweepContext(device, inspection, budget)
            resumed = resume(history, self.plan, here, self._boot)
            budget = resumed.budget or budget
        self._journal.write(
            "model_start",
            weights=self.plan.settings.weights,
            parameters=inspection.parameters,
            memory_limit_bytes=budget.limit_bytes,
            memory_limit_is_detected=budget.is_detected,
            device=dataclasses.asdict(device),
        )
        return SweepContext(device, inspection, budget, resumed.notes), resumed

    def release(self) -> None:
        """End the worker, so that another model has the memory; the next trial starts a new one."""
        self._runner.end()

    def soak(self, trial: TrialResult, clock: SoakClock) -> SoakOutcome:
        """Train on with what was measured, in a fresh worker; ends that of the trials."""
        self.release()
        soaker = SoakRunner(self.plan, self.surroundings, self._journal, self._tell)
        return soaker.soak(trial, clock)

    def close(self, *, complete: bool) -> None:
        """End the worker, and the run in the journal."""
        self.release()
        self._journal.write("benchmark_complete", complete=complete, trials=len(self.results))

    def _new_predictor(self) -> Predictor:
        device, found = self.surroundings.device, self.surroundings.inspection
        return predictor_of(
            self.plan, self._prior, device.backend, device.name, found.sizes, found.data
        )

    @property
    def is_searching(self) -> bool:
        """Whether the fast search still has to choose."""
        return self._search.is_on

    @property
    def stopped(self) -> str | None:
        """Why the fast search needs no more trials."""
        return self._search.stopped

    @property
    def calibration(self) -> Calibration | None:
        """What this run's own trials say of this machine's estimates; None without any."""
        own = self._new_predictor()
        for result in self.results.values():
            if result.started and not result.kept:
                own.learn(result)
        return own.calibration

    @functools.cached_property
    def safe_config(self) -> LoraConfig | None:
        """What a check tries: safe for this model and this budget."""
        if self.plan.check is None:
            return None
        return self.plan.check.configuration(self.surroundings.inspection, self._limit_bytes)

    def preflight(self) -> Preflight | None:
        """What the first configuration asks of this machine; None where that cannot be told."""
        config = self.safe_config or next(iter(self.plan.configs))
        prediction, available = self._predictor.predict(config), self._runner.available_bytes()
        if prediction is None or available is None:
            return None
        shares_memory = not self.surroundings.device.has_own_memory
        return preflight(config, prediction, available, shares_memory=shares_memory)

    def choose(
        self, here: Collection[LoraConfig], elsewhere: Collection[LoraConfig]
    ) -> LoraConfig | None:
        """Which of the configurations `here` the fast search runs next; None for none of them.

        It judges those `elsewhere` too, that cannot run next. Once it has stopped, `measure` skips
        whatever was not measured, for the reason it gave.
        """
        if not self.is_searching:
            return None
        chosen = self._search.choose(here, elsewhere, {**self._resumed.results, **self.results})
        if self._search.stopped is not None:
            self._journal.write("search_stopped", reason=self._search.stopped)
        return chosen

    def measure(self, config: LoraConfig) -> TrialResult:
        """Run one trial, or say why it need not run; a configuration is measured once.

        Whatever is raised from outside ends the worker and comes out again.
        """
        if config in self.results:
            return self.results[config]
        self._runner.forget()
        prediction = self._predictor.predict(config)
        if known := self._known(config, prediction):
            return self._keep(known, prediction)
        self._record = self._runner.begin(config)
        self._journal.write("trial_start", **configuration(config))
        return self._keep(self._runner.run(self._record), prediction)

    def expects_trial(self, config: LoraConfig) -> bool:
        """Whether a configuration is still to be run, as far as is known by now."""
        if config in self.results or config in self._resumed.results:
            return False
        prediction = self._predictor.predict(config)
        return self._gate.expects_trial(config, prediction, self._failures())

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
            self._journal.write("subprocess_timeout", reason=result.error)
        return self._keep(result, self._predictor.predict(result.config))

    def _keep(self, result: TrialResult, prediction: Prediction | None) -> TrialResult:
        was_run = self._record is not None
        self._record = None
        if result.kept:
            self.results[result.config] = dataclasses.replace(result, size=self._size)
            self._journal.write("trial_kept", **configuration(result.config))
            return self.results[result.config]
        result = self._with(result, prediction)
        self.results[result.config] = result
        if result.outcome is Outcome.SAFETY_STOP:
            self._journal.write("safety_stop", reason=result.error, **configuration(result.config))
        for warning in result.warnings:
            self._journal.write("warning", reason=warning, **configuration(result.config))
        printed = preview(self.last_output) if was_run and not result.success else {}
        self._journal.write("trial_complete", **TrialRow.from_result(result).as_json(), **printed)
        if was_run:
            self._predictor.learn(result)
        return result

    def _with(self, result: TrialResult, prediction: Prediction | None) -> TrialResult:
        """`result` with what had been predicted for it, and a warning where that was too much."""
        result = dataclasses.replace(result, size=self._size)
        if (data := self.surroundings.inspection.data) is not None:
            time_s = data.epoch_time_s(result.config, result.step_times_s)
            result = dataclasses.replace(result, epoch_time_s=time_s)
        if prediction is None:
            return result
        warnings = result.warnings
        if result.started and prediction.conservative_bytes > self._limit_bytes:
            most = gigabytes(prediction.conservative_bytes)
            warnings += (f"it was predicted to need up to {most}, over the budget",)
        return dataclasses.replace(
            result,
            warnings=warnings,
            predicted_minimum_memory_bytes=prediction.minimum_bytes,
        )

    def _known(self, config: LoraConfig, prediction: Prediction | None) -> TrialResult | None:
        """The result of a trial that need not or must not run."""
        if kept := self._resumed.results.get(config):
            return kept
        if unneeded := self._gate.not_needed(config, prediction, self._failures()):
            return unneeded
        if prediction is not None:
            self._journal.write(
                "preflight_check", **preflight_fields(prediction), **configuration(config)
            )
        return None if self.plan.force else self._gate.refused(config, prediction)

    def _failures(self) -> Iterator[TrialResult]:
        """What did not fit: of this model, first of earlier runs, and of other models."""
        own = {**self._resumed.results, **self.results}
        yield from (each for each in own.values() if each.prunes_larger)
        yield from self._others_failures

    @property
    def _size(self) -> ModelSize | None:
        found = self.surroundings.inspection
        return ModelSize(found.parameters, found.sizes.weight_bytes) if found.sizes else None

    @property
    def _limit_bytes(self) -> int:
        return self.surroundings.budget.limit_bytes


def _runner_of(
    plan: SweepPlan, journal: EventLog, tell: Tell, workers: WorkerStarter | None
) -> Runner:
    if plan.recording is not None:
        return ReplayRunner(plan, plan.recording)
    return TrialRunner(plan, journal, tell, workers)
