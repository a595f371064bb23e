"""One trial: run in a worker under the guard, its steps so far, and the result that they become."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator

from pytest_yourai.core.config import COMPILE_TIMEOUT_S, LoraConfig, StepPlan
from pytest_yourai.core.cycles import TrialSteps
from pytest_yourai.core.errors import StepOverdueError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import RankResult, TrialResult
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.leak import Leak, LeakWatch, leak_warnings
from pytest_yourai.machine.power import PowerWatch
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.sweep.trial_progress import OnProgress, TrialProgress
from pytest_yourai.worker.diagnosis import (
    Diagnosis,
    completed,
    impossible,
    invalid_loss,
    over_budget,
    remedied,
)
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.joining import AllSum
from pytest_yourai.worker.protocol import Measurement, Phase, RunEvent, StepSample, TrialRequest
from pytest_yourai.worker.run_record import RunRecord, without_updates
from pytest_yourai.worker.supervised_run import BrokenOff, supervise


class TrialRecord(RunRecord):
    """The steps of `config` that a worker streamed so far; the guard holds them to their budget."""

    def __init__(
        self,
        model: str,
        config: LoraConfig,
        plan: StepPlan,
        guard: Guard,
        on_progress: OnProgress | None = None,
        compile_timeout_s: float = COMPILE_TIMEOUT_S,
        step_timeout_s: float = 0.0,
        power: PowerWatch | None = None,
    ) -> None:
        super().__init__(guard, compile_timeout_s)
        self._power = power
        self._step_timeout_s = step_timeout_s
        """Seconds; 0 where the item that runs the trial has a limit."""
        self.model = model
        self.config = config
        self.plan = plan
        self.steps = TrialSteps.of(plan, config)
        self.on_progress = on_progress
        self.samples: list[StepSample] = []
        self._compiled: list[bool] = []
        """For each of them, whether it compiled."""
        self.all_sum: AllSum | None = None
        """How long the ranks of a group sum the gradients of an update."""
        self._pool_bytes: int | None = None
        """The most that a CUDA device's memory pools had held before the measured steps."""

    def add(self, event: RunEvent) -> None:
        was_compiling = self.compiling_s is not None
        super().add(event)
        if isinstance(event, StepSample):
            self.samples.append(event)
            self._compiled.append(was_compiling)
            self._advance(f"in step {len(self.samples) + 1}")
            if event.phase in ("warmup", "settle"):
                self._pool_bytes = self.guard.pool_bytes
        if was_compiling is not (self.compiling_s is not None):
            self.show_progress()

    def check(self) -> None:
        super().check()
        self.show_progress()
        if self._power is not None:
            self._power.check()
        limit_s = self._step_timeout_s
        if limit_s and self.compiling_s is None and time.monotonic() > self.heard_at + limit_s:
            raise StepOverdueError(f"no step ended for {limit_s:g} s")

    def show_progress(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.progress)

    def paces(self) -> list[float]:
        """The times of all steps that compiled nothing.

        Seconds for as many tokens as the largest step has: with real data, steps differ.
        """
        steps = [
            (sample, self.steps.ends_cycle(number))
            for number, sample in enumerate(self.samples, 1)
            if sample.tokens and not self._compiled[number - 1] and sample.phase != "survey"
        ]
        most = max((each.tokens for each, _ in steps), default=1)
        return without_updates(
            [each.step_time_s * most / each.tokens for each, _ in steps],
            [ends_cycle for _, ends_cycle in steps],
        )

    @property
    def warmup_is_over(self) -> bool:
        """True once its minimum memory is measured; a trial that does not fit ends there."""
        return self.steps.warmup_is_over([each.step_time_s for each in self._in("warmup")])

    @property
    def minimum_bytes(self) -> int | None:
        """Its minimum memory; None until warm-up is over."""
        if not self.warmup_is_over:
            return None
        return self.steps.minimum_bytes([each.peak_memory_bytes for each in self._in("warmup")])

    @property
    def progress(self) -> TrialProgress:
        mlx = self.guard.mlx
        return TrialProgress(
            *self._phase,
            active_bytes=mlx.active_bytes if mlx else None,
            peak_bytes=max(mlx.peak_bytes, self._largest_peak_bytes) if mlx else None,
            memory_limit_bytes=self.guard.budget_bytes,
            compiling_s=self.compiling_s,
            compile_timeout_s=self.compile_timeout_s,
        )

    @property
    def _largest_peak_bytes(self) -> int:
        return max((sample.peak_memory_bytes for sample in self.samples), default=0)

    @property
    def _phase(self) -> tuple[str, int | None, int | None]:
        if self.started_at is None:
            return self.where.removeprefix("while "), None, None
        if not self.warmup_is_over:
            return "warm-up", len(self.samples) + 1, None
        if not self._in("settle"):
            return "settling", None, None
        steps = self.steps.measured_steps
        if survey := self._in("survey"):
            return "timing shorter rows", len(survey) + 1, None
        return "measuring", min(len(self._in("measure")) + 1, steps), steps

    def _in(self, phase: Phase) -> list[StepSample]:
        return [sample for sample in self.samples if sample.phase == phase]

    @property
    def largest_mlx_bytes(self) -> int:
        # Once it is known to fit, MLX takes what it is given, which is near the budget.
        if self.warmup_is_over:
            return 0
        return max(self.guard.trace.largest_mlx_bytes, self._largest_peak_bytes)

    def contradiction(self, *, fits: bool) -> Diagnosis | None:
        """Why its steps are not those of a trial that came to its end; None where they are."""
        measured, wanted = len(self._in("measure")), self.steps.measured_steps if fits else 0
        if self.minimum_bytes is None or measured != wanted:
            return impossible(
                f"the worker reported the end of the trial after {len(self._in('warmup'))} warm-up "
                f"and {measured} measured steps, of {wanted}"
            )
        unsound = [sample.loss for sample in self.samples if not math.isfinite(sample.loss)]
        return invalid_loss(f"the loss was {unsound[0]}") if unsound else None

    def result(self, end: Diagnosis) -> TrialResult:
        """The result of the trial, which ended so, as far as the trial alone decides it."""
        warmup, settling, measured = self._in("warmup"), self._in("settle"), self._in("measure")
        power = self._power.end() if self._power is not None else None
        last = self.samples[-1] if self.samples else None
        held = LeakWatch()
        for number, sample in enumerate(measured, 1):
            held.add(
                sample.active_memory_bytes,
                sample.footprint_bytes,
                frees_gradients=self._frees_gradients(number),
            )
        return TrialResult(
            self.model,
            self.config,
            outcome=end.outcome,
            reason=end.reason,
            remedy=end.remedy,
            conclusive=end.conclusive,
            overdue=end.overdue,
            warnings=(
                *self.warnings,
                *leak_warnings(self._leaks(held, measured)),
                *(power.warnings if power is not None else ()),
            ),
            warmup_step_times_s=tuple(sample.step_time_s for sample in (*warmup, *settling)),
            step_times_s=tuple(sample.step_time_s for sample in measured),
            step_tokens=tuple(sample.tokens for sample in measured),
            survey_step_times_s=tuple(
                sample.step_time_s for sample in self.steps.timed_survey(self._in("survey"))
            ),
            loss=last.loss if last else None,
            minimum_memory_bytes=self.minimum_bytes,
            peak_memory_bytes=max((sample.peak_memory_bytes for sample in measured), default=None),
            active_memory_bytes=last.active_memory_bytes if last else None,
            cache_memory_bytes=last.cache_memory_bytes if last else None,
            footprint_bytes=self.guard.trace.largest_footprint_bytes,
            swap_growth_bytes=self.guard.trace.swap_growth_bytes,
            active_growth_bytes_per_step=held.growth.active_bytes_per_step,
            footprint_growth_bytes_per_step=held.growth.footprint_bytes_per_step,
            load_time_s=self.load_time_s,
            compile_time_s=self.compile_time_s,
            power=power,
            ranks=self._rank_results(warmup, measured),
            all_sum_time_s=self.all_sum.time_s if self.all_sum is not None else None,
            all_sum_bytes=self.all_sum.bytes if self.all_sum is not None else None,
        )

    def _rank_results(
        self, warmup: list[StepSample], measured: list[StepSample]
    ) -> tuple[RankResult, ...]:
        """Those of a group that measured to the end; else none."""
        world_size = min((len(each.ranks) for each in (*warmup, *measured)), default=0)
        if not measured or not self.warmup_is_over:
            return ()
        return tuple(
            RankResult(
                self.steps.minimum_bytes([each.ranks[rank].peak_memory_bytes for each in warmup]),
                max(each.ranks[rank].peak_memory_bytes for each in measured),
                statistics.median(each.ranks[rank].step_time_s for each in measured),
            )
            for rank in range(world_size)
        )

    def _frees_gradients(self, number: int) -> bool:
        """True for a step, counted from 1, that ends a cycle of more than one."""
        return self.steps.accumulation > 1 and self.steps.ends_cycle(number)

    def _leaks(self, held: LeakWatch, measured: list[StepSample]) -> Iterator[Leak]:
        before = [
            sample
            for number, sample in enumerate(self.samples, 1)
            if number > self.steps.compiling_steps
            and sample.phase in ("warmup", "settle")
            and not self._frees_gradients(number)
        ]
        return held.leaks(
            [each.active_memory_bytes for each in before],
            _footprints(before) + self._pool_bytes_by_peaks(before, measured),
        )

    def _pool_bytes_by_peaks(
        self, before: list[StepSample], measured: list[StepSample]
    ) -> list[int]:
        """The most that a CUDA device's pools may hold: as before, and what MLX's peak grew by.

        Measured steps may take more than warm-up steps, and the pools fill up to that in a while:
        by 0.2 to 0.3 GB a step over all ten, where nothing leaked (H200, 7B and 8B in 4 bits).
        """
        if self._pool_bytes is None or not before:
            return []
        held = max([self._pool_bytes, *_footprints(before)])
        # The last of them, which settles, takes as much as those that are measured.
        warm = min(each.peak_memory_bytes for each in before)
        return [held + max([0, *(each.peak_memory_bytes - warm for each in measured)])]


