"""Comparison of a run with an earlier profile, read before it starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.store.compare.comparison import (
    Comparison,
    compare_all,
    of_other_ranks,
)
from pytest_yourai.store.compare.thresholds import Regression, RegressionThresholds, regressions
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.store.stored_profile import StoredProfile


def read_baseline(
    path: Path, models: Collection[str], settings: SweepSettings | None = None
) -> tuple[StoredProfile, ...]:
    """The profiles in `path`; InputError if a run of `models` cannot be compared with them.

    Nor can one with `settings` of other ranks.

    It is raised before the run, so that hours of measuring do not end in a mistake.
    """
    found = tuple(read_profiles(path))
    known = {each.model for each in found}
    if not known & set(models):
        raise OptionError(
            f"--yourai-compare: {path} is of {', '.join(sorted(known))}, not of "
            f"{', '.join(models)}: name a profile of that model"
        )
    if not any(each.successes for each in found):
        raise OptionError(
            f"--yourai-compare: {path}: none of its configurations succeeded, so that nothing can "
            "be compared with it: name another profile"
        )
    for each in found:
        if settings and (reason := of_other_ranks(each.settings, settings)):
            raise OptionError(
                f"--yourai-compare: {path}: {reason}: name a profile of the same ranks"
            )
    return found


@dataclass(frozen=True)
class BaselineComparison:
    """A run beside its baseline, and the thresholds it must keep."""

    comparisons: tuple[Comparison, ...]
    gate: RegressionThresholds
    missing: tuple[str, ...] = ()
    """Models of the baseline that were not measured now."""
    verdicts: Mapping[str, tuple[Verdict, ...]] = field(default_factory=dict)
    """Of each model, what measuring again says of its regressions of step time."""

    @classmethod
    def of(
        cls,
        before: Sequence[StoredProfile],
        after: Sequence[StoredProfile],
        gate: RegressionThresholds,
        verdicts: Mapping[str, tuple[Verdict, ...]] | None = None,
    ) -> BaselineComparison:
        """Each model of `before` beside the same of `after`; errors as of `compare_all`."""
        models = {each.model for each in after}
        missing = tuple(each.model for each in before if each.model not in models)
        return cls(tuple(compare_all(before, after)), gate, missing, verdicts or {})

    @property
    def fails(self) -> bool:
        """True if the session must fail for a regression."""
        return self.gate.fails and any(map(self.regressions, self.comparisons))

    def regressions(self, comparison: Comparison) -> list[Regression]:
        """The regressions of one model, without those that measuring again did not confirm."""
        refuted = {each.config for each in self.verdicts_of(comparison) if not each.is_confirmed}
        return [
            each
            for each in regressions(comparison, self.gate)
            if each.allowed_time_share is None or each.config not in refuted
        ]

    def verdicts_of(self, comparison: Comparison) -> tuple[Verdict, ...]:
        """What measuring again says of the regressions of one model."""
        return self.verdicts.get(comparison.after.model, ())
