"""Whether step times changed by more than they vary anyway: the tests behind a gate.

On a machine that others use too one and the same program is slower or faster from run to run,
since the machine is. So, to keep that apart from a change of the program:

- What others do only ever makes a step longer: each trial is judged by its fastest measured step.
- The machine's own pace is taken out: changes are divided by the change of the fastest of
  `reference_times_s`, where both runs have them (on MLX's CPU backend: a GPU does not slow down
  with the processor) and nothing says that they are of two machines or interpreters.
- All configurations together got slower where the mean of the logarithms of their changes is above
  the threshold, and above twice its standard error over the configurations (a t-test).
- One configuration got slower where its middle step and its fastest are above the threshold, a
  one-sided test of Mann and Whitney at 5 % says so of all its steps, and it stands out by three
  robust standard deviations (1.48 times the median absolute deviation) of all configurations; so
  that a half of them which is slower does not pass for noise, that about the lower of the two
  middle ones where the changes of the faster ones are no larger.

Between runs of `tiny --quick` one after the other on two cores the mean over all configurations
differed by 14 % (standard deviation) under load with medians, by 12 % with fastest steps, and by
8 % with the pace taken out; with little else to do by 9, 6 and 6 %.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_yourai.comparison.differences import are_of_one_machine
from pytest_yourai.store.documents import mapping

if TYPE_CHECKING:
    from pytest_yourai.comparison.changes import Change, Comparison
    from pytest_yourai.config import LoraConfig
    from pytest_yourai.results import TrialResult
    from pytest_yourai.store.stored_profile import StoredProfile

_STANDARD_ERRORS = 2.0
_STANDARD_DEVIATIONS = 3.0
_DEVIATION_OF_A_NORMAL = 1.4826
"""Its standard deviation over its median absolute deviation."""

_LEAST_STEPS = 4
"""With fewer on either side the test of Mann and Whitney cannot tell anything at 5 %."""

_LEAST_CONFIGURATIONS = 4
"""With fewer their deviation says nothing."""

_SURE = 0.05


@dataclass(frozen=True, slots=True)
class Slowdown:
    """The geometric mean of the changes of the fastest step, of one comparison.

    `share` is 0.1 for 10 % more time; `log_error` is the standard error of its logarithm, 0 where
    one configuration alone is compared.
    """

    share: float
    log_error: float
    configurations: int

    def is_surely_over(self, share: float) -> bool:
        """Whether it exceeds both a threshold and the noise."""
        return self.share > share and math.log1p(self.share) > _STANDARD_ERRORS * self.log_error


def machine_pace(comparison: Comparison) -> float:
    """How many times as long the reference work took as before; 1 where nobody can say.

    A geometric mean over all trials that both runs have, of the fastest of each.
    """
    if not _have_one_reference(comparison.before, comparison.after):
        return 1.0
    logs = [
        math.log(min(after.reference_times_s) / min(before.reference_times_s))
        for before, after in _successes(comparison.changes)
        if before.reference_times_s and after.reference_times_s
    ]
    return math.exp(statistics.fmean(logs)) if logs else 1.0


def overall_slowdown(comparison: Comparison) -> Slowdown | None:
    """Of all configurations that succeeded in both runs; None where there is none."""
    logs = list(_log_changes(comparison).values())
    if not logs:
        return None
    error = statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    return Slowdown(math.expm1(statistics.fmean(logs)), error, len(logs))


def is_slower(
    comparison: Comparison, change: Change, share: float, *, per_token: bool = False
) -> bool:
    """Whether the steps of one configuration got longer by more than `share` and than the noise."""
    logs = _log_changes(comparison, per_token=per_token)
    own = logs.get(change.config)
    if own is None or own <= math.log1p(share):
        return False
    if own <= _STANDARD_DEVIATIONS * _deviation(list(logs.values())):
        return False
    [(before, after)] = _successes([change])
    allowed = (1 + share) * machine_pace(comparison)
    times = _times(after, per_token=per_token)
    return _are_longer(times, [each * allowed for each in _times(before, per_token=per_token)])


def _log_changes(comparison: Comparison, *, per_token: bool = False) -> dict[LoraConfig, float]:
    """Without the change of the machine's pace."""
    log_pace = math.log(machine_pace(comparison))
    return {
        before.config: _log_fastest(after, per_token) - _log_fastest(before, per_token) - log_pace
        for before, after in _successes(comparison.changes)
    }


def _log_fastest(result: TrialResult, per_token: bool) -> float:
    return math.log(min(_times(result, per_token=per_token)))


def _times(result: TrialResult, *, per_token: bool) -> list[float]:
    """Of the measured steps; where rows have different lengths a token is what is comparable."""
    if not (per_token and all(result.step_tokens)):
        return list(result.step_times_s)
    pairs = zip(result.step_times_s, result.step_tokens, strict=True)
    return [time_s / tokens for time_s, tokens in pairs]


def _successes(changes: Sequence[Change]) -> list[tuple[TrialResult, TrialResult]]:
    return [
        (change.before, change.after)
        for change in changes
        if change.before and change.after and change.before.success and change.after.success
    ]


def _have_one_reference(before: StoredProfile, after: StoredProfile) -> bool:
    pythons = [mapping(each.environment.get("versions")).get("python") for each in (before, after)]
    return are_of_one_machine(before, after) and pythons[0] == pythons[1]


def _deviation(values: Sequence[float]) -> float:
    """Of the noise in changes of which up to a half may be real."""
    if len(values) < _LEAST_CONFIGURATIONS:
        return 0.0
    middle = statistics.median(values)
    deviation = statistics.median(abs(each - middle) for each in values)
    # A half that is slower moves the middle to between the halves, and all deviates from there.
    lower = statistics.median_low(values)
    of_one_half = statistics.median_low([abs(each - lower) for each in values])
    # Noise makes faster as often as slower.
    faster = math.sqrt(2 * sum(each * each for each in values if each < 0) / len(values))
    return min(
        _DEVIATION_OF_A_NORMAL * deviation, max(_DEVIATION_OF_A_NORMAL * of_one_half, faster)
    )


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
