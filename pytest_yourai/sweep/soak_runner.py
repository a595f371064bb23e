"""One soak: long training in a fresh worker, its steps so far, and the result that they become."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import COMPILE_TIMEOUT_S, COMPILING_STEPS
from pytest_yourai.core.cycles import whole_cycles
from pytest_yourai.core.errors import StepOverdueError
from pytest_yourai.core.files import scratch_folder
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.signals import deferred
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.leak import LeakWatch, leak_warnings
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.store.journal import EventLog
from pytest_yourai.store.rows import SoakRow
from pytest_yourai.sweep.trial_progress import OnProgress, TrialProgress
from pytest_yourai.worker.diagnosis import SMALLER, Diagnosis, completed
from pytest_yourai.worker.host import WorkerHost, preview
from pytest_yourai.worker.protocol import (
    RunEvent,
    TrainedStep,
    TrainingEnd,
    TrainingParameters,
    TrainingRequest,
)
from pytest_yourai.worker.run_record import Output, TrainingRecord, without_updates
from pytest_yourai.worker.supervised_run import BrokenOff, supervise

_NO_END = 1 << 53
"""More steps than there is time for."""

_FEWEST_STEPS = 20
"""Fewer give no useful median of a tenth."""

_SLOWED_DOWN = 1.2

_BLOCKS = 60
"""Number of medians by which paging is judged: of thousands of steps a few are slow anyway."""


@dataclass(frozen=True, slots=True)
class SoakClock:
    """The time to train, the limit for a step, 0 for none, and for one that compiles; seconds."""

    asked_s: float
    step_timeout_s: float
    compile_timeout_s: float = COMPILE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class SoakOutcome:
    """A soak, and the output and traceback of its worker where it failed."""

    result: SoakResult
    output: Output
    traceback: str


class SoakRecord(TrainingRecord):
    """The steps of a soak so far. With `footprint_counts` as for a LeakWatch.

    `stop` is called once when the time is over.
    """

    def __init__(
        self,
        trial: TrialResult,
        clock: SoakClock,
        guard: Guard,
        stop: Callable[[], None],
        on_progress: OnProgress | None = None,
        *,
        footprint_counts: bool,
    ) -> None:
        super().__init__(guard, compile_timeout_s=clock.compile_timeout_s)
        self.trial = trial
        self._accumulation = trial.config.grad_accumulation_steps
        self._clock = clock
        self._stop = stop
        self._is_asked_to_stop = False
        self._on_progress = on_progress
        self._times_s = array("d")
        self._tokens = array("q")
        self._held = LeakWatch(footprint_counts=footprint_counts)

    @property
    def trained_s(self) -> float:
        """Seconds since it held the model, without steps that compiled."""
        if self.started_at is None:
            return 0.0
        return time.monotonic() - self.started_at - self.compile_time_s

    @property
    def is_time_over(self) -> bool:
        return self.started_at is not None and self.trained_s >= self._clock.asked_s

    def check(self) -> None:
        """Ask for the end when it is time; StepOverdueError where no step ended for too long."""
        super().check()
        self.show_progress()
        if self.is_time_over and not self._is_asked_to_stop:
            self._is_asked_to_stop = True
            self._stop()
        limit_s = self._clock.step_timeout_s
        is_late = time.monotonic() > self.heard_at + limit_s
        if limit_s and is_late and self.compiling_s is None:
            raise StepOverdueError(f"no step ended for {limit_s:g} s")

    def show_progress(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.progress)

    def add(self, event: RunEvent) -> None:
        super().add(event)
        compiling_steps = COMPILING_STEPS * self._accumulation
        if not isinstance(event, TrainedStep) or event.step <= compiling_steps:
            return
        frees_gradients = self._accumulation > 1 and event.step % self._accumulation == 0
        self._held.add(
            event.active_memory_bytes, event.footprint_bytes, frees_gradients=frees_gradients
        )
        self._times_s.append(event.step_time_s)
        self._tokens.append(event.tokens)

    @property
    def progress(self) -> TrialProgress:
        mlx, has_started = self.guard.mlx, self.started_at is not None
        return TrialProgress(
            phase="training" if has_started else self.where.removeprefix("while "),
            step=self.step + 1 if has_started else None,
            steps=None,
            active_bytes=mlx.active_bytes if mlx else None,
            peak_bytes=max(mlx.peak_bytes, self.peak_memory_bytes or 0) if mlx else None,
            memory_limit_bytes=self.guard.budget_bytes,
            left_s=max(0.0, self._clock.asked_s - self.trained_s) if has_started else None,
            compiling_s=self.compiling_s,
            compile_timeout_s=self.compile_timeout_s,
        )

    def paces(self) -> list[float]:
        """Medians of blocks of steps, in seconds for as many tokens as the largest step has."""
        most = max(self._tokens, default=1)
        places = [number for number, tokens in enumerate(self._tokens, 1) if tokens]
        paces = without_updates(
            [self._times_s[number - 1] * most / self._tokens[number - 1] for number in places],
            [number % self._accumulation == 0 for number in places],
        )
        size = math.ceil(len(paces) / _BLOCKS) or 1
        # Blocks end with the last step, which counts most; what does not fill one is at the start.
        starts = range(len(paces) % size, len(paces), size)
        return [statistics.median(paces[start : start + size]) for start in starts]

    @property
    def _cycles(self) -> Iterator[tuple[float, int]]:
        """Times and tokens of whole cycles with tokens; a slow update is none of its steps."""
        times_s = whole_cycles(self._times_s, self._accumulation)
        tokens = whole_cycles(self._tokens, self._accumulation)
        for each, counts in zip(times_s, tokens, strict=True):
            if sum(counts):
                yield sum(each), sum(counts)

    def result(self, end: Diagnosis) -> SoakResult:
        """All that was measured before the soak ended so."""
        cycles = list(self._cycles)
        first_s, last_s = _tenths([time_s / self._accumulation for time_s, _ in cycles])
        first_pace, last_pace = _tenths([time_s / tokens for time_s, tokens in cycles])
        slowdown = last_pace / first_pace if first_pace and last_pace else None
        warnings = [*self.warnings, *leak_warnings(self._held.leaks())]
        if slowdown is not None and slowdown > _SLOWED_DOWN:
            took = f"a token took {slowdown:.2f} times as long in its last tenth as in its first"
            warnings.append(f"{took}: the machine may be hot, or shared")
        growth = self._held.growth
        return SoakResult(
            config=self.trial.config,
            outcome=end.outcome,
            reason=end.reason,
            remedy=end.remedy,
            warnings=tuple(warnings),
            conclusive=end.conclusive,
            overdue=end.overdue,
            asked_s=self._clock.asked_s,
            duration_s=self.trained_s,
            steps=self.step,
            peak_memory_bytes=self.peak_memory_bytes,
            trial_peak_memory_bytes=self.trial.peak_memory_bytes,
            footprint_bytes=self.guard.trace.largest_footprint_bytes,
            active_growth_bytes_per_step=growth.active_bytes_per_step,
            footprint_growth_bytes_per_step=growth.footprint_bytes_per_step,
            slowdown=slowdown,
            first_tenth_step_time_s=first_s,
            last_tenth_step_time_s=last_s,
            swap_growth_bytes=self.guard.trace.swap_growth_bytes,
        )


def _tenths(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The medians of the first and of the last tenth; None for fewer than 20 values."""
    if len(values) < _FEWEST_STEPS:
        return None, None
    tenth = len(values) // 10
    return statistics.median(values[:tenth]), statistics.median(values[-tenth:])