def _footprints(samples: list[StepSample]) -> list[int]:
    return [each.footprint_bytes for each in samples if each.footprint_bytes is not None]


def run_trial(plan: SweepPlan, host: WorkerHost, record: TrialRecord) -> TrialResult:
    """Run the trial of a new `record`; ends the worker afterwards where it is not as before.

    Whatever is raised from outside ends the worker and comes out again.
    """
    if not host.has_worker:
        record.show_progress()
    limit_bytes = record.guard.budget_bytes
    request = TrialRequest(
        record.config, record.plan, limit_bytes, plan.data, plan.recipe, plan.reading
    )
    ended = supervise(host, request, Measurement, record)
    if isinstance(ended, BrokenOff):
        return record.result(remedied(ended.diagnosis, is_synthetic=plan.source.synthetic))
    record.all_sum = ended.all_sum
    diagnosis = record.contradiction(fits=ended.fits) or completed(record)
    if diagnosis.outcome is Outcome.OK and not ended.fits:
        diagnosis = over_budget(record.minimum_bytes or 0, limit_bytes)
    if not diagnosis.outcome.leaves_the_worker_usable:
        record.output = host.end(killed_because=f"the trial ended as {diagnosis.outcome}")
    elif not ended.memory_is_back_at_base:
        host.end(killed_because="memory was not back at base after the trial")
    elif plan.isolation == "trial":
        host.end()
    return record.result(remedied(diagnosis, is_synthetic=plan.source.synthetic))
