"""What is known of a trial while it runs, and the result that it becomes, however it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_yourai.config import LoraConfig, StepPlan, minimum_memory_bytes
from pytest_yourai.engine.protocol import StepSample
from pytest_yourai.memory import SystemMemory
from pytest_yourai.results import Outcome, TrialResult


@dataclass
class TrialRecord:
    """The steps that a worker streamed so far. `where` says what it is doing, in words."""

    model: str
    config: LoraConfig
    plan: StepPlan
    memory_limit_bytes: int
    before: SystemMemory
    where: str = "while the worker started"
    samples: list[StepSample] = field(default_factory=list)
    resident_before_bytes: int | None = None

    def loading(self) -> None:
        self.where = "while the model was loaded"

    def started(self, resident_bytes: int | None) -> None:
        """The worker holds the model and `resident_bytes`, where that is known."""
        self.where = "in step 1"
        self.resident_before_bytes = resident_bytes

    def add(self, sample: StepSample) -> None:
        self.samples.append(sample)
        self.where = f"in step {len(self.samples) + 1}"

    @property
    def largest_peak_bytes(self) -> int:
        return max((sample.peak_memory_bytes for sample in self.samples), default=0)

    def resident_growth_bytes(self, largest_resident_bytes: int) -> int:
        """How much of the most that the process ever held came with the trial."""
        if self.resident_before_bytes is None:
            return 0
        return max(0, largest_resident_bytes - self.resident_before_bytes)

    def result(
        self,
        outcome: Outcome,
        reason: str | None,
        *,
        footprint_bytes: int | None = None,
        after: SystemMemory | None = None,
    ) -> TrialResult:
        """Everything that was measured before the trial ended with `outcome`."""
        warmup = [sample for sample in self.samples if sample.phase == "warmup"]
        settling = [sample for sample in self.samples if sample.phase == "settle"]
        measured = [sample for sample in self.samples if sample.phase == "measure"]
        warmup_is_over = self.plan.warmup_is_over([sample.step_time_s for sample in warmup])
        last = self.samples[-1] if self.samples else None
        return TrialResult(
            model=self.model,
            config=self.config,
            outcome=outcome,
            reason=reason,
            warmup_step_times_s=tuple(sample.step_time_s for sample in (*warmup, *settling)),
            step_times_s=tuple(sample.step_time_s for sample in measured),
            step_tokens=tuple(sample.tokens for sample in measured),
            loss=last.loss if last else None,
            minimum_memory_bytes=minimum_memory_bytes(
                [sample.peak_memory_bytes for sample in warmup]
            )
            if warmup_is_over
            else None,
            peak_memory_bytes=max((sample.peak_memory_bytes for sample in measured), default=None),
            active_memory_bytes=last.active_memory_bytes if last else None,
            cache_memory_bytes=last.cache_memory_bytes if last else None,
            footprint_bytes=footprint_bytes,
            swap_growth_bytes=max(0, after.swap_used_bytes - self.before.swap_used_bytes)
            if after
            else None,
            memory_limit_bytes=self.memory_limit_bytes,
        )
