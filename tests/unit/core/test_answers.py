"""The largest, the fastest and the leanest configuration, and which of them comes first."""

from __future__ import annotations

from pytest_yourai.core.answers import Answers, Pick, find_answers, headline, headlined
from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import TrialResult


def result(
    batch: int, rank: int, layers: int, *, speed: float, need: int, length: int = 129
) -> TrialResult:
    tokens = batch * (length - 1)
    return TrialResult(
        "m",
        LoraConfig(batch, rank, layers, length),
        Outcome.OK,
        step_times_s=(tokens / speed,),
        step_tokens=(tokens,),
        minimum_memory_bytes=need,
    )


LARGE = result(8, 64, 4, speed=1_000, need=900)
FAST = result(4, 16, 4, speed=2_000, need=500)
LEAN = result(2, 16, 4, speed=1_941, need=300)
SMALL = result(1, 16, 4, speed=1_939, need=100)
FAILED = TrialResult("m", LoraConfig(16, 64, 4, 129), Outcome.OVER_BUDGET)
RESULTS = [SMALL, LEAN, FAILED, LARGE, FAST]


def test_each_answer_has_most_of_its_own_measure() -> None:
    assert find_answers(RESULTS) == Answers(largest=LARGE, fastest=FAST, leanest=LEAN)


def test_the_leanest_lacks_at_most_three_percent_of_the_fastest() -> None:
    exactly = result(1, 16, 8, speed=1_940.001, need=50)
    assert find_answers([FAST, LEAN, SMALL, exactly]).leanest is exactly
    assert find_answers([FAST, SMALL]).leanest is FAST


def test_equal_ones_are_told_apart_by_score_speed_length_and_memory() -> None:
    slow = result(8, 64, 4, speed=900, need=10)
    assert find_answers([slow, LARGE]).largest is LARGE
    as_fast = result(4, 32, 4, speed=2_000, need=500)
    assert find_answers([FAST, as_fast]).fastest is as_fast
    as_lean = result(2, 64, 4, speed=1_950, need=300)
    assert find_answers([FAST, LEAN, as_lean]).leanest is as_lean


def test_nothing_that_fits_is_no_answer() -> None:
    found = find_answers([FAILED])
    assert found == Answers(None, None, None)
    assert not list(found)


def test_without_known_speeds_there_is_the_largest_alone() -> None:
    unknown = TrialResult("m", LoraConfig(1, 8, 4, 129), Outcome.OK, minimum_memory_bytes=1)
    assert find_answers([unknown]) == Answers(largest=unknown, fastest=None, leanest=None)


def test_each_configuration_is_listed_once_with_all_its_names() -> None:
    assert list(find_answers(RESULTS)) == [
        ((Pick.LARGEST,), LARGE),
        ((Pick.FASTEST,), FAST),
        ((Pick.LEANEST,), LEAN),
    ]
    assert list(find_answers([FAST, SMALL, LARGE])) == [
        ((Pick.LARGEST,), LARGE),
        ((Pick.FASTEST, Pick.LEANEST), FAST),
    ]
    assert list(find_answers([SMALL])) == [(tuple(Pick), SMALL)]


def test_each_answer_has_a_measure() -> None:
    assert [each.objective for each in Pick] == [
        Objective.SCORE,
        Objective.TOKENS_PER_SECOND,
        Objective.TOKENS_PER_SECOND,
    ]


def test_the_headline_follows_the_objective() -> None:
    assert headline(RESULTS, Objective.SCORE) is Pick.LARGEST
    assert headline(RESULTS, Objective.TOKENS_PER_SECOND) is Pick.FASTEST


def test_the_headline_is_the_fastest_where_only_batches_differ() -> None:
    assert headline([SMALL, LEAN, FAST], Objective.SCORE) is Pick.FASTEST
    assert headline([SMALL, LEAN, FAILED], Objective.SCORE) is Pick.LARGEST


def test_after_a_fast_search_only_the_best_by_its_objective_is_known() -> None:
    left_out = TrialResult.skipped(
        "m", LoraConfig(1, 16, 4, 129), Skip(SkipReason.SEARCH_IS_DONE, "it is smaller")
    )
    assert headline([LEAN, FAST, left_out], Objective.SCORE) is Pick.LARGEST


def test_without_a_known_speed_the_largest_comes_first() -> None:
    unknown = TrialResult("m", LoraConfig(1, 8, 4, 129), Outcome.OK, minimum_memory_bytes=1)
    assert headlined(find_answers([unknown]), [unknown], Objective.SCORE) is unknown
    assert headlined(find_answers(RESULTS), RESULTS, Objective.TOKENS_PER_SECOND) is FAST
