import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.ranking import best, lightest_first, pareto
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import Soak
from pytest_yourai.sweep.preflight import dominating_failure

from support.profiles import a_soak


def result(
    batch: int = 1,
    rank: int = 8,
    layers: int = 4,
    outcome: Outcome = Outcome.OK,
    step_time_s: float = 0.5,
    minimum: int = 1000,
) -> TrialResult:
    return TrialResult(
        model="tiny",
        config=LoraConfig(batch, rank, layers, 64),
        outcome=outcome,
        reason=None if outcome is Outcome.OK else "why",
        step_times_s=(step_time_s, step_time_s, 9.0),
        step_tokens=(batch * 63,) * 3,
        minimum_memory_bytes=minimum,
    )


def test_step_time_is_the_median_and_tokens_follow() -> None:
    found = result(batch=2, step_time_s=0.5)
    assert found.step_time_s == 0.5
    assert found.tokens_per_second == 2 * 63 / 0.5


def test_steps_of_unequal_length_count_with_their_own_time() -> None:
    found = dataclasses.replace(result(), step_times_s=(0.1, 0.1, 1.0), step_tokens=(20, 20, 200))
    assert found.tokens_per_second == pytest.approx(240 / 1.2)


def test_safe_memory_is_the_minimum_with_fifteen_percent() -> None:
    assert result(minimum=1000).safe_memory_bytes == 1150


def test_nothing_measured_gives_nothing() -> None:
    empty = TrialResult("tiny", LoraConfig(1, 8, 4, 64), Outcome.CRASHED, "why")
    assert (empty.step_time_s, empty.tokens_per_second, empty.safe_memory_bytes) == (None,) * 3


def test_outcomes_are_failures_or_memory_failures_or_neither() -> None:
    assert {each for each in Outcome if each.is_memory_failure} == {
        "over_budget",
        "oom",
        "paging",
        "safety_stop",
        "machine_crash",
    }
    assert {each for each in Outcome if each.is_failure} == {
        "timeout",
        "crashed",
        "invalid_loss",
        "error",
        "peer_lost",
        "connect_failed",
        "collective_stalled",
    }


def test_a_worker_is_used_again_where_the_trial_ended_in_order() -> None:
    usable = {each for each in Outcome if each.leaves_the_worker_usable}
    assert usable == {Outcome.OK, Outcome.OVER_BUDGET}


def test_best_by_score_then_speed_then_memory() -> None:
    slow, fast = result(batch=2, step_time_s=0.9), result(batch=2, step_time_s=0.5)
    small = dataclasses.replace(fast, minimum_memory_bytes=10)
    failed = result(batch=8, outcome=Outcome.OOM)
    assert best([result(), slow, fast, failed], Objective.SCORE) is fast
    assert best([fast, small], Objective.SCORE) is small
    assert best([failed], Objective.SCORE) is None


def test_best_by_tokens_per_second_may_be_another() -> None:
    quick, large = result(rank=4, step_time_s=0.1), result(rank=64, step_time_s=0.5)
    assert best([quick, large], Objective.TOKENS_PER_SECOND) is quick
    assert best([quick, large], Objective.SCORE) is large


def test_pareto_leaves_out_what_another_beats() -> None:
    base = result(rank=8, step_time_s=0.5, minimum=100)
    beaten = result(rank=8, step_time_s=0.6, minimum=100)
    leaner = result(rank=4, step_time_s=0.7, minimum=50)
    assert pareto([base, beaten, leaner, result(rank=64, outcome=Outcome.OOM)]) == [base, leaner]


def test_lightest_first_does_not_depend_on_the_order_given() -> None:
    configs = [LoraConfig(b, r, n, 64) for b in (1, 2, 4) for r in (4, 8) for n in (2, 4)]
    assert lightest_first(configs) == lightest_first(reversed(configs))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_memory_failures_dominate(outcome: Outcome) -> None:
    failed = result(batch=2, outcome=outcome)
    larger, smaller = LoraConfig(4, 8, 4, 64), LoraConfig(1, 64, 32, 64)
    expected = failed if outcome.is_memory_failure else None
    assert dominating_failure(larger, [failed], failed.model, None) is expected
    assert dominating_failure(smaller, [failed], failed.model, None) is None


def test_a_stop_that_others_caused_dominates_nothing() -> None:
    stopped = result(outcome=Outcome.SAFETY_STOP)
    larger = LoraConfig(2, 8, 4, 64)
    assert dominating_failure(larger, [stopped], stopped.model, None) is stopped
    assert (
        dominating_failure(
            larger, [dataclasses.replace(stopped, conclusive=False)], stopped.model, None
        )
        is None
    )


def test_the_survivor_is_the_first_soak_that_succeeded() -> None:
    small, large = LoraConfig(1, 8, 4, 64), LoraConfig(2, 8, 4, 64)
    failed, passed = a_soak(large, Outcome.OOM), a_soak(small)
    assert Soak("m-soak", [failed, passed, a_soak(large)]).survivor is passed
    assert Soak("m-soak", [failed]).survivor is None
