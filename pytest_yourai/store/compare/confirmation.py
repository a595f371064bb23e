"""Regressions of step time that are measured again before they count.

A moment in which the machine is busy slows a whole trial, or a whole run. So what got slower is
measured again, between its neighbours, up to twice. It counts if each time shows at least half of
the growth that is allowed; where the neighbours got slower as well, their share is the machine's.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.noise import comparable_times
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.store.compare.comparison import Comparison
from pytest_yourai.store.compare.noise import overall_slowdown
from pytest_yourai.store.compare.thresholds import (
    Regression,
    RegressionThresholds,
    regressions,
)

MOST_ROUNDS = 2

_MOST_OF_ALL = 12
"""Configurations that are measured again where all of them together got slower."""

_SHOWN_AGAIN = 0.5
"""Part of the allowed growth that a further measurement must show."""

Round = Mapping[LoraConfig, TrialResult]
"""What was measured again, once."""


def time_regressions(comparison: Comparison, gate: RegressionThresholds) -> list[Regression]:
    """The regressions that measuring again may show to be noise."""
    return [each for each in regressions(comparison, gate) if each.allowed_time_share is not None]


def measured_again(comparison: Comparison, pending: Sequence[Regression]) -> list[LoraConfig]:
    """The configurations to measure again for regressions: with their neighbours, in their order.

    Where all together got slower, these are all of them, or twelve that are evenly chosen.
    """
    known = [each.config for each in comparison.changes if each.successes]
    if any(each.config is None for each in pending):
        step = max(1.0, len(known) / _MOST_OF_ALL)
        chosen = {known[int(place * step)] for place in range(min(len(known), _MOST_OF_ALL))}
    else:
        chosen = set()
    for each in pending:
        if each.config is not None:
            place = known.index(each.config)
            chosen.update(known[max(0, place - 1) : place + 2])
    return [config for config in known if config in chosen]


def verdicts(
    comparison: Comparison, found: Sequence[Regression], rounds: Sequence[Round]
) -> list[Verdict]:
    """What the rounds so far say of each of the regressions that were `found`.

    One is dismissed by the first round that does not show it; a trial that failed shows nothing.
    """
    said = []
    for each in found:
        changes: list[float] = []
        is_shown = True
        for again in rounds:
            change = _change(comparison, each, again)
            if not is_shown or change is None:
                continue
            changes.append(change)
            is_shown = change >= _SHOWN_AGAIN * (each.allowed_time_share or 0.0)
        said.append(Verdict(each.config, each.text, tuple(changes), is_shown))
    return said


def _change(comparison: Comparison, found: Regression, again: Round) -> float | None:
    """How much longer the steps were in a round; None if it says nothing."""
    results = {config: each for config, each in again.items() if each.success}
    changes = tuple(
        replace(each, after=results[each.config])
        for each in comparison.changes
        if each.config in results and each.successes
    )
    if found.config is None:
        slowdown = overall_slowdown(replace(comparison, changes=changes))
        return slowdown.share if slowdown else None
    logs = {
        each.config: math.log(_fastest_s(each.after) / _fastest_s(each.before))
        for each in changes
        if each.after and each.before
    }
    if found.config not in logs:
        return None
    own = logs.pop(found.config)
    machine = max(0.0, statistics.median(logs.values())) if logs else 0.0
    return math.expm1(own - machine)


def _fastest_s(result: TrialResult) -> float:
    return min(comparable_times(result, per_token=False))


def settled(
    after: Mapping[LoraConfig, TrialResult], rounds: Sequence[Round], said: Sequence[Verdict]
) -> tuple[dict[LoraConfig, TrialResult], list[TrialResult]]:
    """The results that count in the end, and the measurements beside them.

    Where a regression was not confirmed, the last measurement takes the place of the first.
    """
    refuted: set[LoraConfig] = set()
    for each in said:
        if not each.is_confirmed:
            refuted |= (
                {each.config} if each.config else {config for one in rounds for config in one}
            )
    refuted -= {each.config for each in said if each.config and each.is_confirmed}
    results, others = dict(after), []
    for again in rounds:
        for config, result in again.items():
            if config in refuted and result.success:
                others.append(results[config])
                results[config] = result
            else:
                others.append(result)
    return results, others
