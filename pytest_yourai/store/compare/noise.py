"""Statistical tests that tell changes of step times from noise.

On a machine that others use too one and the same program is slower or faster from run to run, and
single trials are by half, since the machine is. To keep that apart from a change of the program:

- What others do only ever makes a step longer: each trial is judged by its fastest measured step.
- All configurations together got slower where the geometric mean of their changes, over the middle
  third of them (a trimmed mean, as busy moments hit whole trials), is above the threshold, and its
  logarithm above its standard error.
- One configuration got slower where its median step and its fastest are above the threshold, its
  steps are longer by a one-sided Mann-Whitney test at 5 %, and the change stands out: by five
  robust standard deviations (1.48 times the median absolute deviation) of all configurations'
  changes, since many are judged at once, and beyond the largest change in the other direction. A
  half of them that is slower does not pass for noise.

Measured (`tests/performance/regressions.py`) on a virtual machine whose two cores others share, so
that for seconds at a time every step takes 1.55 times as long as a moment before: of two times 20
pairs of equal runs of `tiny --quick` 2 and 4 had a false regression, and of slow-downs by 20 % that
were planted into them 20 and 18 were found (then the machine's own pace, timed beside each trial,
was still subtracted). By medians over all steps and configurations alone the mean of 17 to 25 % of
such pairs is more than 10 % off. Where a whole run falls into a busy time, no statistics of two
runs can tell.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_yourai.core.noise import DEVIATION_OF_A_NORMAL, comparable_times, robust_deviation

if TYPE_CHECKING:
    from pytest_yourai.core.config import LoraConfig
    from pytest_yourai.core.results import TrialResult
    from pytest_yourai.store.compare.comparison import Change, Comparison


_STANDARD_DEVIATIONS = 5.0

_ERROR_OF_THE_MIDDLE = 1.2
"""Standard error of the mean of a normal's middle third, over that of its mean."""

_LEAST_STEPS = 4
"""With fewer on either side the test of Mann and Whitney cannot tell anything at 5 %."""

_LEAST_CONFIGURATIONS = 4
"""With fewer their deviation says nothing."""

_SURE = 0.05


@dataclass(frozen=True, slots=True)
class Slowdown:
    """The geometric mean of the middle third of the changes of fastest steps, of one comparison.

    `share` is 0.1 for 10 % more time; `log_error` is the standard error of its logarithm, 0 with
    too few configurations.
    """

    share: float
    log_error: float
    configurations: int

    def is_surely_over(self, share: float) -> bool:
        """True if it exceeds both the threshold `share` and the noise."""
        return self.share > share and math.log1p(self.share) > self.log_error


def overall_slowdown(comparison: Comparison) -> Slowdown | None:
    """Slowdown over all configurations that are ok in both runs; None if there is none."""
    logs = sorted(_log_changes(comparison, per_token=False).values())
    if not logs:
        return None
    outside = len(logs) // 3
    middle = statistics.fmean(logs[outside : len(logs) - outside])
    error = _ERROR_OF_THE_MIDDLE * _deviation(logs) / math.sqrt(len(logs))
    return Slowdown(math.expm1(middle), error, len(logs))


def slower_configs(
    comparison: Comparison, share: float, *, per_token: bool = False
) -> set[LoraConfig]:
    """Configurations whose steps got longer by more than `share` and than the noise."""
    logs = _log_changes(comparison, per_token=per_token)
    if not logs:
        return set()
    changes = list(logs.values())
    noise = max(_STANDARD_DEVIATIONS * _deviation_of_noise(changes), -min(changes))
    least = max(math.log1p(share), noise)
    return {
        before.config
        for before, after in _successes(comparison.changes)
        if logs[before.config] > least
        and _are_longer(
            comparable_times(after, per_token=per_token),
            comparable_times(before, per_token=per_token),
        )
    }


def changes_within_noise(comparison: Comparison) -> set[LoraConfig]:
    """Configurations whose steps got neither longer nor shorter by more than the noise."""
    back = dataclasses.replace(
        comparison,
        changes=tuple(
            dataclasses.replace(each, before=each.after, after=each.before)
            for each in comparison.changes
        ),
    )
    surely = slower_configs(comparison, 0.0) | slower_configs(back, 0.0)
    return {before.config for before, _ in _successes(comparison.changes)} - surely


def _log_changes(comparison: Comparison, *, per_token: bool) -> dict[LoraConfig, float]:
    """Log ratios of the fastest steps, after over before."""
    return {
        before.config: math.log(
            min(comparable_times(after, per_token=per_token))
            / min(comparable_times(before, per_token=per_token))
        )
        for before, after in _successes(comparison.changes)
    }


def _successes(changes: Sequence[Change]) -> list[tuple[TrialResult, TrialResult]]:
    return [change.successes for change in changes if change.successes]


def _deviation(values: Sequence[float]) -> float:
    """Robust standard deviation about the median; 0 for too few values."""
    if len(values) < _LEAST_CONFIGURATIONS:
        return 0.0
    return robust_deviation(values)


def _deviation_of_noise(values: Sequence[float]) -> float:
    """Robust standard deviation of changes, up to half of which may be real.

    A slower half moves the median between the halves, far from all values. So the deviation is
    taken about the lower of the two middle values, unless faster ones prove more noise.
    """
    if len(values) < _LEAST_CONFIGURATIONS:
        return 0.0
    lower = statistics.median_low(values)
    about_lower = statistics.median_low([abs(each - lower) for each in values])
    # Noise makes faster as often as slower.
    faster = math.sqrt(2 * sum(each * each for each in values if each < 0) / len(values))
    return min(_deviation(values), max(DEVIATION_OF_A_NORMAL * about_lower, faster))


def _are_longer(times_s: Sequence[float], others_s: Sequence[float]) -> bool:
    """The test of Mann and Whitney, by its normal approximation; true where it cannot tell."""
    count, other_count = len(times_s), len(others_s)
    if min(count, other_count) < _LEAST_STEPS:
        return True
    wins = sum(
        1.0 if mine > theirs else 0.5 if mine == theirs else 0.0
        for mine in times_s
        for theirs in others_s
    )
    deviation = math.sqrt(count * other_count * (count + other_count + 1) / 12)
    above = (wins - count * other_count / 2) / deviation
    return above > statistics.NormalDist().inv_cdf(1 - _SURE)
