"""Noise of measured steps: how far they spread, which stand out, and which speeds differ at all.

The noise of a trial is 1.4826 times the median absolute deviation of its steps, relative to their
median: the standard deviation, if few steps stand out. Two speeds differ if their ranges, each
the speed ± its noise, do not overlap.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_yourai.core.cycles import whole_cycles
from pytest_yourai.core.results import TrialResult

DEVIATION_OF_A_NORMAL = 1.4826
"""Its standard deviation over its median absolute deviation."""

_LEAST_STEPS = 3
"""Fewer show no spread."""

_OUTLYING_DEVIATIONS = 5.0

_LEAST_OUTLYING_SHARE = 0.1
"""Nearer to the median no step counts as an outlier, however alike the others are."""


@dataclass(frozen=True, slots=True)
class Noise:
    """`share` is 0.03 for ± 3 % of the median; `outliers` counts the steps that stand out."""

    share: float
    outliers: int

    @property
    def percent(self) -> str:
        """`3.1 %`; with an exclamation mark if steps stand out."""
        return f"{self.share * 100:.1f} %{'!' if self.outliers else ''}"

    def __str__(self) -> str:
        """`± 3.1 %`, as `percent`."""
        return f"± {self.percent}"


def noise_of(result: TrialResult) -> Noise | None:
    """The noise of whole cycles, or of steps within them; None for fewer than three of either."""
    per_token = len(set(result.step_tokens)) > 1
    times_s = comparable_times(result, per_token=per_token)
    if len(times_s) < _LEAST_STEPS:
        times_s = comparable_times(_without_updates(result), per_token=per_token)
    if len(times_s) < _LEAST_STEPS:
        return None
    middle, deviation = statistics.median(times_s), robust_deviation(times_s)
    least = max(_OUTLYING_DEVIATIONS * deviation, _LEAST_OUTLYING_SHARE * middle)
    return Noise(deviation / middle, sum(abs(each - middle) > least for each in times_s))


def _without_updates(result: TrialResult) -> TrialResult:
    """Its steps as those of no cycle, without the last of each, which updates and takes longer."""
    accumulation = result.config.grad_accumulation_steps
    if accumulation == 1:
        return result
    positions = range(1, len(result.step_times_s) + 1)
    is_alike = [position % accumulation > 0 for position in positions]
    return dataclasses.replace(
        result,
        config=dataclasses.replace(result.config, grad_accumulation_steps=1),
        step_times_s=tuple(itertools.compress(result.step_times_s, is_alike)),
        step_tokens=tuple(itertools.compress(result.step_tokens, is_alike)),
    )


def robust_deviation(values: Sequence[float]) -> float:
    """The standard deviation of normal `values`, of which up to half may be anything."""
    middle = statistics.median(values)
    return DEVIATION_OF_A_NORMAL * statistics.median(abs(each - middle) for each in values)


def comparable_times(result: TrialResult, *, per_token: bool) -> list[float]:
    """Times of the measured steps, or of their tokens: rows may have different lengths.

    Of accumulated steps those of whole cycles, where one takes what an update takes.
    """
    accumulation = result.config.grad_accumulation_steps
    if len(result.step_times_s) < accumulation:
        accumulation = 1
    times_s = [sum(each) for each in whole_cycles(result.step_times_s, accumulation)]
    if not (per_token and result.step_tokens and all(result.step_tokens)):
        return [time_s / accumulation for time_s in times_s]
    tokens = [sum(each) for each in whole_cycles(result.step_tokens, accumulation)]
    return [time_s / count for time_s, count in zip(times_s, tokens, strict=True)]


def is_surely_faster(result: TrialResult, other: TrialResult) -> bool:
    """True if noise alone does not explain that `result` has more tokens per second."""
    if (result.tokens_per_second or 0.0) <= (other.tokens_per_second or 0.0):
        return False  # whatever the noise, which takes long to find for all pairs of a table
    return _speeds(result)[0] > _speeds(other)[1]


def as_fast_as_the_fastest(results: Iterable[TrialResult]) -> list[TrialResult]:
    """The fastest result that is ok, and those that noise may have put behind it; fastest first."""
    fastest_first = sorted(
        (each for each in results if each.success and each.tokens_per_second),
        key=lambda each: each.tokens_per_second or 0.0,
        reverse=True,
    )
    return [each for each in fastest_first if not is_surely_faster(fastest_first[0], each)]


def noise_line(results: Sequence[TrialResult]) -> str | None:
    """The sentence on an order that noise could have made; None if one is surely the fastest.

    Also None where nothing is known of the noise of any of them, as after fewer than three steps.
    """
    near = as_fast_as_the_fastest(results)
    if len(near) <= 1 or not any(map(noise_of, near)):
        return None
    return f"The {len(near)} fastest are within noise of each other: their ranges (±) overlap"


def _speeds(result: TrialResult) -> tuple[float, float]:
    """The least and the most that its speed may be, in tokens per second."""
    speed, noise = result.tokens_per_second or 0.0, noise_of(result)
    share = noise.share if noise else 0.0
    return speed * max(0.0, 1 - share), speed * (1 + share)