def run_soak(
    plan: SweepPlan,
    context: SweepContext,
    journal: EventLog,
    trial: TrialResult,
    clock: SoakClock,
    on_result: Callable[[SoakResult], None],
    on_progress: OnProgress | None = None,
) -> SoakOutcome:
    """Train with the configuration of `trial`. Whatever is raised from outside ends it.

    `on_result` gets the result before the journal has it.
    """
    host = WorkerHost(plan.source, journal, plan.start_timeout_s, hosts=plan.hosts)
    record = SoakRecord(
        trial,
        clock,
        Guard(context.budget.limit_bytes, forced=plan.force),
        host.stop_training,
        on_progress,
        footprint_counts=not context.device.has_own_memory,
    )
    config = configuration(trial.config)
    journal.write("soak_start", asked_minutes=clock.asked_s / 60, **config)
    record.show_progress()
    with scratch_folder("yourai-soak-") as adapter_path:
        try:
            result = record.result(_run(plan, host, record, adapter_path))
        finally:
            host.end()
    printed = {} if result.success else preview(record.output)
    with deferred():
        on_result(result)
        journal.write("soak_complete", **SoakRow.from_result(result).as_json(), **printed)
    return SoakOutcome(result, record.output, record.traceback)


def _run(plan: SweepPlan, host: WorkerHost, record: SoakRecord, adapter_path: str) -> Diagnosis:
    recipe = plan.recipe
    if plan.data is None:
        # Made-up rows are few, and would be learned by heart: in bfloat16 the loss of what is
        # known for sure is exactly 0, which is that of a GPU that fails, too.
        recipe = dataclasses.replace(recipe, learning_rate=0.0, lr_schedule=None)
    request = TrainingRequest(
        config=record.trial.config,
        recipe=recipe,
        parameters=TrainingParameters(
            max_steps=_NO_END,
            save_every=_NO_END,
            steps_per_eval=_NO_END,
            val_batches=0,
            bad_rows=plan.reading.bad_rows,
        ),
        memory_limit_bytes=record.guard.budget_bytes,
        data=plan.data,
        adapter_path=adapter_path,
        first_step=0,
        may_pass_the_limit=plan.force,
    )
    ended = supervise(host, request, TrainingEnd, record)
    if isinstance(ended, BrokenOff):
        return ended.diagnosis
    if ended.reason == "memory_limit":
        limit = gigabytes(record.guard.budget_bytes)
        reason = f"MLX held more than the budget of {limit} in step {ended.step}"
        return Diagnosis(Outcome.OVER_BUDGET, reason, SMALLER)
    return completed(record)
