"""Schemas of the rows of a profile and of a journal: trials and soaks.

MB means 1e6 bytes. Each model reads what it writes; `TrialRow` also reads rows of older profiles
and of other programs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Annotated, Any, Self, cast

import pydantic

from pytest_yourai.core.figures import Duration, FiniteLoss, StepTime
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.power import PowerSource, PowerState, PowerTrace
from pytest_yourai.core.results import RankResult, TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import MB, scaled
from pytest_yourai.store.config_rows import ConfigRow, configuration
from pytest_yourai.store.foreign_rows import completed, earlier_skip_reason
from pytest_yourai.store.schema import (
    Amount,
    Count,
    Growth,
    OutcomeName,
    OverdueName,
    Row,
    SkipName,
    ThermalName,
)

_S_PER_MINUTE = 60

_OF_GROUPS = ("ranks", "all_sum_time_s", "all_sum_bytes", "communication_share")
"""Keys of trials of several ranks alone."""

Computed = Annotated[Amount | None, pydantic.BeforeValidator(lambda _: None)]
"""Computed from the other keys for people and programs, and ignored when a row is read."""


class PowerStateRow(Row):
    """Power supply and heat at one moment."""

    source: PowerSource | None = None
    charge_percent: Count | None = None
    low_power_mode: bool | None = None
    thermal: ThermalName = None
    speed_limit_percent: Count | None = None

    @property
    def state(self) -> PowerState:
        return PowerState(**{name: getattr(self, name) for name in type(self).model_fields})


class PowerRow(Row):
    """Power supply and heat over one trial."""

    start: PowerStateRow
    worst: PowerStateRow
    end: PowerStateRow

    @classmethod
    def of(cls, trace: PowerTrace | None) -> Self | None:
        return None if trace is None else cls.model_validate(dataclasses.asdict(trace))

    @property
    def trace(self) -> PowerTrace:
        return PowerTrace(self.start.state, self.worst.state, self.end.state)


class RankRow(Row):
    """What one rank of a group measured."""

    minimum_memory_bytes: Count
    peak_memory_bytes: Count
    step_time_s: StepTime


class TrialRow(ConfigRow):
    """One trial: a row of `all_results`, and a `trial_complete` of a journal."""

    outcome: OutcomeName
    success: Annotated[bool, pydantic.BeforeValidator(lambda _: False)] = False
    error: str | None
    skip_reason: SkipName = None
    overdue: OverdueName = None
    remedy: str | None = None
    warnings: list[str]
    started: bool
    conclusive: bool
    kept: bool = False
    peak_memory_mb: Computed = None
    minimum_memory_mb: Computed = None
    safe_memory_mb: Computed = None
    step_time_ms: Computed = None
    update_time_s: Computed = None
    update_time_ms: Computed = None
    tokens_per_second: Computed = None
    throughput_score: Annotated[Count | None, pydantic.BeforeValidator(lambda _: None)] = None
    epoch_time_s: Amount | None = None
    trained_parameters: Count | None = None
    loss: FiniteLoss | None
    warmup_step_times_s: list[StepTime]
    step_times_s: list[StepTime]
    step_tokens: list[Count]
    survey_step_times_s: list[StepTime] = pydantic.Field(default_factory=list)
    minimum_memory_bytes: Count | None
    peak_memory_bytes: Count | None
    active_memory_bytes: Count | None
    cache_memory_bytes: Count | None
    footprint_bytes: Count | None
    swap_growth_bytes: Count | None
    active_growth_mb_per_step: Amount | None
    footprint_growth_mb_per_step: Amount | None
    predicted_minimum_memory_bytes: Count | None
    predicted_peak_memory_bytes: Count | None = None
    load_time_s: Duration | None = None
    compile_time_s: Duration | None = None
    power: PowerRow | None = None
    ranks: list[RankRow] = pydantic.Field(default_factory=list)
    all_sum_time_s: Duration | None = None
    all_sum_bytes: Count | None = None
    communication_share: Computed = None

    @classmethod
    def from_result(cls, result: TrialResult) -> Self:
        values = _row_values(cls, result) | {"power": PowerRow.of(result.power)}
        values["ranks"] = [
            RankRow.model_validate(dataclasses.asdict(each)) for each in result.ranks
        ]
        if result.outcome is Outcome.OVER_BUDGET:
            values["peak_memory_mb"] = values["minimum_memory_mb"]
        if result.step_time_s is not None:
            values["step_time_ms"] = round(result.step_time_s * 1e3, 4)
        if result.update_time_s is not None:
            values["update_time_ms"] = round(result.update_time_s * 1e3, 4)
        score = result.config.throughput_score
        row: Self = cls.model_construct(**values, throughput_score=score)
        return row

    def as_json(self) -> dict[str, Any]:
        values: dict[str, Any] = super().as_json()
        if not self.ranks:
            for name in _OF_GROUPS:
                del values[name]
        return values

    @pydantic.model_validator(mode="before")
    @classmethod
    def _complete(cls, row: Any, info: pydantic.ValidationInfo) -> Any:
        """The row, with what rows of other programs lack.

        These are read where the context names the `usual_seq_length`, in tokens.
        """
        if not isinstance(row, dict):
            # Pydantic takes a ValueError for a mistake in the row.
            raise ValueError("it must be an object with batch_size and so on")  # noqa: TRY004
        required = _required(cast("Any", cls))
        if info.context is not None and not required <= row.keys():
            row = dict.fromkeys(required) | completed(row, info.context["usual_seq_length"])
        if info.context is not None and "lora_keys" not in row:
            row = {**row, "lora_keys": info.context["usual_keys"]}
        if "skip_reason" not in row:
            row = {**row, "skip_reason": earlier_skip_reason(row)}
        return row

    @pydantic.model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.outcome is not Outcome.OK:
            return self
        if not (self.step_times_s and self.minimum_memory_bytes and self.peak_memory_bytes):
            raise ValueError("an ok trial has step times, a minimum and a peak")
        if len(self.step_tokens) != len(self.step_times_s):
            raise ValueError("an ok trial has as many step_tokens as step_times_s")
        return self

    def to_result(self, model: str, memory_limit_bytes: int | None = None) -> TrialResult:
        """The trial, of `model` and under the limit, which the file says once for all rows."""
        values = _result_values(self, TrialResult)
        values["power"] = None if self.power is None else self.power.trace
        values["ranks"] = tuple(RankResult(**each.model_dump()) for each in self.ranks)
        return TrialResult(**values, model=model, memory_limit_bytes=memory_limit_bytes)


class SoakRow(ConfigRow):
    """One soak: a row of `soak`, and a `soak_complete` of a journal."""

    outcome: OutcomeName
    success: bool = False
    error: str | None = None
    remedy: str | None = None
    warnings: list[str] = pydantic.Field(default_factory=list)
    conclusive: bool = True
    overdue: OverdueName = None
    asked_minutes: Amount
    minutes: Amount
    steps: Count
    peak_memory_mb: Amount | None = None
    trial_peak_memory_mb: Amount | None = None
    footprint_bytes: Count | None = None
    active_growth_mb_per_step: Amount | None = None
    footprint_growth_mb_per_step: Amount | None = None
    slowdown: Amount | None = None
    first_tenth_step_time_s: Amount | None = None
    last_tenth_step_time_s: Amount | None = None
    swap_growth_bytes: Growth = 0

    @classmethod
    def from_result(cls, soak: SoakResult) -> Self:
        row: Self = cls.model_construct(
            **_row_values(cls, soak),
            asked_minutes=soak.asked_s / _S_PER_MINUTE,
            minutes=soak.duration_s / _S_PER_MINUTE,
        )
        return row

    def to_result(self) -> SoakResult:
        return SoakResult(
            **_result_values(self, SoakResult),
            asked_s=self.asked_minutes * _S_PER_MINUTE,
            duration_s=self.minutes * _S_PER_MINUTE,
        )


@functools.cache
def _required(row: Any) -> AbstractSet[str]:
    return {name for name, field in row.model_fields.items() if field.is_required()}


def _row_values(row: type[Row], result: TrialResult | SoakResult) -> dict[str, Any]:
    """What `result` has, computed or not, under the names of the row, or in bytes for its MB."""
    values = configuration(result.config)
    for name in row.model_fields:
        in_bytes = name.replace("_mb", "_bytes")
        if hasattr(result, name):
            value = getattr(result, name)
            values[name] = list(value) if isinstance(value, tuple) else value
        elif hasattr(result, in_bytes):
            values[name] = scaled(getattr(result, in_bytes), MB)
    return values


def _result_values(
    row: TrialRow | SoakRow, result: type[TrialResult | SoakResult]
) -> dict[str, Any]:
    """Fields of `result` that the row has, under the same name or in MB."""
    values: dict[str, Any] = {"reason": row.error and row.error.removesuffix(f"; {row.remedy}")}
    as_they_are, in_mb = _sources(cast("Any", type(row)), cast("Any", result))
    for name, value in zip(as_they_are, attrgetter(*as_they_are)(row), strict=True):
        values[name] = tuple(value) if type(value) is list else value
    for name, source in in_mb:
        count_mb = getattr(row, source)
        count = count_mb and count_mb * MB
        values[name] = round(count) if count and name.endswith("_bytes") else count
    return values


@functools.cache
def _sources(row: Any, result: Any) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Fields of the class `result` that the class `row` has too, and those with its own in MB."""
    names = [each.name for each in dataclasses.fields(result)]
    known = {*row.model_fields, *dir(row)}
    in_mb = [(name, name.replace("_bytes", "_mb")) for name in names if name not in known]
    return (
        tuple(name for name in names if name in known),
        tuple((name, source) for name, source in in_mb if source in known),
    )
