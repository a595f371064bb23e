"""Thresholds of a regression check: their spelling, and the regressions beyond them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import GB, MB, format_change, gigabytes, seconds
from pytest_yourai.store.compare.comparison import Change, Comparison, Metric
from pytest_yourai.store.compare.noise import Slowdown, overall_slowdown, slower_configs

MEAN_STEP_TIME = "mean_step_time"
"""The geometric mean of the changes of step time over all configurations."""

_MEMORY_UNITS: dict[str, float] = {"B": 1, "kB": 1e3, "MB": MB, "GB": GB}

_UNITS: dict[Metric, dict[str, float]] = {
    Metric.MINIMUM_MEMORY: _MEMORY_UNITS,
    Metric.PEAK_MEMORY: _MEMORY_UNITS,
    Metric.STEP_TIME: {"us": 1e-6, "ms": 1e-3, "s": 1},
    Metric.TOKENS_PER_SECOND: {"": 1},
}

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([A-Za-z%]*)")

_MOST = 1e12


@dataclass(frozen=True, slots=True)
class Threshold:
    """The largest allowed worsening of a metric; a regression exceeds both `share` and `floor`.

    `metric` None stands for the geometric mean of step times over all configurations, which has no
    floor. `share` is 0.05 for 5 %, `floor` is in bytes, seconds or tokens per second.
    """

    metric: Metric | None
    share: float = 0.0
    floor: float = 0.0

    @property
    def time_share(self) -> float:
        """Allowed relative growth of step time: 25 % for a speed that may be lower by 20 %."""
        if self.metric is Metric.TOKENS_PER_SECOND:
            return self.share / (1 - self.share) if self.share < 1 else math.inf
        return self.share

    @property
    def name(self) -> str:
        return self.metric.value if self.metric else MEAN_STEP_TIME

    def __str__(self) -> str:
        """Its spelling in `--yourai-fail-on`: `step_time:10%+20ms`."""
        parts = [f"{self.share * 100:g}%"] if self.share or not self.floor else []
        if self.floor and self.metric:
            units = list(_UNITS[self.metric].items())
            unit, size = [*units[:1], *(each for each in units if each[1] <= self.floor)][-1]
            parts.append(f"{self.floor / size:g}{unit}")
        return f"{self.name}:{'+'.join(parts)}"


@dataclass(frozen=True, slots=True)
class RegressionThresholds:
    """All thresholds of a check. Without `fails`, regressions are reported but tolerated."""

    thresholds: tuple[Threshold, ...]
    fails: bool = True

    def __str__(self) -> str:
        text = ", ".join(map(str, self.thresholds))
        return text if self.fails else f"{text}; named only"


DEFAULT_THRESHOLDS = RegressionThresholds((
    Threshold(Metric.MINIMUM_MEMORY, 0.05),
    Threshold(None, 0.10),
    Threshold(Metric.STEP_TIME, 0.25),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Regression:
    """A change for the worse, in words. `config` is None if it concerns all configurations.

    Of step times `allowed_time_share` is the allowed growth, 0.1 for 10 %; else it is None.
    """

    config: LoraConfig | None
    text: str
    allowed_time_share: float | None = None


def make_thresholds(parsed: Sequence[tuple[Threshold, ...] | None]) -> RegressionThresholds:
    """The thresholds of all `parse_fail_on` results; the default ones if there are none."""
    thresholds = tuple(dict.fromkeys(each for found in parsed for each in found or ()))
    return RegressionThresholds(
        thresholds or DEFAULT_THRESHOLDS.thresholds, fails=None not in parsed
    )


def parse_fail_on(text: str) -> tuple[Threshold, ...] | None:
    """Thresholds of one flag: `METRIC:5%`, `METRIC:FLOOR`, `METRIC:5%+FLOOR`, or `default`.

    None for `none`. ValueError, in words, for everything else.
    """
    if text == "none":
        return None
    if text == "default":
        return DEFAULT_THRESHOLDS.thresholds
    name, colon, amounts = (part.strip() for part in text.partition(":"))
    names = [*(each.value for each in Metric), MEAN_STEP_TIME]
    if name not in names or not colon:
        raise ValueError(
            f"it must be METRIC:5%, METRIC one of {', '.join(names)}; or default, or none"
        )
    metric = None if name == MEAN_STEP_TIME else Metric(name)
    parts = [part.strip() for part in amounts.split("+")]
    shares = [part for part in parts if part.endswith("%")]
    floors = [part for part in parts if not part.endswith("%")]
    if len(shares) > 1 or len(floors) > 1:
        raise ValueError("it must have a percentage, a floor, or one of each with + between")
    if floors and metric is None:
        raise ValueError(f"{MEAN_STEP_TIME} is a mean of ratios: give a percentage alone")
    share = sum(_amount(each, {"%": 0.01}, "write a percentage as 5%") for each in shares)
    if metric is None:
        return (Threshold(None, share),)
    if metric is Metric.TOKENS_PER_SECOND and share >= 1:
        raise ValueError("nothing gets slower by 100 % or more: name a smaller percentage")
    units = _UNITS[metric]
    why = f"write a floor of {metric} as one of {', '.join(f'20{unit}' for unit in units)}"
    return (Threshold(metric, share, sum(_amount(each, units, why) for each in floors)),)


def _amount(text: str, units: dict[str, float], why: str) -> float:
    match = _AMOUNT.fullmatch(text)
    if match is None or match[2] not in units or float(match[1]) > _MOST:
        raise ValueError(f"{text!r} is not an amount: {why}")
    return float(match[1]) * units[match[2]]


def regressions(comparison: Comparison, gate: RegressionThresholds) -> list[Regression]:
    """The regressions beyond `gate`; configurations that no longer fit come first."""
    return [
        *_lost(comparison),
        *(found for threshold in gate.thresholds for found in _exceeding(comparison, threshold)),
    ]


def not_compared(comparison: Comparison, gate: RegressionThresholds) -> Iterator[str]:
    """The metrics of `gate` that cannot be compared, each with the reason."""
    for metric in dict.fromkeys(each.metric for each in gate.thresholds if each.metric):
        if lack := comparison.lacks(metric):
            yield f"{metric} is not compared: {lack}"


def _lost(comparison: Comparison) -> Iterator[Regression]:
    lost = [each for each in comparison.changes if each.no_longer_fits or each.no_longer_runs]
    for change in lost:
        what = "no longer fits" if change.no_longer_fits else "no longer runs"
        name = comparison.naming.name(change.config)
        yield Regression(change.config, f"{name}: {what}: {_ending(change.after)}")
    if comparison.fits_no_more is not None and not lost:
        name = comparison.naming.name(comparison.fits_no_more.config)
        ending = _ending(comparison.fits_no_more)
        yield Regression(None, f"nothing fits any more: {name}: {ending}")


def _ending(result: TrialResult | None) -> str:
    return f"{result.outcome.replace('_', ' ')}: {result.error}" if result else ""


def _exceeding(comparison: Comparison, threshold: Threshold) -> Iterator[Regression]:
    if threshold.metric is None:
        slowdown = overall_slowdown(comparison)
        if slowdown is not None and slowdown.is_surely_over(threshold.share):
            mean = mean_change(slowdown, f"allowed {_allowed(threshold)}")
            yield Regression(None, f"all configurations: {mean}", threshold.share)
        return
    metric = threshold.metric
    if comparison.lacks(metric):
        return
    slower = None
    if metric.is_time:
        is_per_token = metric is Metric.TOKENS_PER_SECOND
        slower = slower_configs(comparison, threshold.time_share, per_token=is_per_token)
    for change in comparison.changes:
        is_noise = slower is not None and change.config not in slower
        if not is_noise and (found := _worse(comparison, change, threshold, metric)):
            allowed = _allowed_time_share(change, threshold) if metric.is_time else None
            yield Regression(change.config, found, allowed)


def _allowed_time_share(change: Change, threshold: Threshold) -> float:
    """The growth of the step time that a threshold allows, its floor included."""
    before = change.successes[0].step_time_s if change.successes else None
    floor_s = threshold.floor if threshold.metric is Metric.STEP_TIME else 0.0
    return max(threshold.time_share, floor_s / before if before else 0.0)


def _worse(
    comparison: Comparison, change: Change, threshold: Threshold, metric: Metric
) -> str | None:
    """The regression beyond `threshold` in words; None if there is none."""
    values = change.values(metric)
    if values is None:
        return None
    before, after = values
    growth = before - after if metric is Metric.TOKENS_PER_SECOND else after - before
    share = growth / before
    if share <= threshold.share or growth <= threshold.floor:
        return None
    name = comparison.naming.name(change.config)
    return (
        f"{name}: {metric} {format_amount(metric, before)} before, "
        f"{format_amount(metric, after)} now "
        f"({format_change(after / before - 1)}, allowed {_allowed(threshold)})"
    )


def mean_change(slowdown: Slowdown, *more: str) -> str:
    """`step times +20.0 % (geometric mean of the fastest steps, …)`, with `more` to be known."""
    known = (
        "geometric mean of the fastest steps",
        f"middle third of {slowdown.configurations}",
        f"standard error {slowdown.log_error * 100:.1f} %",
    )
    return f"step times {format_change(slowdown.share)} ({', '.join((*known, *more))})"


def _allowed(threshold: Threshold) -> str:
    return str(threshold).partition(":")[2]


def format_amount(metric: Metric, value: float) -> str:
    """A value of `metric` with its unit."""
    match metric:
        case Metric.STEP_TIME:
            return seconds(value)
        case Metric.TOKENS_PER_SECOND:
            return f"{value:,.0f} tokens/s"
        case _:
            return gigabytes(value)
