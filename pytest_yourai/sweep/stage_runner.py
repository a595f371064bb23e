"""A run: one model after the other, smallest first, each with a worker of its own.

What one model teaches, the next ones know: what did not fit, and how far estimates were off. In a
walk a model that does not fit ends it for those that are no smaller; whatever else goes wrong is
that model's outcome alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import (
    BackendError,
    DataError,
    InputError,
    OptionError,
    TooLittleMemoryError,
    UnavailableError,
    WorkerLostError,
)
from pytest_yourai.core.results import Outcome, Skip, SkipReason, TrialResult
from pytest_yourai.models.resolve import Model
from pytest_yourai.plan.planner import SweepSetup, plan_downloaded
from pytest_yourai.plan.resolved_models import StageProblem
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plan.sweep_plan import (
    SweepContext,
    estimated_weight_bytes,
    read_prior,
    save_calibration,
)
from pytest_yourai.store.history import read_history
from pytest_yourai.store.journal import EventLog
from pytest_yourai.sweep.model_sweep import Sweep
from pytest_yourai.sweep.preflight import Preflight, dominated_by
from pytest_yourai.sweep.soak_runner import SoakClock, SoakOutcome
from pytest_yourai.sweep.start import start_sweep
from pytest_yourai.sweep.trial_record import OnProgress
from pytest_yourai.worker.process import WorkerStarter


@dataclass(frozen=True)
class StageInfo:
    """What is known of a stage once its worker has looked at the model.

    `weights` says of what kind they are: `synthetic 4-bit`; `quantized_on_load` is how, where they
    are stored in another precision. `settings` are those of its profile.
    """

    title: str
    weights: str
    settings: SweepSettings
    notes: tuple[str, ...]
    surroundings: SweepContext
    preflight: Preflight | None
    quantized_on_load: Quantization | None


class StageRunner:
    """Goes through the stages of `setup`; one at a time has a worker. Does not close `journal`.

    `say` gets a line for people before a model is downloaded; `on_progress` is called with
    how far the trial is.
    """

    def __init__(
        self,
        setup: RunPlan,
        journal: EventLog,
        say: Callable[[str], None],
        on_progress: OnProgress | None = None,
        workers: WorkerStarter | None = None,
    ) -> None:
        self._setup = setup
        self._journal = journal
        self._say = say
        self._on_progress = on_progress
        self._workers = workers
        self._setups: dict[Stage, SweepSetup] = {}
        self._downloads: dict[str, Model] = {}
        self._sweeps: dict[Stage, Sweep] = {}
        self._opened: dict[Stage, StageInfo] = {}
        self._problems = {each: each.problem for each in setup.stages if each.problem}
        self._not_run: dict[tuple[Stage, LoraConfig], TrialResult] = {}
        self.stage: Stage | None = None

    @property
    def sweep(self) -> Sweep | None:
        """That of the present stage; None where it is not run."""
        return self.sweep_of(self.stage) if self.stage else None

    @property
    def journal_problem(self) -> str | None:
        """Why the journal stopped, if it did."""
        return self._journal.problem

    def sweep_of(self, stage: Stage) -> Sweep | None:
        """None where the stage was not begun, or is not run."""
        return self._sweeps.get(stage)

    def opened(self, stage: Stage) -> StageInfo | None:
        """None where the stage was not begun, or is not run."""
        return self._opened.get(stage)

    def look_at_all(self, selected: Container[Stage]) -> None:
        """Look at every named model before the first trial; InputError where one cannot be run.

        A walk looks at each when its turn comes, and now at the first that is there: an InputError
        that would be every model's is raised.
        """
        for stage in self._setup.stages:
            if stage in selected:
                self._begin(stage, is_beforehand=True)
                if self._setup.is_walk and stage in self._sweeps:
                    return

    def begin(self, stage: Stage) -> None:
        """Make `stage` the present one: end the worker of the one before, look at its model."""
        self._begin(stage, is_beforehand=False)

    def _begin(self, stage: Stage, *, is_beforehand: bool) -> None:
        if stage is self.stage:
            return
        if self.sweep is not None:
            self.sweep.release()
            self._remember(self.stage, self.sweep)
        self.stage = stage
        is_new = stage not in self._sweeps and stage not in self._problems
        if is_new and stage.setup is not None and not self._reason_not_to_run(stage):
            self._open(stage, stage.setup, is_beforehand=is_beforehand)
        if self.sweep is not None:
            self._teach(stage, self.sweep)

    def _open(self, stage: Stage, setup: SweepSetup, *, is_beforehand: bool) -> None:
        try:
            setup = self._setups[stage] = self._downloaded(stage, setup)
            output = self._setup.output
            history = read_history(output.log) if output.is_resumed else None
            self._sweeps[stage] = start_sweep(
                setup.plan, self._journal, history, self._on_progress, self._workers
            )
        except InputError as problem:
            if not self._setup.is_walk or (is_beforehand and _is_everyones(problem)):
                raise
            outcome = _outcome_of(problem, setup)
            self._problems[stage] = StageProblem(outcome, str(problem))

    def _downloaded(self, stage: Stage, setup: SweepSetup) -> SweepSetup:
        """`setup`, planned for the weights in a folder if they had to be downloaded."""
        if setup.model.weights != "hub":
            return setup
        model = self._downloads.get(stage.name)
        if model is None:
            model = self._downloads[stage.name] = setup.model.downloaded(self._say)
        return plan_downloaded(setup, model)

    def _teach(self, stage: Stage, sweep: Sweep) -> None:
        """Hand over what other models taught."""
        setup = self._setups[stage]
        sweep.add_external_failures(
            each
            for other in self._sweeps.values()
            if other is not sweep
            for each in other.results.values()
            if each.prunes_larger
        )
        if sweep.results:
            return
        sweep.set_prior(read_prior(setup.plan))
        lora_keys = sweep.context.inspection.lora_keys
        self._opened[stage] = StageInfo(
            title=stage.title,
            weights=setup.weights,
            settings=dataclasses.replace(sweep.plan.settings, lora_keys=lora_keys),
            notes=(*setup.choice.notes(setup.model, lora_keys), *sweep.context.notes),
            surroundings=sweep.context,
            preflight=sweep.preflight(),
            quantized_on_load=setup.quantized_on_load,
        )

    def _remember(self, stage: Stage | None, sweep: Sweep) -> None:
        if stage is not None and stage in self._setups:
            save_calibration(self._setups[stage].plan, sweep.calibration)

    def config_of(self, stage: Stage, item_id: str) -> LoraConfig:
        """What the item tries; of a check known once its stage has begun."""
        config = stage.configs_by_id[item_id]
        if config is not None:
            return config
        sweep = self._sweeps.get(stage)
        return (sweep and sweep.safe_config) or stage.assumed_config

    def is_known(self, stage: Stage, item_id: str) -> bool:
        """Whether `measure` would only repeat itself."""
        sweep, config = self._sweeps.get(stage), self.config_of(stage, item_id)
        return (stage, config) in self._not_run or (sweep is not None and config in sweep.results)

    def measure(self, stage: Stage, item_id: str) -> TrialResult:
        """The result of one trial, or why it is not run; measured once, whoever asks again."""
        config = self.config_of(stage, item_id)
        if known := self._not_run.get((stage, config)):
            return known
        self.begin(stage)
        sweep = self._sweeps.get(stage)
        if sweep is not None and config in sweep.results:
            return sweep.results[config]
        if problem := self._problems.get(stage):
            return self._keep_unrun(stage, config, problem.outcome, problem.reason)
        if skip := self._reason_not_to_run(stage):
            return self._keep_unrun(stage, config, Outcome.SKIPPED, skip.reason, skip.rule)
        return self._sweeps[stage].measure(config)

    def _keep_unrun(
        self,
        stage: Stage,
        config: LoraConfig,
        outcome: Outcome,
        reason: str,
        skip_reason: SkipReason | None = None,
    ) -> TrialResult:
        result = TrialResult(
            stage.name,
            config,
            outcome,
            reason,
            skip_reason=skip_reason,
            started=False,
            conclusive=outcome is not Outcome.SAFETY_STOP,
        )
        self._not_run[stage, config] = result
        self._journal.write("model_not_run", model=stage.name, outcome=outcome.value, reason=reason)
        return result

    def _reason_not_to_run(self, stage: Stage) -> Skip | None:
        if not self._setup.is_walk:
            return None
        if stage.is_check:
            return self._smaller_failure(stage)
        check = self._checked(stage.name)
        if check is None or check.success:
            return None
        reason = f"not swept: its safe configuration ended as {check.outcome}"
        return Skip(SkipReason.CHECK_FAILED, reason)

    def _checked(self, name: str) -> TrialResult | None:
        """How the check of a model ended, if it was run or refused."""
        for stage, sweep in self._sweeps.items():
            if stage.is_check and stage.name == name:
                return next(iter(sweep.results.values()), None)
        unrun = [each for (stage, _), each in self._not_run.items() if stage.is_check]
        return next((each for each in unrun if each.model == name), None)

    def _smaller_failure(self, stage: Stage) -> Skip | None:
        """The skip of a model that is no smaller than one that failed for memory."""
        weight_bytes = estimated_weight_bytes(stage.setup.plan) if stage.setup else None
        for other, sweep in self._sweeps.items():
            if other is stage or not other.is_check:
                continue
            for failed in sweep.results.values():
                if failed.prunes_larger and _is_no_smaller(stage, weight_bytes, other, failed):
                    return dominated_by(other.name, failed)
        return None

    def soak(self, stage: Stage, trial: TrialResult, clock: SoakClock) -> SoakOutcome:
        """Train on with a configuration that the sweep of `stage` has measured."""
        self.begin(stage)
        return self._sweeps[stage].soak(trial, clock)

    def close(self, selected: Mapping[Stage, int]) -> None:
        """End the worker, and the sweeps in the journal; keep what was learned.

        `selected` is how many configurations of each stage were to be run.
        """
        if self.sweep is not None:
            self._remember(self.stage, self.sweep)
        for stage, sweep in self._sweeps.items():
            sweep.close(complete=len(sweep.results) >= selected.get(stage, 0))


def _is_everyones(problem: InputError) -> bool:
    """Whether no model could be tried: MLX is missing, or a flag or the data is mistaken."""
    is_mistaken = isinstance(problem, OptionError) and not isinstance(problem, TooLittleMemoryError)
    return is_mistaken or isinstance(problem, BackendError | DataError)


def _outcome_of(problem: InputError, setup: SweepSetup) -> Outcome:
    """Of a model that a worker could not look at."""
    folder = setup.model.folder
    if isinstance(problem, UnavailableError) or (folder is not None and not folder.is_dir()):
        return Outcome.UNAVAILABLE
    if isinstance(problem, TooLittleMemoryError):
        return Outcome.SAFETY_STOP
    return Outcome.CRASHED if isinstance(problem, WorkerLostError) else Outcome.ERROR


def _is_no_smaller(
    stage: Stage, weight_bytes: int | None, other: Stage, failed: TrialResult
) -> bool:
    """Whether a model has no fewer parameters than `other`, and no lighter weights, if known.

    Weights in fewer bits are lighter. Of a model of which the size is not known nobody can say.
    """
    if stage.parameters is None or stage.parameters < (other.parameters or 0):
        return False
    if weight_bytes is None or failed.size is None:
        return True
    return weight_bytes >= failed.size.weight_bytes
