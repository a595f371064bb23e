"""Two sweeps side by side: each configuration before and after."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.compare.differences import differences
from pytest_yourai.store.stored_profile import StoredProfile

_BUDGET_TOLERANCE = 1e-3
"""Relative difference up to which two detected budgets count as equal."""


class Metric(enum.StrEnum):
    """A measure of a configuration to compare. Memory in bytes, times in seconds."""

    MINIMUM_MEMORY = "minimum_memory"
    PEAK_MEMORY = "peak_memory"
    STEP_TIME = "step_time"
    TOKENS_PER_SECOND = "tokens_per_second"

    @property
    def is_time(self) -> bool:
        """True if it is as noisy as the times of steps."""
        return self in (Metric.STEP_TIME, Metric.TOKENS_PER_SECOND)

    def of(self, result: TrialResult) -> float | None:
        """Its value in `result`, None if it was not measured."""
        return {
            Metric.MINIMUM_MEMORY: result.minimum_memory_bytes,
            Metric.PEAK_MEMORY: result.peak_memory_bytes,
            Metric.STEP_TIME: result.step_time_s,
            Metric.TOKENS_PER_SECOND: result.tokens_per_second,
        }[self]


@dataclass(frozen=True)
class Change:
    """One configuration; `before` or `after` is None if that sweep lacks it."""

    config: LoraConfig
    before: TrialResult | None
    after: TrialResult | None

    @property
    def successes(self) -> tuple[TrialResult, TrialResult] | None:
        """Both results if both are ok, else None."""
        if not (self.before and self.after and self.before.success and self.after.success):
            return None
        return self.before, self.after

    def values(self, metric: Metric) -> tuple[float, float] | None:
        """The metric before and after, None unless both results are ok."""
        if self.successes is None:
            return None
        before, after = map(metric.of, self.successes)
        return (before, after) if before and after else None

    def share(self, metric: Metric) -> float | None:
        """Relative growth of the metric, 0.05 for 5 % more; None unless both results are ok."""
        found = self.values(metric)
        return None if found is None else found[1] / found[0] - 1

    @property
    def no_longer_fits(self) -> bool:
        """True if it was ok, and now fails for memory or is ruled out by one that does."""
        after = self.after
        return bool(
            self.before
            and self.before.success
            and after
            and (after.lacks_memory or after.skip_reason is SkipReason.DOMINATED)
        )

    @property
    def no_longer_runs(self) -> bool:
        """True if it was ok, and now fails for another reason than memory."""
        was_ok = self.before is not None and self.before.success
        return was_ok and self.after is not None and self.after.outcome.is_failure


def of_other_ranks(before: SweepSettings, after: SweepSettings) -> str | None:
    """Why a batch of the one is no batch of the other; None where as many ranks trained it."""
    theirs, ours = before.ranks_text, after.ranks_text
    return None if theirs == ours else f"{theirs}, now {ours}"


@dataclass(frozen=True)
class Comparison:
    """Two sweeps of one model. `differences` are those of their conditions, in words."""

    before: StoredProfile
    after: StoredProfile
    changes: tuple[Change, ...]
    differences: tuple[str, ...]

    @cached_property
    def naming(self) -> ConfigLabels:
        """Labels of the configurations."""
        return ConfigLabels.of(change.config for change in self.changes)

    @property
    def fits_no_more(self) -> TrialResult | None:
        """The first memory failure, if something fitted before and nothing does now; else None.

        A walk tries a smaller configuration under a smaller budget, so the one that fitted before
        need not be among those of now.
        """
        if self.before.optimum is None or self.after.optimum is not None:
            return None
        after = self.after.results.values()
        return next((each for each in after if each.outcome.is_memory_failure), None)

    @property
    def not_comparable(self) -> str | None:
        """Why the two say nothing about each other, in words; None if they do."""
        if not self.before.successes:
            return (
                f"{self.before.name}: all_results: none of its configurations succeeded, so that "
                "nothing can be compared with it: name another profile"
            )
        if reason := of_other_ranks(self.before.settings, self.after.settings):
            names = f"{self.before.name} and {self.after.name}"
            return f"{names}: {reason}: compare profiles of the same ranks"
        shared = (each for each in self.changes if each.before and each.before.success)
        if self.fits_no_more or any(each.after for each in shared):
            return None
        return (
            f"{self.before.name} and {self.after.name}: none of the configurations that succeeded "
            "in the first is in the second: compare profiles of one matrix"
        )

    def lacks(self, metric: Metric) -> str | None:
        """Why a metric cannot be compared, in words; None if it can."""
        if metric is Metric.MINIMUM_MEMORY:
            lacking = [each.name for each in (self.before, self.after) if not each.has_minima]
            return f"{' and '.join(lacking)}: peaks alone were recorded" if lacking else None
        before, after = self.before.memory_limit_bytes, self.after.memory_limit_bytes
        if metric is not Metric.PEAK_MEMORY or before == after:
            return None
        if before and after and math.isclose(before, after, rel_tol=_BUDGET_TOLERANCE):
            return None
        return "the budgets differ, and what a configuration takes depends on its budget"


def compare(before: StoredProfile, after: StoredProfile) -> Comparison:
    """All configurations of either, in the order of `after`, then those of `before` alone."""
    configs = dict.fromkeys([*after.results, *before.results])
    return Comparison(
        before,
        after,
        tuple(Change(each, before.results.get(each), after.results.get(each)) for each in configs),
        tuple(differences(before, after)),
    )


def compare_all(
    before: Sequence[StoredProfile], after: Sequence[StoredProfile]
) -> list[Comparison]:
    """A comparison for each model that both have, in the order of `after`.

    RecordingError, naming the files, if there is none, or if nothing in `before` is ok.
    """
    earlier = {each.model: each for each in before}
    found = [compare(earlier[each.model], each) for each in after if each.model in earlier]
    names = before[0].name, after[0].name
    if not found:
        models = (", ".join(each.model for each in profiles) for profiles in (before, after))
        theirs = " and ".join(f"{name} is of {of}" for name, of in zip(names, models, strict=True))
        raise RecordingError(f"{theirs}: compare profiles of one model")
    reasons = [each.not_comparable for each in found]
    if all(reasons):
        raise RecordingError(str(reasons[0]))
    return found
