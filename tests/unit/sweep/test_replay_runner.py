"""How a recorded trial ends within another budget."""

from __future__ import annotations

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET, TrialResult
from pytest_yourai.machine.guard import Guard
from pytest_yourai.sweep.replay_runner import replay_trial
from pytest_yourai.sweep.trial_runner import TrialRecord

from support.profiles import GB, stored

CONFIG = LoraConfig(4, 128, 32, 512)
"""It needs 18.9 GB, and took 24.5 GB."""


def replayed(budget_gb: float) -> TrialResult:
    guard = Guard(round(budget_gb * GB), forced=False)
    return replay_trial(stored(), TrialRecord("m", CONFIG, StepPlan(), guard, lambda _: None))


def test_a_peak_over_the_budget_is_marked_as_recorded_without_it() -> None:
    found = replayed(22)
    assert found.outcome is Outcome.OK
    assert found.exceeds_budget
    assert found.warnings == (RECORDED_WITHOUT_BUDGET,)


def test_a_peak_within_the_budget_is_not() -> None:
    found = replayed(25)
    assert found.success
    assert not found.exceeds_budget
    assert found.warnings == ()


def test_what_needs_more_than_the_budget_has_no_peak() -> None:
    found = replayed(20)
    assert found.outcome is Outcome.OVER_BUDGET
    assert found.peak_memory_bytes is None
