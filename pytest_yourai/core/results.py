"""Outcomes and results of trials."""

from __future__ import annotations

import enum
import math
import statistics
from dataclasses import dataclass, field

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.cycles import sums_of_cycles
from pytest_yourai.core.power import PowerTrace
from pytest_yourai.core.units import seconds


class Outcome(enum.StrEnum):
    """Outcome of a trial."""

    OK = "ok"
    OVER_BUDGET = "over_budget"
    OOM = "oom"
    PAGING = "paging"
    SAFETY_STOP = "safety_stop"
    MACHINE_CRASH = "machine_crash"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    INVALID_LOSS = "invalid_loss"
    ERROR = "error"
    PEER_LOST = "peer_lost"
    CONNECT_FAILED = "connect_failed"
    COLLECTIVE_STALLED = "collective_stalled"
    UNAVAILABLE = "unavailable"
    SKIPPED = "skipped"

    @property
    def is_memory_failure(self) -> bool:
        """True if it did not fit, by whatever sign."""
        return self in (
            Outcome.OVER_BUDGET,
            Outcome.OOM,
            Outcome.PAGING,
            Outcome.SAFETY_STOP,
            Outcome.MACHINE_CRASH,
        )

    @property
    def is_failure(self) -> bool:
        """True if something went wrong that memory does not explain."""
        return self in (
            Outcome.TIMEOUT,
            Outcome.CRASHED,
            Outcome.INVALID_LOSS,
            Outcome.ERROR,
            Outcome.PEER_LOST,
            Outcome.CONNECT_FAILED,
            Outcome.COLLECTIVE_STALLED,
        )

    @property
    def leaves_the_worker_usable(self) -> bool:
        """True if the worker can run the next trial."""
        return self in (Outcome.OK, Outcome.OVER_BUDGET)


class Overdue(enum.StrEnum):
    """The limit that a run was over when it ended as `timeout`."""

    ITEM = "item"
    STEP = "step"
    COMPILE = "compile"


LETTERS = dict(zip(Outcome, "✓BOPSMTCLERNKU–", strict=True))
"""One character for each outcome."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Size of a base model, quantized as it is measured."""

    parameters: int
    weight_bytes: int

    def is_at_least(self, other: ModelSize) -> bool:
        """True if it has no fewer parameters and no smaller weights: both cost memory."""
        return self.parameters >= other.parameters and self.weight_bytes >= other.weight_bytes


class SkipReason(enum.StrEnum):
    """Rule by which a trial was skipped."""

    PREDICTED_OVER_BUDGET = "predicted_over_budget"
    OVER_DEVICE_LIMIT = "over_device_limit"
    """Metal allows no array as large as one of its own, or not so many."""
    DOMINATED = "dominated"
    """A configuration, or a model, that needs no more had failed for memory."""
    SEARCH_IS_DONE = "search_is_done"
    SEARCHED_ELSEWHERE = "searched_elsewhere"
    """The fast search went on among the tests of another file or class."""
    INVALID = "invalid"
    """The model has too few layers for it, or the data too few rows."""
    CHECK_FAILED = "check_failed"
    """The safe configuration of its model had failed."""
    NOT_RECORDED = "not_recorded"


_PREDICTED = (SkipReason.PREDICTED_OVER_BUDGET, SkipReason.OVER_DEVICE_LIMIT)


@dataclass(frozen=True, slots=True)
class Skip:
    """A decision not to run a trial: the rule that made it, and what it found, in words."""

    rule: SkipReason
    reason: str
    remedy: str | None = None


class _WithOutcome:
    """Properties of results that have an outcome, and a reason and a remedy for it."""

    __slots__ = ()

    outcome: Outcome
    reason: str | None
    remedy: str | None
    conclusive: bool

    @property
    def success(self) -> bool:
        """True if the outcome is ok."""
        return self.outcome is Outcome.OK

    @property
    def error(self) -> str | None:
        """The reason and the remedy in one sentence; None for ok."""
        return f"{self.reason}; {self.remedy}" if self.reason and self.remedy else self.reason

    @property
    def prunes_larger(self) -> bool:
        """True if configurations that need no less would fail in the same way."""
        return self.outcome.is_memory_failure and self.conclusive


RECORDED_WITHOUT_BUDGET = "peak recorded without this budget"
"""The warning of a replayed trial whose peak is over the budget of the replay."""


@dataclass(frozen=True, slots=True)
class TrialResult(_WithOutcome):
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

    @classmethod
    def skipped(cls, model: str, config: LoraConfig, skip: Skip) -> TrialResult:
        """The result of a trial that is not run."""
        end = (Outcome.SKIPPED, skip.reason, skip.remedy, skip.rule)
        return cls(model, config, *end, started=False)

    @property
    def lacks_memory(self) -> bool:
        """True if it failed for memory, or was skipped as predicted to."""
        return self.outcome.is_memory_failure or self.skip_reason in _PREDICTED

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
    def exceeds_budget(self) -> bool:
        """True if its peak is over the budget, as that of a recording may be."""
        return (self.peak_memory_bytes or 0) > (self.memory_limit_bytes or math.inf)

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


@dataclass(frozen=True, slots=True)
class SoakResult(_WithOutcome):
    """Result of one soak. Bytes and seconds; None where it did not get far enough to be measured.

    `reason`, `remedy`, `warnings`, `conclusive`, `overdue`, `footprint_bytes` and
    `swap_growth_bytes` are as in a TrialResult. `asked_s` is how long it was to train, `duration_s`
    how long it did, from its first step on, without steps that compile. Growth per step is the
    robust slope over all others; of these `slowdown` is the median time per token of the last tenth
    over that of the first.
    """

    config: LoraConfig
    outcome: Outcome
    reason: str | None
    remedy: str | None
    warnings: tuple[str, ...]
    conclusive: bool
    asked_s: float
    duration_s: float
    steps: int
    peak_memory_bytes: int | None
    trial_peak_memory_bytes: int | None
    footprint_bytes: int | None
    active_growth_bytes_per_step: float | None
    footprint_growth_bytes_per_step: float | None
    slowdown: float | None
    first_tenth_step_time_s: float | None
    last_tenth_step_time_s: float | None
    swap_growth_bytes: int
    overdue: Overdue | None = None

    def rules_out(self, config: LoraConfig) -> bool:
        """True if it shows that `config` would not last either."""
        if self.success or config == self.config:
            return not self.success
        return self.prunes_larger and config.needs_at_least_as_much_as(self.config)


@dataclass
class Soak:
    """Value of the `soak` fixture: the soaks of one model, once the test was called."""

    item_id: str
    results: list[SoakResult] = field(default_factory=list)

    @property
    def survivor(self) -> SoakResult | None:
        """The first soak that succeeded; None if none has."""
        return next((each for each in self.results if each.success), None)
