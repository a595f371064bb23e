"""The arithmetic of steps whose gradients are accumulated."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.cycles import TrialSteps, rounded_up, sums_of_cycles, whole_cycles
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult, pace

CONFIG = LoraConfig(1, 8, 4, 64, grad_accumulation_steps=4)


def test_what_does_not_fill_a_cycle_is_left_out() -> None:
    assert whole_cycles([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4]]
    assert whole_cycles([1, 2], 1) == [[1], [2]]
    assert whole_cycles([1, 2], 3) == []
    assert [sums_of_cycles([1, 2, 3, 4, 5], each) for each in (1, 2)] == [[1, 2, 3, 4, 5], [3, 7]]
    assert [rounded_up(10, each) for each in (1, 3, 4, 10, 16)] == [10, 12, 12, 10, 16]


@pytest.mark.parametrize(
    ("plan", "accumulation", "least", "most", "measured"),
    [
        (StepPlan(), 1, 3, 8, 10),
        (StepPlan.of(10, 12), 1, 12, 12, 10),
        (StepPlan(), 2, 3 * 2, 4 * 2, 10),
        (StepPlan(), 4, 3 * 4, 4 * 4, 12),
        (StepPlan(3), 16, 3 * 16, 4 * 16, 16),
        (StepPlan.of(10, 30), 4, 8 * 4, 8 * 4, 12),
    ],
)
def test_a_trial_has_whole_cycles_in_each_phase(
    plan: StepPlan, accumulation: int, least: int, most: int, measured: int
) -> None:
    steps = TrialSteps(plan, accumulation)
    steady = [TrialSteps.warmup_is_over(steps, [1.0] * count) for count in range(most + 1)]
    assert steady.index(True) == least
    never = [float(2 ** (count // accumulation)) for count in range(most)]
    ends = [steps.warmup_is_over(never[:count]) for count in range(most + 1)]
    assert ends.index(True) == most
    assert steps.measured_steps == measured
    survey = len(steps.survey([1, 2, 3]))
    assert survey == (9 if accumulation == 1 else 2 * rounded_up(3, accumulation))
    assert steps.most_steps == most + 2 * measured + survey
    assert steps.compiling_steps == 2 * accumulation


def test_a_survey_compiles_once_and_is_timed_in_whole_cycles() -> None:
    single = TrialSteps(StepPlan())
    assert single.survey("ab") == list("ababab")
    assert single.timed_survey("ABabcd") == "abcd"
    assert single.timed_survey("ABabc") == ()
    assert single.survey("") == []
    accumulated = TrialSteps(StepPlan(), 4)
    assert accumulated.survey("abc") == list("abcaabca")
    assert accumulated.timed_survey("ABCAabca") == "abca"


def test_warmup_compares_cycles_and_not_steps() -> None:
    steps = TrialSteps.of(StepPlan(), CONFIG)
    cycle = [1.0, 1.0, 1.0, 5.0]
    assert steps.warmup_is_over(cycle * 3)
    assert not steps.warmup_is_over([*cycle * 3, 1.0])
    assert [steps.ends_cycle(each) for each in range(1, 9)] == [False, False, False, True] * 2


def test_the_minimum_is_that_of_the_kind_of_step_that_needs_most() -> None:
    steps = TrialSteps.of(StepPlan(), CONFIG)
    first, usual, late = [9, 9, 9, 99], [80, 90, 90, 100], [80, 102, 90, 100]
    assert steps.minimum_bytes(first) == 99
    assert steps.minimum_bytes([*first, *usual]) == 100
    assert steps.minimum_bytes([*first, *late, *usual]) == 100
    # One that released a buffer late does not count.
    assert steps.minimum_bytes([*first, 80, 102, 90, 70, 80, 90, 90, 70]) == 90
    assert steps.minimum_bytes([*first, 95, 90, 90, 70, 95, 90, 90, 70]) == 95
    assert TrialSteps(StepPlan(), 2).minimum_bytes([1, 1, 5, 7, 6, 8]) == 7
    assert TrialSteps(StepPlan()).minimum_bytes([1, 5, 7, 6]) == 6


def result(*times_s: float, tokens: int = 63) -> TrialResult:
    return TrialResult(
        "m", CONFIG, Outcome.OK, step_times_s=times_s, step_tokens=(tokens,) * len(times_s)
    )


def test_time_is_that_of_the_median_cycle() -> None:
    found = result(1, 1, 1, 5, 1, 1, 1, 9, 1, 1, 1, 1, 7)
    assert (found.step_time_s, found.update_time_s) == (2.0, 8.0)
    assert found.tokens_per_second == 4 * 63 / 8
    assert pace(found) == "2.0s/step, 8.0s/update"
    plain = dataclasses.replace(found, config=LoraConfig(1, 8, 4, 64), step_times_s=(2.0, 2.0))
    assert plain.update_time_s == plain.step_time_s == 2.0
    assert pace(plain) == "2.0s/step"


def test_cycles_of_unequal_length_count_with_their_own_time() -> None:
    found = dataclasses.replace(
        result(1, 1, 1, 1, 2, 2, 2, 2, 50), step_tokens=(10,) * 4 + (30,) * 4 + (9,)
    )
    assert found.tokens_per_second == pytest.approx(160 / 12)


def test_without_a_whole_cycle_steps_count() -> None:
    """Recordings of other programs have a median alone."""
    found = result(0.5)
    assert (found.step_time_s, found.update_time_s) == (0.5, 2.0)
    assert found.tokens_per_second == 63 / 0.5
    assert result().update_time_s is None
