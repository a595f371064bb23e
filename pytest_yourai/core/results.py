"""Results of trials."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.cycles import sums_of_cycles
from pytest_yourai.core.outcomes import Outcome, Overdue, Skip, SkipReason, WithOutcome
from pytest_yourai.core.power import PowerTrace
from pytest_yourai.core.units import seconds


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Size of a base model, quantized as it is measured."""

    parameters: int
    weight_bytes: int

    def is_at_least(self, other: ModelSize) -> bool:
        """True if it has no fewer parameters and no smaller weights: both cost memory."""
        return self.parameters >= other.parameters and self.weight_bytes >= other.weight_bytes


@dataclass(frozen=True, slots=True)
class RankResult:
    """What one rank of a group measured of a trial: bytes, and its median step in seconds."""

    minimum_memory_bytes: int
    peak_memory_bytes: int
    step_time_s: float


_HELD_BACK = 0.9
"""A peak from this share of MLX's limit on was held back by it; one below it was not."""

_NOISE_OF_PEAKS = 0.05
"""Predicted and measured peaks that differ by less than this are taken for equal."""

RECORDED_WITHOUT_BUDGET = "peak recorded without this budget"
"""The warning of a replayed trial whose peak is over the budget of the replay."""


@dataclass(frozen=True, slots=True)
class TrialResult(WithOutcome):
    """Result of one trial. Bytes and seconds; None where it did not get so far."""

    model: str
    config: LoraConfig
    outcome: Outcome
    reason: str | None = None
    """The cause of a failure or a skip."""
    remedy: str | None = None
    skip_reason: SkipReason | None = None
    overdue: Overdue | None = None
    """None unless it ended as `timeout`."""
    warnings: tuple[str, ...] = ()
    started: bool = True
    """False where no trial was run."""
    conclusive: bool = True
    """False where the outcome depends on the moment: other programs had taken the memory."""
    kept: bool = False
    """True if an earlier run measured it."""
    warmup_step_times_s: tuple[float, ...] = ()
    """The last are those of the settling steps, one for each padded shape."""
    step_times_s: tuple[float, ...] = ()
    step_tokens: tuple[int, ...] = ()
    """Tokens of each measured step that are not masked."""
    survey_step_times_s: tuple[float, ...] = ()
    """Of batches of real data that are shorter than all measured ones; none where these are few."""
    loss: float | None = None
    """Loss of the last step."""
    minimum_memory_bytes: int | None = None
    """MLX peak of a step under the lowest memory limit."""
    peak_memory_bytes: int | None = None
    """Largest MLX peak of the measured steps, under `memory_limit_bytes` ÷ 1.15."""
    active_memory_bytes: int | None = None
    """MLX's active memory after the last step, adapters still on."""
    cache_memory_bytes: int | None = None
    footprint_bytes: int | None = None
    """Most that the worker grew since before it loaded the model; on CUDA the device's use."""
    swap_growth_bytes: int | None = None
    active_growth_bytes_per_step: float | None = None
    """Robust slope over the measured steps; that of the footprint likewise."""
    footprint_growth_bytes_per_step: float | None = None
    predicted_minimum_memory_bytes: int | None = None
    predicted_peak_memory_bytes: int | None = None
    """Predicted MLX peak where nothing limits it, as under mlx_lm.lora."""
    memory_limit_bytes: int | None = None
    """The budget of the sweep."""
    epoch_time_s: float | None = None
    """Time for one epoch of real data at the pace of the measured steps."""
    trained_parameters: int | None = None
    """Of the adapters, or of the trained layers; None where the model was not built."""
    size: ModelSize | None = None
    load_time_s: float | None = None
    """None where the worker had loaded the model for an earlier trial."""
    compile_time_s: float | None = None
    """Of all steps that compiled, from their beginning to their end."""
    power: PowerTrace | None = None
    """Power supply and heat of the machine; None where nothing is known of them."""
    ranks: tuple[RankResult, ...] = ()
    """Of a trial of several ranks, whose largest figures are the trial's; else none."""
    all_sum_time_s: float | None = None
    """Median time for which the ranks sum `all_sum_bytes`, the gradients of one update."""
    all_sum_bytes: int | None = None

    @classmethod
    def skipped(cls, model: str, config: LoraConfig, skip: Skip) -> TrialResult:
        """The result of a trial that is not run."""
        end = (Outcome.SKIPPED, skip.reason, skip.remedy, skip.rule)
        return cls(model, config, *end, started=False)

    @property
    def lacks_memory(self) -> bool:
        """True if it failed for memory, or was skipped as predicted to."""
        return self.outcome.is_memory_failure or (
            self.skip_reason is not None and self.skip_reason.is_predicted
        )

    @property
    def _steps_of_a_cycle(self) -> int:
        """1 where no cycle was completed."""
        steps = self.config.grad_accumulation_steps
        return steps if len(self.step_times_s) >= steps else 1

    @property
    def _cycle_times_s(self) -> list[float]:
        return sums_of_cycles(self.step_times_s, self._steps_of_a_cycle)

    @property
    def step_time_s(self) -> float | None:
        """Median of the measured steps; of accumulated ones, of their means over whole cycles."""
        times_s = self._cycle_times_s
        return statistics.median(times_s) / self._steps_of_a_cycle if times_s else None

    @property
    def update_time_s(self) -> float | None:
        """Median time for an update of the optimizer, with all the steps that accumulate for it."""
        step_time_s = self.step_time_s
        return None if step_time_s is None else step_time_s * self.config.grad_accumulation_steps

    @property
    def tokens_per_second(self) -> float | None:
        """By the median cycle where all have as many tokens, else over all whole cycles."""
        times_s, steps = self._cycle_times_s, self._steps_of_a_cycle
        if not times_s or not self.step_tokens:
            return None
        tokens = sums_of_cycles(self.step_tokens, steps)
        if len(set(tokens)) == 1:
            return tokens[0] / statistics.median(times_s)
        return sum(tokens) / sum(times_s)

    @property
    def communication_share(self) -> float | None:
        """The time of an update's sum over that of the update; None for one process."""
        update_time_s = self.update_time_s
        if self.all_sum_time_s is None or not update_time_s:
            return None
        return self.all_sum_time_s / update_time_s

    @property
    def exceeds_budget(self) -> bool:
        """True if its peak is over the budget, as that of a recording may be."""
        return (self.peak_memory_bytes or 0) > (self.memory_limit_bytes or math.inf)

    @property
    def unlimited_peak_bytes(self) -> int | None:
        """What it would take without the limit that held it back, by estimate; None if none did."""
        peak_bytes, predicted_bytes = self.peak_memory_bytes, self.predicted_peak_memory_bytes
        if not (peak_bytes and predicted_bytes and self.memory_limit_bytes):
            return None
        was_held = peak_bytes >= _HELD_BACK * self.memory_limit_bytes / SAFETY_MARGIN
        is_more = predicted_bytes > (1 + _NOISE_OF_PEAKS) * peak_bytes
        return predicted_bytes if was_held and is_more and not self.exceeds_budget else None

    @property
    def safe_memory_bytes(self) -> int | None:
        """The budget that this configuration needs: the minimum with its margin."""
        if self.minimum_memory_bytes is None:
            return None
        return round(self.minimum_memory_bytes * SAFETY_MARGIN)


def pace(result: TrialResult) -> str:
    """`27ms/step`, and `27ms/step, 0.11s/update` where gradients are accumulated."""
    found = f"{seconds(result.step_time_s or 0)}/step"
    if result.config.grad_accumulation_steps > 1:
        found += f", {seconds(result.update_time_s or 0)}/update"
    return found
