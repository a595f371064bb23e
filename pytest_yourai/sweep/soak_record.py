"""One soak while it runs: what its steps show of memory and heat, and the result."""

from __future__ import annotations

import math
import statistics
import time
from array import array
from collections.abc import Sequence

from pytest_yourai.core.config import COMPILING_STEPS
from pytest_yourai.core.results import SoakResult, TrialResult
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.leak import LeakWatch, leak_warnings
from pytest_yourai.sweep.trial_record import TrialProgress
from pytest_yourai.worker.diagnosis import Diagnosis
from pytest_yourai.worker.protocol import TrainedStep, TrainingEvent
from pytest_yourai.worker.supervised_run import TrainingRecord

_FEWEST_STEPS = 20
"""Fewer say nothing about a tenth of them."""

_SLOWED_DOWN = 1.2

_BLOCKS = 60
"""Number of medians by which paging is judged: of thousands of steps a few are slow anyway."""


class SoakRecord(TrainingRecord):
    """The steps of a soak so far. With `footprint_counts` as for a LeakWatch."""

    def __init__(
        self, trial: TrialResult, asked_s: float, guard: Guard, *, footprint_counts: bool
    ) -> None:
        super().__init__(guard)
        self.config = trial.config
        self._trial = trial
        self._asked_s = asked_s
        self._times_s = array("d")
        self._tokens = array("q")
        self._held = LeakWatch(footprint_counts=footprint_counts)

    @property
    def trained_s(self) -> float:
        return 0.0 if self.started_at is None else time.monotonic() - self.started_at

    @property
    def is_time_over(self) -> bool:
        return self.started_at is not None and self.trained_s >= self._asked_s

    def add(self, event: TrainingEvent) -> None:
        super().add(event)
        if not isinstance(event, TrainedStep) or event.step <= COMPILING_STEPS:
            return
        self._held.add(event.active_memory_bytes, event.footprint_bytes)
        if event.tokens:
            self._times_s.append(event.step_time_s)
            self._tokens.append(event.tokens)

    def progress(self, memory_limit_bytes: int) -> TrialProgress:
        mlx, has_started = self.guard.mlx, self.started_at is not None
        return TrialProgress(
            phase="training" if has_started else self.where.removeprefix("while "),
            step=self.step + 1 if has_started else None,
            steps=None,
            active_bytes=mlx.active_bytes if mlx else None,
            peak_bytes=max(mlx.peak_bytes, self.peak_memory_bytes or 0) if mlx else None,
            memory_limit_bytes=memory_limit_bytes,
            left_s=max(0.0, self._asked_s - self.trained_s) if has_started else None,
        )

    def paces(self) -> list[float]:
        """Medians of blocks of steps, in seconds for as many tokens as the largest step has."""
        most = max(self._tokens, default=1)
        size = math.ceil(len(self._tokens) / _BLOCKS) or 1
        paces = [pace * most for pace in self._times_per_token]
        # Blocks end with the last step, which counts most; what does not fill one is at the start.
        starts = range(len(paces) % size, len(paces), size)
        return [statistics.median(paces[start : start + size]) for start in starts]

    @property
    def _times_per_token(self) -> list[float]:
        return [time_s / tokens for time_s, tokens in zip(self._times_s, self._tokens, strict=True)]

    def result(self, end: Diagnosis) -> SoakResult:
        """All that was measured before the soak ended so."""
        first_s, last_s = _tenths(self._times_s)
        first_pace, last_pace = _tenths(self._times_per_token)
        slowdown = last_pace / first_pace if first_pace and last_pace else None
        warnings = [*self.guard.warnings, *leak_warnings(self._held.leaks())]
        if slowdown is not None and slowdown > _SLOWED_DOWN:
            took = f"a token took {slowdown:.2f} times as long in its last tenth as in its first"
            warnings.append(f"{took}: the machine may be hot, or shared")
        growth = self._held.growth
        return SoakResult(
            config=self.config,
            outcome=end.outcome,
            reason=end.reason,
            remedy=end.remedy,
            warnings=tuple(warnings),
            conclusive=end.conclusive,
            asked_s=self._asked_s,
            duration_s=self.trained_s,
            steps=self.step,
            peak_memory_bytes=self.peak_memory_bytes,
            trial_peak_memory_bytes=self._trial.peak_memory_bytes,
            footprint_bytes=self.guard.trace.largest_footprint_bytes,
            active_growth_bytes_per_step=growth.active_bytes_per_step,
            footprint_growth_bytes_per_step=growth.footprint_bytes_per_step,
            slowdown=slowdown,
            first_tenth_step_time_s=first_s,
            last_tenth_step_time_s=last_s,
            swap_growth_bytes=self.swap_growth_bytes,
        )


def _tenths(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The medians of the first and of the last tenth; None for fewer than 20 values."""
    if len(values) < _FEWEST_STEPS:
        return None, None
    tenth = len(values) // 10
    return statistics.median(values[:tenth]), statistics.median(values[-tenth:])
