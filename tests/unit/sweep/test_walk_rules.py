"""Which stages of a walk are skipped, given how the others ended."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.results import ModelSize, TrialResult
from pytest_yourai.models.model import Model
from pytest_yourai.plan.stages import Stage, make_run_plan
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.sweep.preflight import reason_to_skip_stage


@pytest.fixture
def stages(pytester: pytest.Pytester) -> dict[tuple[str, bool], Stage]:
    config = pytester.parseconfig("--yourai-benchmark", "--yourai-optimize", "--yourai-quick")
    plan = make_run_plan(read_options(config))
    return {(each.name, each.is_check): each for each in plan.stages}


Stages = dict[tuple[str, bool], Stage]


def ended(stage: Stage, outcome: Outcome, **more: object) -> TrialResult:
    result = TrialResult(stage.name, stage.assumed_config, outcome)
    return dataclasses.replace(result, **more)  # type: ignore[arg-type]


def test_a_model_no_smaller_than_one_that_failed_for_memory_is_skipped(stages: Stages) -> None:
    small, middle, large = (
        stages[name, True] for name in ("llama-8b", "r1-distill-14b", "hermes-70b")
    )
    results = {middle: [ended(middle, Outcome.OOM)]}
    skip = reason_to_skip_stage(large, results)
    assert skip is not None
    assert skip.rule is SkipReason.DOMINATED
    assert skip.reason == "no smaller than r1-distill-14b, which failed for memory (oom)"
    assert reason_to_skip_stage(small, results) is None
    assert reason_to_skip_stage(middle, results) is None, "its own failure is no reason"


@pytest.mark.parametrize(
    ("outcome", "conclusive"), [(Outcome.CRASHED, True), (Outcome.SAFETY_STOP, False)]
)
def test_other_failures_say_nothing_of_larger_models(
    stages: Stages, outcome: Outcome, conclusive: bool
) -> None:
    small, large = stages["llama-8b", True], stages["hermes-70b", True]
    assert (
        reason_to_skip_stage(large, {small: [ended(small, outcome, conclusive=conclusive)]}) is None
    )


def test_a_larger_model_with_lighter_weights_may_fit(stages: Stages) -> None:
    small, large = stages["llama-8b", True], stages["r1-distill-14b", True]
    heavy = ended(small, Outcome.OOM, size=ModelSize(8_000_000_000, 16_000_000_000))
    light = ended(small, Outcome.OOM, size=ModelSize(8_000_000_000, 4_000_000_000))
    assert reason_to_skip_stage(large, {small: [heavy]}) is None
    assert reason_to_skip_stage(large, {small: [light]}) is not None


def test_a_model_of_unknown_size_is_tried(stages: Stages) -> None:
    small = stages["llama-8b", True]
    unknown = dataclasses.replace(stages["hermes-70b", True], model=Model.known("hermes-70b"))
    assert reason_to_skip_stage(unknown, {small: [ended(small, Outcome.OOM)]}) is None


@pytest.mark.parametrize(("outcome", "is_skipped"), [(Outcome.OK, False), (Outcome.CRASHED, True)])
def test_a_sweep_follows_a_check_that_passed(
    stages: Stages, outcome: Outcome, is_skipped: bool
) -> None:
    check, sweep = stages["llama-8b", True], stages["llama-8b", False]
    skip = reason_to_skip_stage(sweep, {check: [ended(check, outcome)]})
    assert (skip is not None) is is_skipped
    if skip is not None:
        assert skip.rule is SkipReason.CHECK_FAILED
    assert reason_to_skip_stage(sweep, {check: []}) is None, "the check was not selected"
