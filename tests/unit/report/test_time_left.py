"""How long the rest of a sweep takes."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.report.live_sweep import TrialTimes

SMALL, LARGE = LoraConfig(1, 8, 4, 64), LoraConfig(4, 8, 4, 64)


def measured(config: LoraConfig, step_s: float) -> TrialResult:
    """Two steps that compile, three more before the ten that are measured."""
    warmup = (9.0, 9.0, step_s, step_s, step_s)
    return TrialResult(
        "m", config, Outcome.OK, warmup_step_times_s=warmup, step_times_s=(step_s,) * 10
    )


def test_without_a_trial_nobody_knows() -> None:
    times = TrialTimes()
    assert times.expected_s([SMALL]) is None
    for outcome in (Outcome.OVER_BUDGET, Outcome.SKIPPED):
        times.add(TrialResult("m", SMALL, outcome), 3.0)
    times.add(dataclasses.replace(measured(SMALL, 0.1), kept=True), 0.0)
    assert times.expected_s([SMALL]) is None


def test_steps_take_longer_with_more_tokens_and_the_rest_does_not() -> None:
    times = TrialTimes()
    times.add(measured(SMALL, 0.1), 13 * 0.1 + 5.0)
    assert times.expected_s([SMALL]) == pytest.approx(6.3)
    assert times.expected_s([LARGE]) == pytest.approx(13 * 0.4 + 5.0)
    assert times.expected_s([SMALL, LARGE]) == pytest.approx(6.3 + 10.2)
    assert times.expected_s([]) == 0


def test_with_accumulation_a_trial_has_whole_cycles() -> None:
    """Two cycles that compile, one more, one that settles, and one that is measured."""
    config = dataclasses.replace(SMALL, grad_accumulation_steps=16)
    times = TrialTimes()
    found = dataclasses.replace(
        measured(config, 0.1),
        warmup_step_times_s=(9.0,) * 32 + (0.1,) * 32,
        step_times_s=(0.1,) * 16,
    )
    times.add(found, 48 * 0.1 + 5.0)
    assert times.expected_s([config]) == pytest.approx(48 * 0.1 + 5.0)
    # Usually 11 steps beside the first of warm-up for 32 here, so that 48 become 16.5.
    assert times.expected_s([LARGE]) == pytest.approx(48 / 32 * 11 * 0.4 + 5.0)


def test_loading_the_model_is_not_expected_again() -> None:
    times = TrialTimes()
    times.add(measured(SMALL, 0.1), 13 * 0.1 + 60.0)
    times.add(measured(SMALL, 0.1), 13 * 0.1 + 5.0)
    assert times.expected_s([SMALL]) == pytest.approx(6.3)


def test_the_last_trials_count() -> None:
    times = TrialTimes()
    for step_s in (9.0,) * 10 + (0.1,) * 5:
        times.add(measured(SMALL, step_s), 13 * step_s + 5.0)
    assert times.expected_s([SMALL]) == pytest.approx(6.3)
