"""The fast search within a sweep: what it chooses here, and what it leaves."""

from __future__ import annotations

import dataclasses

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.sweep.search.sweep_search import SweepSearch

from support.made_predictor import MadePredictor
from support.profiles import a_plan

GB = 1_000_000_000
CONFIGS = tuple(LoraConfig(batch, 8, 4, 64) for batch in (1, 2, 4, 8))
PLAN = a_plan("m", CONFIGS, search="fast")
PREDICTOR = MadePredictor({config: config.batch_size * GB for config in CONFIGS}, 0.01)


def search(limit_gb: float = 5, plan: SweepPlan = PLAN) -> SweepSearch:
    return SweepSearch(plan, round(limit_gb * GB), PREDICTOR)


def ok(config: LoraConfig) -> TrialResult:
    return TrialResult(
        "m",
        config,
        Outcome.OK,
        step_times_s=(1.0,),
        step_tokens=(63,),
        minimum_memory_bytes=config.batch_size * GB,
        peak_memory_bytes=config.batch_size * GB,
    )


def test_it_starts_with_the_largest_that_is_predicted_to_fit_and_stops_when_that_does() -> None:
    found = search()
    four = CONFIGS[2]
    assert found.choose(CONFIGS, (), {}) == four
    assert found.chosen == four
    assert found.is_on
    assert found.choose((*CONFIGS[:2], CONFIGS[3]), (), {four: ok(four)}) is None
    assert not found.is_on
    assert found.stopped is not None
    assert found.reason_to_skip(CONFIGS[0]) == Skip(
        SkipReason.SEARCH_IS_DONE, f"not needed: {found.stopped}"
    )


def test_where_the_next_one_is_elsewhere_those_here_are_left() -> None:
    found = search()
    assert found.choose(CONFIGS[:2], CONFIGS[2:], {}) is None
    assert found.is_on
    skip = found.reason_to_skip(CONFIGS[0])
    assert skip is not None
    assert skip.rule is SkipReason.SEARCHED_ELSEWHERE
    assert found.reason_to_skip(CONFIGS[2]) is None


def test_it_doubts_a_minimum_only_for_what_it_chose_itself() -> None:
    found = search()
    found.choose(CONFIGS, (), {})
    over = dataclasses.replace(ok(CONFIGS[0]), outcome=Outcome.OVER_BUDGET)
    assert found.doubts(over, CONFIGS[2])
    assert not found.doubts(over, CONFIGS[3])
    assert not found.doubts(dataclasses.replace(over, outcome=Outcome.OOM), CONFIGS[2])


def test_an_exhaustive_sweep_chooses_nothing() -> None:
    found = search(plan=dataclasses.replace(PLAN, search="exhaustive"))
    assert not found.is_on
    assert found.choose(CONFIGS, (), {}) is None
    assert found.reason_to_skip(CONFIGS[0]) is None
