"""A soak: a measured configuration trains on for a while, and what that shows of memory and heat.

What fails here is no answer of its sweep: `candidate` and `standing` leave it out.
"""

from __future__ import annotations

import math
import statistics
import time
from array import array
from collections.abc import Sequence

from pytest_yourai.core.config import COMPILING_STEPS
from pytest_yourai.core.results import SoakResult, TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.leak import growth_per_step, leaks
from pytest_yourai.sweep.trial_record import TrialProgress
from pytest_yourai.worker.diagnosis import Diagnosis
from pytest_yourai.worker.protocol import TrainedStep, TrainingEvent

_FEWEST_STEPS = 20
"""Fewer say nothing of a tenth of them."""

_SLOWED_DOWN = 1.2

_BLOCKS = 60
"""So many medians are looked at for paging: of thousands of steps a few are slow anyway."""


class SoakRecord:
    """The steps of a soak so far, and the result that they become, however it ends.

    With `footprint_counts` unset, on CUDA, a growing footprint is no leak: memory pools fill up.
    """

    def __init__(
        self, trial: TrialResult, asked_s: float, guard: Guard, *, footprint_counts: bool
    ) -> None:
        self.where = "while starting the worker"
        self.heard_at = time.monotonic()
        """When a step ended last, or whatever came before the first one."""
        self.began_at: float | None = None
        self.guard = guard
        self.config = trial.config
        self._trial = trial
        self._asked_s = asked_s
        self._footprint_counts = footprint_counts
        self._steps = 0
        self._peak_bytes: int | None = None
        self._times_s = array("d")
        self._tokens = array("q")
        self._active_bytes = array("q")
        self._footprints = array("q")

    @property
    def swap_growth_bytes(self) -> int:
        return self.guard.trace.swap_growth_bytes

    @property
    def is_time_over(self) -> bool:
        return self.began_at is not None and time.monotonic() >= self.began_at + self._asked_s

    def loading(self) -> None:
        self._heard("while loading the model")

    def started(self) -> None:
        """The worker holds the model."""
        self._heard("in step 1")
        self.began_at = self.heard_at

    def add(self, event: TrainingEvent) -> None:
        if not isinstance(event, TrainedStep):
            self._heard(self.where)
            return
        self._steps = event.step
        self._heard(f"in step {event.step + 1}")
        self._peak_bytes = max(self._peak_bytes or 0, event.peak_memory_bytes)
        if event.step <= COMPILING_STEPS:
            return
        self._active_bytes.append(event.active_memory_bytes)
        if event.footprint_bytes is not None:
            self._footprints.append(event.footprint_bytes)
        if event.tokens:
            self._times_s.append(event.step_time_s)
            self._tokens.append(event.tokens)

    def progress(self, memory_limit_bytes: int) -> TrialProgress:
        """How far it is by now, within so much memory."""
        mlx, began_at = self.guard.mlx, self.began_at
        phase, step, left_s = self.where.removeprefix("while "), None, None
        if began_at is not None:
            phase, step = "training", self._steps + 1
            left_s = max(0.0, began_at + self._asked_s - time.monotonic())
        return TrialProgress(
            phase=phase,
            step=step,
            steps=None,
            active_bytes=mlx.active_bytes if mlx else None,
            peak_bytes=max(mlx.peak_bytes, self._peak_bytes or 0) if mlx else None,
            memory_limit_bytes=memory_limit_bytes,
            left_s=left_s,
        )

    def _heard(self, where: str) -> None:
        self.where, self.heard_at = where, time.monotonic()

    def paces(self, *, with_running_step: bool) -> list[float]:
        """Medians of blocks of steps, and the time of the step that is running, for `paging`.

        Seconds for as many tokens as the largest step has.
        """
        most = max(self._tokens, default=1)
        size = math.ceil(len(self._tokens) / _BLOCKS) or 1
        paces = [pace * most for pace in self._times_per_token()]
        # Blocks end with the last step, which counts most; what does not fill one is at the start.
        starts = range(len(paces) % size, len(paces), size)
        medians = [statistics.median(paces[start : start + size]) for start in starts]
        running_s = time.monotonic() - self.heard_at
        if with_running_step and medians and running_s > min(medians):
            medians.append(running_s)
        return medians

    def _times_per_token(self) -> list[float]:
        return [time_s / tokens for time_s, tokens in zip(self._times_s, self._tokens, strict=True)]

    def result(self, end: Diagnosis) -> SoakResult:
        """Everything that was measured before the soak ended so."""
        first_s, last_s = _tenths(self._times_s)
        first_pace, last_pace = _tenths(self._times_per_token())
        slowdown = last_pace / first_pace if first_pace and last_pace else None
        began = self.began_at
        return SoakResult(
            config=self.config,
            outcome=end.outcome,
            reason=end.reason,
            remedy=end.remedy,
            warnings=(*self.guard.warnings, *self._leak_warnings(), *_heat_warning(slowdown)),
            conclusive=end.conclusive,
            asked_s=self._asked_s,
            duration_s=0.0 if began is None else time.monotonic() - began,
            steps=self._steps,
            peak_memory_bytes=self._peak_bytes,
            trial_peak_memory_bytes=self._trial.peak_memory_bytes,
            footprint_bytes=self.guard.trace.largest_footprint_bytes,
            active_growth_bytes_per_step=growth_per_step(self._active_bytes),
            footprint_growth_bytes_per_step=growth_per_step(self._footprints),
            slowdown=slowdown,
            first_tenth_step_time_s=first_s,
            last_tenth_step_time_s=last_s,
            swap_growth_bytes=self.swap_growth_bytes,
        )

    def _leak_warnings(self) -> list[str]:
        held = {"MLX's active memory": self._active_bytes}
        if self._footprint_counts:
            held["the footprint"] = self._footprints
        warnings = []
        for what, values in held.items():
            # What a leak added before must be less than what it adds afterwards: a quarter.
            quarter = len(values) // 4
            if len(values) >= _FEWEST_STEPS and leaks(values[quarter:], values[:quarter]):
                grew = gigabytes(growth_per_step(values) or 0)
                warnings.append(f"{what} grew by {grew} a step: something leaks")
        return warnings


def _tenths(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The medians of the first and of the last tenth; None for fewer than 20 values."""
    if len(values) < _FEWEST_STEPS:
        return None, None
    tenth = len(values) // 10
    return statistics.median(values[:tenth]), statistics.median(values[-tenth:])


def _heat_warning(slowdown: float | None) -> list[str]:
    if slowdown is None or slowdown <= _SLOWED_DOWN:
        return []
    took = f"a token took {slowdown:.2f} times as long in its last tenth as in its first"
    return [f"{took}: the machine may be hot, or shared"]
