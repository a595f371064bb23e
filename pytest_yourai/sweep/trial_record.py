"""What is known of a trial while it runs, and the result that it becomes, however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_yourai.core.config import COMPILING_STEPS, LoraConfig, StepPlan, minimum_memory_bytes
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.leak import growth_per_step, leaks
from pytest_yourai.worker.diagnosis import Diagnosis
from pytest_yourai.worker.protocol import Phase, StepSample


@dataclass
class TrialRecord:
    """The steps that a worker streamed so far. `where` says what it is doing, in words."""

    model: str
    config: LoraConfig
    plan: StepPlan
    memory_limit_bytes: int
    guard: Guard
    where: str = "while starting the worker"
    samples: list[StepSample] = field(default_factory=list)
    step_began_at: float | None = None
    pool_bytes: int | None = None
    """What a CUDA device's memory pools had held before the measured steps."""

    def loading(self) -> None:
        self.where = "while loading the model"

    def started(self) -> None:
        """The worker holds the model."""
        self.where = "in step 1"
        self.step_began_at = time.monotonic()

    def add(self, sample: StepSample) -> None:
        self.samples.append(sample)
        self.where = f"in step {len(self.samples) + 1}"
        self.step_began_at = time.monotonic()
        if sample.phase != "measure":
            self.pool_bytes = self.guard.pool_bytes

    def paces(self, *, with_running_step: bool) -> list[float]:
        """The times of all steps that nothing was compiled in, and of the one that is running.

        Of the settling steps only the first has a shape that was compiled before.

        Seconds for as many tokens as the largest step has: with real data, steps differ. A running
        step counts once it has taken longer than the fastest.
        """
        begin = len(self._in("warmup")) + 1
        end = max(begin, begin - 1 + len(self._in("settle")))
        compiled_before = self.samples[COMPILING_STEPS:begin] + self.samples[end:]
        steps = [each for each in compiled_before if each.tokens]
        most = max((each.tokens for each in steps), default=1)
        paces = [each.step_time_s * most / each.tokens for each in steps]
        if with_running_step and paces and self.step_began_at is not None:
            running_s = time.monotonic() - self.step_began_at
            return [*paces, running_s] if running_s > min(paces) else paces
        return paces

    @property
    def swap_growth_bytes(self) -> int:
        return self.guard.trace.swap_growth_bytes

    @property
    def warmup_is_over(self) -> bool:
        """Whether its minimum memory is measured; one that does not fit ends there."""
        return self.plan.warmup_is_over([each.step_time_s for each in self._in("warmup")])

    @property
    def minimum_bytes(self) -> int | None:
        """Its minimum memory; None until warm-up is over."""
        if not self.warmup_is_over:
            return None
        return minimum_memory_bytes([each.peak_memory_bytes for each in self._in("warmup")])

    @property
    def progress(self) -> TrialProgress:
        """How far it is by now; of a step that runs, which one it is as far as can be told."""
        mlx = self.guard.mlx
        peaks = [sample.peak_memory_bytes for sample in self.samples]
        phase, step, steps = self._phase
        return TrialProgress(
            phase=phase,
            step=step,
            steps=steps,
            active_bytes=mlx.active_bytes if mlx else None,
            peak_bytes=max(mlx.peak_bytes, *peaks, 0) if mlx else None,
            memory_limit_bytes=self.memory_limit_bytes,
        )

    @property
    def _phase(self) -> tuple[str, int | None, int | None]:
        if self.step_began_at is None:
            return self.where.removeprefix("while "), None, None
        if len(self.samples) < COMPILING_STEPS:
            return "compiling", len(self.samples) + 1, COMPILING_STEPS
        if not self.warmup_is_over:
            return "warm-up", len(self.samples) + 1, None
        if not self._in("settle"):
            return "settling", None, None
        steps = self.plan.measured_steps
        return "measuring", min(len(self._in("measure")) + 1, steps), steps

    def _in(self, phase: Phase) -> list[StepSample]:
        return [sample for sample in self.samples if sample.phase == phase]

    @property
    def largest_mlx_bytes(self) -> int:
        peaks = (sample.peak_memory_bytes for sample in self.samples)
        return max(self.guard.trace.largest_mlx_bytes, *peaks, 0)

    def result(self, end: Diagnosis) -> TrialResult:
        """Everything that was measured before the trial ended so."""
        warmup, settling, measured = self._in("warmup"), self._in("settle"), self._in("measure")
        last = self.samples[-1] if self.samples else None
        active = [sample.active_memory_bytes for sample in measured]
        footprints = _footprints(measured)
        before = [each for each in self.samples[COMPILING_STEPS:] if each.phase != "measure"]
        return TrialResult(
            model=self.model,
            config=self.config,
            outcome=end.outcome,
            reason=end.reason,
            remedy=end.remedy,
            conclusive=end.conclusive,
            warnings=(*self.guard.warnings, *self._leak_warnings(before, measured)),
            warmup_step_times_s=tuple(sample.step_time_s for sample in (*warmup, *settling)),
            step_times_s=tuple(sample.step_time_s for sample in measured),
            step_tokens=tuple(sample.tokens for sample in measured),
            loss=last.loss if last else None,
            minimum_memory_bytes=self.minimum_bytes,
            peak_memory_bytes=max((sample.peak_memory_bytes for sample in measured), default=None),
            active_memory_bytes=last.active_memory_bytes if last else None,
            cache_memory_bytes=last.cache_memory_bytes if last else None,
            footprint_bytes=self.guard.trace.largest_footprint_bytes,
            swap_growth_bytes=self.swap_growth_bytes,
            active_growth_bytes_per_step=growth_per_step(active),
            footprint_growth_bytes_per_step=growth_per_step(footprints),
            memory_limit_bytes=self.memory_limit_bytes,
        )

    def _leak_warnings(self, before: list[StepSample], measured: list[StepSample]) -> list[str]:
        held = {
            "MLX's active memory": [
                [each.active_memory_bytes for each in samples] for samples in (measured, before)
            ],
            "the footprint": [
                _footprints(measured),
                _footprints(before) + self._pool_bytes_by_peaks(before, measured),
            ],
        }
        return [
            f"{what} grew by {gigabytes(growth_per_step(values) or 0)} a step: something leaks"
            for what, (values, earlier) in held.items()
            if leaks(values, earlier)
        ]

    def _pool_bytes_by_peaks(
        self, before: list[StepSample], measured: list[StepSample]
    ) -> list[int]:
        """What a CUDA device's pools may hold: what they held, and as much as MLX's peak grew by.

        Measured steps may take more than warm-up steps, and the pools fill up to that in a while:
        by 0.2 to 0.3 GB a step over all ten, where nothing leaked (H200, 7B and 8B in 4 bits).
        """
        if self.pool_bytes is None or not before:
            return []
        held = max([self.pool_bytes, *_footprints(before)])
        # The last of them, which settles, takes as much as those that are measured.
        warm = min(each.peak_memory_bytes for each in before)
        return [held + max([0, *(each.peak_memory_bytes - warm for each in measured)])]


def _footprints(samples: list[StepSample]) -> list[int]:
    return [each.footprint_bytes for each in samples if each.footprint_bytes is not None]


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """One moment of it. Bytes and seconds.

    `phase` is what the worker does, in words; `step` counts from 1 within the phase, `steps` is how
    many it has, None where that is not known. Memory is MLX's, None before it was told, the peak
    that of the whole trial. `left_s` is None where nobody knows.
    """

    phase: str
    step: int | None
    steps: int | None
    active_bytes: int | None
    peak_bytes: int | None
    memory_limit_bytes: int
    left_s: float | None = None


Tell = Callable[[TrialProgress], None]
"""Hears of it, at the beginning and then a few times a second, between messages of the worker."""


def nobody_hears(progress: TrialProgress) -> None:
    """For runs that nobody looks at."""
