"""Regressions of step time, judged by further measurements."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.store.compare.comparison import Comparison, compare
from pytest_yourai.store.compare.confirmation import (
    measured_again,
    settled,
    time_regressions,
    verdicts,
)
from pytest_yourai.store.compare.thresholds import (
    DEFAULT_THRESHOLDS,
    RegressionThresholds,
    make_thresholds,
    parse_fail_on,
)

from support.profiles import full, larger, profiles_of, slower, stored


def compared(*rows: int, factor: float = 1.5) -> Comparison:
    return compare(stored(), stored(slower(factor, *rows)))


def again(found: Comparison, factor: float, *configs: LoraConfig) -> dict[LoraConfig, TrialResult]:
    """The configurations, with steps that are so much longer than before."""
    return {
        config: dataclasses.replace(
            found.before.results[config],
            step_times_s=tuple(each * factor for each in found.before.results[config].step_times_s),
        )
        for config in configs or found.before.results
    }


def test_one_configuration_is_measured_between_its_neighbours() -> None:
    for row, places in ((0, [0, 1]), (5, [4, 5, 6]), (11, [10, 11])):
        found = compared(row)
        configs = list(found.after.results)
        [regression] = time_regressions(found, DEFAULT_THRESHOLDS)
        assert measured_again(found, [regression]) == [configs[each] for each in places]


def test_of_many_that_got_slower_together_twelve_are_measured() -> None:
    before, after = profiles_of(full(1.0), full(0.7))
    found = compare(before, after)
    mean = [each for each in time_regressions(found, DEFAULT_THRESHOLDS) if not each.config]
    configs = measured_again(found, mean)
    assert len(configs) == 12
    assert configs[0] == next(iter(after.results))
    few = compared()
    assert len(measured_again(few, time_regressions(few, DEFAULT_THRESHOLDS))) == 12


def test_memory_is_not_measured_again() -> None:
    found = compare(stored(), stored(larger(1.2)))
    assert time_regressions(found, DEFAULT_THRESHOLDS) == []


@pytest.mark.parametrize(
    ("factors", "is_confirmed", "counted"),
    [
        ((1.5, 1.5), True, 2),
        ((1.3, 1.14), True, 2),
        ((1.0,), False, 1),
        ((1.5, 1.1), False, 2),
        ((1.0, 1.5), False, 1),
    ],
)
def test_each_round_must_show_half_of_what_is_allowed(
    factors: tuple[float, ...], is_confirmed: bool, counted: int
) -> None:
    found = compared(5)
    suspected = time_regressions(found, DEFAULT_THRESHOLDS)
    [config] = [each.config for each in suspected if each.config]
    rounds = [again(found, each, config) for each in factors]
    [verdict] = verdicts(found, suspected, rounds)
    assert (verdict.config, verdict.is_confirmed) == (config, is_confirmed)
    assert len(verdict.changes) == counted


def test_what_the_neighbours_got_slower_by_is_the_machines() -> None:
    found = compared(5)
    suspected = time_regressions(found, DEFAULT_THRESHOLDS)
    configs = measured_again(found, suspected)
    [verdict] = verdicts(found, suspected, [again(found, 1.5, *configs)])
    assert verdict.changes == pytest.approx((0.0,))
    assert not verdict.is_confirmed


def test_all_together_are_judged_together() -> None:
    found = compared(factor=1.2)
    [mean] = time_regressions(found, DEFAULT_THRESHOLDS)
    assert mean.config is None
    [kept] = verdicts(found, [mean], [again(found, 1.2), again(found, 1.06)])
    [refuted] = verdicts(found, [mean], [again(found, 1.04)])
    assert (kept.is_confirmed, refuted.is_confirmed) == (True, False)
    assert kept.changes == pytest.approx((0.2, 0.06))
    assert str(refuted).startswith("not confirmed: all configurations: step times +20.0 % (")
    assert str(refuted).endswith("; measured again: +4.0 %")


def test_a_trial_that_failed_shows_nothing() -> None:
    found = compared(5)
    suspected = time_regressions(found, DEFAULT_THRESHOLDS)
    [config] = [each.config for each in suspected if each.config]
    failed = {config: TrialResult("m", config, Outcome.CRASHED)}
    [verdict] = verdicts(found, suspected, [failed])
    assert str(verdict).startswith("confirmed: ")
    assert str(verdict).endswith("measured again: in vain")
    everywhere = compared(factor=1.2)
    [mean] = time_regressions(everywhere, DEFAULT_THRESHOLDS)
    assert verdicts(everywhere, [mean], [failed])[0].changes == ()


@pytest.mark.parametrize(
    ("gate", "share"),
    [("step_time:10%", 0.1), ("step_time:10ms", 0.01 / 0.12), ("tokens_per_second:20%", 0.25)],
)
def test_what_is_allowed_is_in_terms_of_time(gate: str, share: float) -> None:
    thresholds: RegressionThresholds = make_thresholds([parse_fail_on(gate)])
    [found] = time_regressions(compared(0), thresholds)
    assert found.allowed_time_share == pytest.approx(share, rel=0.03)


def test_what_was_refuted_gives_its_place_to_the_last_measurement() -> None:
    found = compared(5)
    config = list(found.after.results)[5]
    old = found.after.results[config]
    new = again(found, 1.0, *list(found.after.results)[4:6])
    neighbour = next(iter(new))
    said = [Verdict(config, "slow", (0.0,), is_confirmed=False)]
    results, others = settled(found.after.results, [new], said)
    assert results[config] == new[config]
    assert results[neighbour] == found.after.results[neighbour]
    assert others == [new[neighbour], old]
    confirmed = [dataclasses.replace(said[0], is_confirmed=True)]
    results, others = settled(found.after.results, [new], confirmed)
    assert (results[config], others) == (old, list(new.values()))
    everywhere = [dataclasses.replace(said[0], config=None), *confirmed]
    results, _ = settled(found.after.results, [new], everywhere)
    assert (results[config], results[neighbour]) == (old, new[neighbour])
