"""Cycles: the steps whose gradients are accumulated for one update of the optimizer."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_yourai.core.config import COMPILING_STEPS, LoraConfig, StepPlan, minimum_memory_bytes

_Value = TypeVar("_Value")

_Number = TypeVar("_Number", int, float)

MOST_SURVEYED = 3
"""Batches of a survey."""

_TIMED_ROUNDS = 2
"""Times that each of them is timed; once where gradients are accumulated, whose cycles are long."""


def whole_cycles(values: Sequence[_Value], accumulation: int) -> list[Sequence[_Value]]:
    """The values of steps, by cycles of so many; what does not fill one at the end is left out."""
    ends = range(accumulation, len(values) + 1, accumulation)
    return [values[end - accumulation : end] for end in ends]


def sums_of_cycles(values: Sequence[_Number], accumulation: int) -> list[_Number]:
    """The sums of the values of steps, by cycles of so many."""
    if accumulation == 1:  # thousands of results are compared by their speeds
        return list(values)
    return [sum(each[1:], start=each[0]) for each in whole_cycles(values, accumulation)]


def rounded_up(steps: int, accumulation: int) -> int:
    """So many steps, and what completes their last cycle."""
    return -(-steps // accumulation) * accumulation


@dataclass(frozen=True, slots=True)
class TrialSteps:
    """The steps of a trial by its plan, in whole cycles of `accumulation` steps.

    mlx-lm compiles steps that begin, continue and end a cycle apart, and they need unequal memory:
    warm-up compares whole cycles. It has as many as hold the plan's steps, but one more than those
    that compile at least, and room for a second.
    """

    plan: StepPlan
    accumulation: int = 1

    @classmethod
    def of(cls, plan: StepPlan, config: LoraConfig) -> TrialSteps:
        """Those of a trial of `config`."""
        return cls(plan, config.grad_accumulation_steps)

    @property
    def _warmup(self) -> StepPlan:
        """The plan of warm-up, with cycles for steps."""
        if self.accumulation == 1:
            return self.plan
        least = max(COMPILING_STEPS + 1, -(-self.plan.warmup_steps // self.accumulation))
        most = max(COMPILING_STEPS + 2, -(-self.plan.max_warmup_steps // self.accumulation))
        return StepPlan(1, least, max(least, most), self.plan.warmup_tolerance)

    def warmup_is_over(self, step_times_s: Sequence[float]) -> bool:
        """True if warm-up may end after steps that took `step_times_s` (seconds, in order)."""
        if len(step_times_s) % self.accumulation:
            return False
        cycles = whole_cycles(step_times_s, self.accumulation)
        return self._warmup.warmup_is_over([sum(each) for each in cycles])

    def minimum_bytes(self, warmup_peaks: Sequence[int]) -> int:
        """Minimum memory from the MLX peaks of one or more whole cycles, in order.

        An update needs all that its steps need: the largest of the medians of those that begin,
        continue and end a cycle. The first cycle is left out if there are others. The largest step
        itself would almost always be one that released a buffer late, of 16 on the CPU by 0.5 %.
        """
        if self.accumulation == 1:
            return minimum_memory_bytes(warmup_peaks)
        cycles = whole_cycles(warmup_peaks, self.accumulation)
        later = cycles[1:] or cycles
        kinds = (
            [cycle[0] for cycle in later],
            [peak for cycle in later for peak in cycle[1:-1]],
            [cycle[-1] for cycle in later],
        )
        return max(statistics.median_low(peaks) for peaks in kinds if peaks)

    @property
    def compiling_steps(self) -> int:
        """The first steps, all of whose kinds compile."""
        return COMPILING_STEPS * self.accumulation

    @property
    def measured_steps(self) -> int:
        """The plan's, and what completes their last cycle."""
        return rounded_up(self.plan.measured_steps, self.accumulation)

    @property
    def most_steps(self) -> int:
        """Upper bound of the steps of a trial: each measured cycle may have a shape to settle."""
        warmup = self._warmup.max_warmup_steps * self.accumulation
        return warmup + 2 * self.measured_steps + len(self.survey(range(MOST_SURVEYED)))

    def survey(self, batches: Sequence[_Value]) -> list[_Value]:
        """The `batches` of survey steps, in whole cycles: once to compile, then to be timed."""
        once = rounded_up(len(batches), self.accumulation)
        return list(itertools.islice(itertools.cycle(batches), once)) * self._survey_rounds

    def timed_survey(self, steps: Sequence[_Value]) -> Sequence[_Value]:
        """Those of the `steps` of a whole survey that do not compile; none of a part of it."""
        rounds = self._survey_rounds
        return steps[len(steps) // rounds :] if len(steps) % rounds == 0 else ()

    @property
    def _survey_rounds(self) -> int:
        return 1 + (_TIMED_ROUNDS if self.accumulation == 1 else 1)

    def ends_cycle(self, step: int) -> bool:
        """True if the weights change in the step, counted from 1."""
        return step % self.accumulation == 0
