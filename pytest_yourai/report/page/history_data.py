"""Several profiles of one page: each beside the first of its model, and over time."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from pytest_yourai.core.axes import SIZES
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.units import plural
from pytest_yourai.report.profile_facts import where_measured
from pytest_yourai.store.compare.comparison import Change, Comparison, Metric, compare
from pytest_yourai.store.compare.noise import changes_within_noise
from pytest_yourai.store.compare.thresholds import RegressionThresholds, not_compared, regressions
from pytest_yourai.store.stored_profile import StoredProfile

_LEAST_TO_COMPARE = 2


def comparisons_data(
    profiles: Sequence[StoredProfile], gate: RegressionThresholds
) -> list[dict[str, Any]]:
    """Each profile against the first of the same model; `before` and `after` are their numbers."""
    first: dict[str, int] = {}
    found = []
    for number, each in enumerate(profiles):
        before = first.setdefault(each.model, number)
        if before != number:
            comparison = compare(profiles[before], each)
            found.append({"before": before, "after": number, **_comparison(comparison, gate)})
    return found


def _comparison(comparison: Comparison, gate: RegressionThresholds) -> dict[str, Any]:
    worse = regressions(comparison, gate)
    configs = {each.config for each in worse}
    noisy = changes_within_noise(comparison)
    return {
        "differences": list(comparison.differences),
        "not_comparable": comparison.not_comparable,
        "regressions": [each.text for each in worse],
        "not_compared": list(not_compared(comparison, gate)),
        "gate": str(gate),
        "changes": [
            _change(
                comparison,
                each,
                is_worse=each.config in configs,
                is_noise=each.config in noisy,
            )
            for each in comparison.changes
        ],
    }


def _change(
    comparison: Comparison, change: Change, *, is_worse: bool, is_noise: bool
) -> dict[str, Any]:
    """One configuration; each metric before and after, null where it cannot be compared."""
    return {
        "name": comparison.naming.name(change.config),
        "worse": is_worse,
        "within_noise": is_noise,
        "before": change.before and change.before.outcome.value,
        "after": change.after and change.after.outcome.value,
        **{
            metric.value: None if comparison.lacks(metric) else change.values(metric)
            for metric in Metric
        },
    }


def history_data(profiles: Sequence[StoredProfile]) -> list[dict[str, Any]]:
    """Optimum, memory and speed over time, of each matrix of a model on each machine.

    Only of those that several profiles have: the best of another matrix says nothing about time.
    """
    groups: dict[tuple[str, str, frozenset[LoraConfig]], list[int]] = {}
    for number, profile in enumerate(profiles):
        if profile.created_at is not None:
            machine = where_measured(profile)
            key = (profile.model, machine, frozenset(profile.results))
            groups.setdefault(key, []).append(number)
    return [
        {
            "model": model,
            "machine": machine,
            "matrix": _matrix(configs),
            "points": list(_points([(number, profiles[number]) for number in numbers])),
        }
        for (model, machine, configs), numbers in groups.items()
        if len(numbers) >= _LEAST_TO_COMPARE
    ]


def _matrix(configs: Collection[LoraConfig]) -> str:
    """`12 configurations, batch 1 to 4, rank 64 to 128, layers 16`."""
    ranges = []
    for axis in SIZES:
        values = sorted({axis.of(config) for config in configs})
        least, most = values[0], values[-1]
        ranges.append(f"{axis.label} {least}" + (f" to {most}" if most != least else ""))
    return ", ".join((plural(len(configs), "configuration"), *ranges))


def _points(profiles: Iterable[tuple[int, StoredProfile]]) -> Iterator[dict[str, Any]]:
    """Oldest first; `changed` names the versions that are not those of the point before."""
    timed = ((each.created_at, number, each) for number, each in profiles if each.created_at)
    before: dict[str, str] | None = None
    for at, number, profile in sorted(timed, key=lambda found: found[:2]):
        now = dict(profile.environment.versions)
        changed = [] if before is None else [name for name in now if now[name] != before.get(name)]
        before = now
        best = profile.optimum
        yield {
            "profile": number,
            "at": _in_utc(at).isoformat(),
            "optimum": best and profile.naming.name(best.config),
            "score": best and best.config.throughput_score,
            "minimum": best and best.minimum_memory_bytes,
            "peak": best and best.peak_memory_bytes,
            "speed": best and best.tokens_per_second,
            "fitting": len(profile.successes),
            "tried": sum(each.started for each in profile.results.values()),
            "versions": now,
            "changed": changed,
        }


def _in_utc(at: datetime.datetime) -> datetime.datetime:
    """`at` in UTC; unchanged if that is before the first or after the last year."""
    try:
        return at.astimezone(datetime.UTC)
    except OverflowError:
        return at
