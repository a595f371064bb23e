"""What a profile keeps when a run writes it again: nothing that was measured before is lost."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.ranking import soak_survivors
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.store.stored_profile import StoredProfile

_BUDGET_TOLERANCE = 0.05
"""What a detected budget may differ by: as when a run is resumed."""

_MOST_OTHERS = 9
"""Other measurements of one configuration that a profile keeps; the journal has them all."""


@dataclass(frozen=True)
class Rows:
    """The rows of a profile: those that count, other measurements of the same, and soaks."""

    results: tuple[TrialResult, ...]
    others: tuple[TrialResult, ...] = ()
    soaks: tuple[SoakResult, ...] = ()

    @property
    def remaining(self) -> list[TrialResult]:
        """The results that no soak has ruled out."""
        return soak_survivors(self.results, self.soaks)


def can_be_merged(before: StoredProfile, identity: str, limit_bytes: int | None) -> bool:
    """True if the rows of `before` hold for a run of this identity within this budget."""
    is_alike = bool(identity) and before.identity == identity
    return is_alike and is_same_budget(before.memory_limit_bytes, limit_bytes)


def is_same_budget(before_bytes: int | None, now_bytes: int | None) -> bool:
    """True for budgets that differ by no more than detected ones do."""
    if before_bytes is None or now_bytes is None:
        return False
    return math.isclose(before_bytes, now_bytes, rel_tol=_BUDGET_TOLERANCE)


def merged(before: StoredProfile | None, now: Rows) -> Rows:
    """The rows of `now` and of `before`.

    The newest measurement of a configuration counts, but no success makes room for a failure that
    another moment or program may have caused; whatever does not count is among the others.
    """
    if before is None:
        return now
    new = {each.config: each for each in now.results}
    results, others = [], [*before.others, *now.others]
    for config in dict.fromkeys([*before.results, *new]):
        chosen, other = _chosen(before.results.get(config), new.get(config))
        results.append(chosen)
        if other is not None:
            others.append(other)
    soaked = {each.config for each in now.soaks}
    soaks = (*now.soaks, *(each for each in before.soaks if each.config not in soaked))
    return Rows(tuple(results), newest(others), soaks)


def _chosen(
    old: TrialResult | None, new: TrialResult | None
) -> tuple[TrialResult, TrialResult | None]:
    """The result that counts, and a measurement beside it."""
    if old is None or new is None:
        found = new or old
        assert found is not None  # noqa: S101 - one of the two has the configuration
        return (found if new else _kept(found)), None
    if not new.started or not old.started:
        return (new, None) if new.started or not old.started else (_kept(old), None)
    if _is_same(old, new):
        return new, None
    if old.success and not new.success and not new.prunes_larger:
        return _kept(old), new
    return new, old


def _kept(result: TrialResult) -> TrialResult:
    return dataclasses.replace(result, kept=result.started)


def _is_same(old: TrialResult, new: TrialResult) -> bool:
    """True if both are one measurement: it was taken over from the journal."""
    return (old.outcome, old.step_times_s, old.warmup_step_times_s) == (
        new.outcome,
        new.step_times_s,
        new.warmup_step_times_s,
    )


def newest(others: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """The last of each configuration, without repetitions, in their order."""
    found: list[TrialResult] = []
    counts: Counter[LoraConfig] = Counter()
    for each in reversed(others):
        is_known = any(_is_same(each, one) for one in found if one.config == each.config)
        if not is_known and counts[each.config] < _MOST_OTHERS:
            counts[each.config] += 1
            found.append(each)
    return tuple(reversed(found))


def merged_entries(
    before: Mapping[str, Any], now: Mapping[str, Any], planned: Collection[str]
) -> dict[str, Any]:
    """Benchmark results of `now` with what `before`, of the same identity, has beyond them."""
    old = {each["preset"]: each for each in before["results"]}
    new = {each["preset"]: each for each in now["results"]}
    rows = [_richer(old.get(name), new.get(name)) for name in planned if name in {*old, *new}]
    fitting = [each["preset"] for each in rows if each["success"]]
    complete = now["complete"] and len(rows) == len(set(planned))
    return {
        **now,
        "complete": before.get("complete") is True or complete,
        "recommended": fitting[-1] if fitting else None,
        "results": rows,
        "environment": now["environment"] or before.get("environment"),
    }


_OF_A_SWEEP = (
    "optimal_config",
    "peak_memory_gb",
    "minimum_memory_gb",
    "predicted_minimum_memory_gb",
    "step_time_s",
    "tokens_per_second",
)


def _richer(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row of one model: the new one, with the old check and sweep where it has none."""
    if old is None or new is None:
        return dict(old or new or {})
    row = dict(new)
    if not _was_tried(new) and _was_tried(old):
        row = {**old, "optimal_config": new["optimal_config"]}
    if row["optimal_config"] is None and old["optimal_config"] is not None:
        row |= {key: old[key] for key in _OF_A_SWEEP}
        row["success"] = row["success"] or old["success"]
        row["error"] = None if row["success"] else row["error"]
    return row


def _was_tried(row: Mapping[str, Any]) -> bool:
    return row.get("peak_memory_gb") is not None or row.get("minimum_memory_gb") is not None
