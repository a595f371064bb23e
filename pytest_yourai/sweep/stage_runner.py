"""Runs a plan: one model after the other, smallest first, each with a worker of its own.

Later models profit from earlier ones: from the failures for memory, and from the errors of the
estimates. In a walk an error of a model is the outcome of that model alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import (
    BackendError,
    DataError,
    InputError,
    OptionError,
    RecipeError,
    TooLittleMemoryError,
    UnavailableError,
    WorkerLostError,
)
from pytest_yourai.core.outcomes import Outcome, Skip
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.signals import deferred
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.models.model import Model
from pytest_yourai.plan.planner import SweepSetup, plan_downloaded
from pytest_yourai.plan.resolved_models import StageProblem
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plan.sweep_plan import (
    doubt_calibration,
    profile_identity,
    read_earlier_runs,
    save_calibration,
)
from pytest_yourai.store.history import read_history
from pytest_yourai.store.journal import EventLog
from pytest_yourai.sweep.model_sweep import Sweep
from pytest_yourai.sweep.preflight import reason_to_skip_stage
from pytest_yourai.sweep.soak_runner import SoakClock, SoakOutcome
from pytest_yourai.sweep.stage_info import StageInfo
from pytest_yourai.sweep.start import start_sweep
from pytest_yourai.sweep.trial_progress import OnProgress
from pytest_yourai.worker.process import WorkerStarter


@dataclass
class _OpenStage:
    """A stage whose model a worker has inspected."""

    setup: SweepSetup
    """The plan that runs: that of the stage, or the one for the weights that were downloaded."""
    sweep: Sweep
    info: StageInfo | None = None


class StageRunner:
    """Runs the stages of `plan`; one at a time has a worker. Does not close `journal`.

    `print_line` gets a line for people before a download, and while many rows are read,
    `on_result` each result before the journal has it.
    """

    def __init__(
        self,
        plan: RunPlan,
        journal: EventLog,
        print_line: Callable[[str], None],
        on_progress: OnProgress | None = None,
        workers: WorkerStarter | None = None,
        on_result: Callable[[Stage, TrialResult], None] | None = None,
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._print_line = print_line
        self._on_progress = on_progress
        self._workers = workers
        self._on_result = on_result
        self._downloads: dict[str, Model] = {}
        self._open: dict[Stage, _OpenStage] = {}
        self._problems = {each: each.problem for each in plan.stages if each.problem}
        self._not_run: dict[tuple[Stage, LoraConfig], TrialResult] = {}
        self._present: Stage | None = None

    @property
    def journal_problem(self) -> str | None:
        """Why the journal is incomplete; None if it is complete."""
        return self._journal.problem

    def sweep_of(self, stage: Stage) -> Sweep | None:
        """The sweep of `stage`; None if it has not begun, or is not run."""
        found = self._open.get(stage)
        return found.sweep if found else None

    def info_of(self, stage: Stage) -> StageInfo | None:
        """The facts of `stage`; None where it has no sweep."""
        found = self._open.get(stage)
        return found.info if found else None

    def inspect_all(self, selected: Container[Stage]) -> None:
        """Inspect every model before the first trial; InputError if one cannot be run.

        A walk inspects each model in its turn, and now only the first that can be run: it raises
        the InputErrors that every model would raise.
        """
        for stage in self._plan.stages:
            if stage in selected:
                self.begin(stage, is_beforehand=True)
                if self._plan.is_walk and stage in self._open:
                    return

    def begin(self, stage: Stage, *, is_beforehand: bool = False) -> None:
        """Make `stage` the present one: end the worker of the one before, inspect its model."""
        if stage is self._present:
            return
        self._end_present()
        is_new = stage not in self._open and stage not in self._problems
        if is_new and stage.setup is not None and not self._reason_to_skip(stage):
            self._start(stage, stage.setup, is_beforehand=is_beforehand)
        if stage in self._open:
            self._share_knowledge(stage, self._open[stage])
        # Last: a stage that failed to open is not the present one, and is opened when asked again.
        self._present = stage

    def _end_present(self) -> None:
        """End the worker of the present stage, and keep what its trials taught."""
        if self._present and (ended := self._open.get(self._present)):
            ended.sweep.release()
            backend = ended.sweep.context.device.backend
            save_calibration(ended.setup.plan, backend, ended.sweep.learned)
        self._present = None

    def _start(self, stage: Stage, setup: SweepSetup, *, is_beforehand: bool) -> None:
        options = self._plan.options
        try:
            setup = self._with_weights(stage, setup)
            history = read_history(options.log) if options.resume else None
            sweep = start_sweep(
                setup.plan,
                self._journal,
                history,
                self._on_progress,
                self._workers,
                functools.partial(self._on_result, stage) if self._on_result else None,
                self._print_line,
            )
        except InputError as problem:
            if not self._plan.is_walk or (is_beforehand and _concerns_all_models(problem)):
                raise
            self._problems[stage] = StageProblem(_outcome_of(problem, setup), str(problem))
        else:
            self._open[stage] = _OpenStage(setup, sweep)

    def _with_weights(self, stage: Stage, setup: SweepSetup) -> SweepSetup:
        """`setup`, planned anew for weights that had to be downloaded."""
        if setup.model.weights != "hub":
            return setup
        if stage.name not in self._downloads:
            self._downloads[stage.name] = setup.model.downloaded(self._print_line)
        return plan_downloaded(setup, self._downloads[stage.name])

    def _share_knowledge(self, stage: Stage, opened: _OpenStage) -> None:
        setup, sweep = opened.setup, opened.sweep
        sweep.add_external_failures(
            each
            for other in self._open.values()
            if other is not opened
            for each in other.sweep.results.values()
            if each.prunes_larger
        )
        if sweep.results:
            return
        backend = sweep.context.device.backend
        if (warning := doubt_calibration(setup.plan, backend)) is not None:
            self._print_line(f"Warning: {warning}")
            self._journal.write("warning", reason=warning)
        sweep.learn_from(read_earlier_runs(setup.plan, backend))
        inspection = sweep.context.inspection
        lora_keys = tuple(dict.fromkeys(itertools.chain(*inspection.lora_keys.values())))
        opened.info = StageInfo(
            title=stage.model.title,
            weights=setup.weights,
            settings=dataclasses.replace(
                sweep.plan.settings,
                lora_keys=lora_keys,
                adapted_modules=inspection.adapted_modules,
            ),
            notes=(
                *setup.choice.notes(setup.model, lora_keys),
                *inspection.notes,
                *sweep.context.notes,
            ),
            context=sweep.context,
            preflight=sweep.preflight(),
            quantized_on_load=setup.plan.source.quantized_on_load,
            identity=profile_identity(sweep.plan, sweep.context.device),
        )

    def config_of(self, stage: Stage, item_id: str) -> LoraConfig:
        """The configuration of an item; for a check an assumption until its stage has begun."""
        config = stage.configs_by_id[item_id]
        if config is not None:
            return config
        sweep = self.sweep_of(stage)
        return (sweep and sweep.safe_config) or stage.assumed_config

    def is_known(self, stage: Stage, item_id: str) -> bool:
        """True if `measure` would return a result that it has returned before."""
        return self._known(stage, self.config_of(stage, item_id)) is not None

    def _known(self, stage: Stage, config: LoraConfig) -> TrialResult | None:
        sweep = self.sweep_of(stage)
        measured = sweep.results.get(config) if sweep else None
        return measured or self._not_run.get((stage, config))

    def forget(self, stage: Stage, item_id: str) -> None:
        """Let `measure` run a trial again that has run; what it taught stays."""
        if (sweep := self.sweep_of(stage)) is not None:
            sweep.forget(self.config_of(stage, item_id))

    def measure(self, stage: Stage, item_id: str) -> TrialResult:
        """The result of one trial, or why it is not run; each is measured once."""
        config = self.config_of(stage, item_id)
        if known := self._known(stage, config):
            return known
        self.begin(stage)
        if problem := self._problems.get(stage):
            end = problem.outcome, problem.reason
            conclusive = problem.outcome is not Outcome.SAFETY_STOP
            result = TrialResult(stage.name, config, *end, started=False, conclusive=conclusive)
        elif skip := self._reason_to_skip(stage):
            result = TrialResult.skipped(stage.name, config, skip)
        else:
            return self._open[stage].sweep.measure(config)
        outcome, reason = result.outcome.value, result.reason
        with deferred():
            self._not_run[stage, config] = result
            if self._on_result is not None:
                self._on_result(stage, result)
            self._journal.write("model_not_run", model=stage.name, outcome=outcome, reason=reason)
        return result

    def _reason_to_skip(self, stage: Stage) -> Skip | None:
        if not self._plan.is_walk:
            return None
        results = {other: tuple(each.sweep.results.values()) for other, each in self._open.items()}
        for (other, _), result in self._not_run.items():
            results[other] = (*results.get(other, ()), result)
        return reason_to_skip_stage(stage, results)

    def measure_again(self, stage: Stage, config: LoraConfig) -> TrialResult:
        """Run a trial once more that the sweep of `stage` has measured."""
        self.begin(stage)
        timeout_s = self._plan.options.timeout_s
        return self._open[stage].sweep.measure_again(config, timeout_s)

    def soak(
        self,
        stage: Stage,
        trial: TrialResult,
        clock: SoakClock,
        on_result: Callable[[SoakResult], None],
    ) -> SoakOutcome:
        """Train on with a configuration that the sweep of `stage` has measured."""
        self.begin(stage)
        return self._open[stage].sweep.soak(trial, clock, on_result)

    def close(self, selected: Mapping[Stage, int]) -> None:
        """End the worker and the sweeps in the journal, and keep what the trials taught.

        `selected` is the number of items of each stage.
        """
        self._end_present()
        for stage, opened in self._open.items():
            complete = len(opened.sweep.results) >= selected.get(stage, 0)
            opened.sweep.close(complete=complete)


def _concerns_all_models(problem: InputError) -> bool:
    """True if no model could be tried: MLX is missing, or a flag or the data is wrong."""
    is_mistake = isinstance(problem, OptionError) and not isinstance(problem, TooLittleMemoryError)
    return is_mistake or isinstance(problem, BackendError | DataError | RecipeError)


def _outcome_of(problem: InputError, setup: SweepSetup) -> Outcome:
    """The outcome of a model that no worker could inspect."""
    folder = setup.model.folder
    if isinstance(problem, UnavailableError) or (folder is not None and not folder.is_dir()):
        return Outcome.UNAVAILABLE
    if isinstance(problem, TooLittleMemoryError):
        return Outcome.SAFETY_STOP
    return Outcome.CRASHED if isinstance(problem, WorkerLostError) else Outcome.ERROR
