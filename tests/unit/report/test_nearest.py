"""What fits instead: the lightest of a sweep in which nothing fits, the largest of another."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.stages import make_run_plan
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.fitting_commands import what_would_fit
from pytest_yourai.report.nearest import (
    check_line,
    largest_that_lacks_memory,
    nearest_to_lightest,
)
from pytest_yourai.sweep.stage_info import StageInfo
from pytest_yourai.sweep.stage_results import StageResults

GB = 1_000_000_000

SMALL = LoraConfig(2, 16, 16, 4096)
LARGE = LoraConfig(4, 16, 16, 4096)


def over(config: LoraConfig, needs: int | None) -> TrialResult:
    return TrialResult("llama-8b", config, Outcome.OVER_BUDGET, minimum_memory_bytes=needs)


def sweep(pytester: pytest.Pytester, *results: TrialResult) -> StageResults:
    options = read_options(pytester.parseconfig("--yourai-model=llama-8b"))
    [stage] = make_run_plan(options).stages
    return StageResults(stage, len(results), OPENED, list(results))


def advice(
    pytester: pytest.Pytester, *flags: str, fails: LoraConfig, fits: LoraConfig
) -> list[str]:
    """What a sweep says of `fails`, which is over the budget where `fits` is not."""
    plan = make_run_plan(read_options(pytester.parseconfig(*flags)))
    fine = TrialResult("llama-8b", fits, Outcome.OK)
    found = StageResults(plan.stages[0], 2, OPENED, [over(fails, 18 * GB), fine])
    return list(what_would_fit(plan, found, Invocation(flags)))


CONTEXT = SweepContext(
    DeviceInfo("cuda", "H200", 10, None, "0.32", "0.32"),
    Inspection(32, 8 * GB, {}),
    Budget(14 * GB, "as given"),
)

OPENED = StageInfo("x", "synthetic 4-bit", SweepSettings(), (), CONTEXT, None, None)


def test_it_is_near_the_lightest_and_corrected_by_what_was_measured(
    pytester: pytest.Pytester,
) -> None:
    found = sweep(pytester, over(LARGE, 30 * GB), over(SMALL, 18 * GB))
    fits = nearest_to_lightest(found)
    assert fits
    assert fits[0].wanted == SMALL
    worse = nearest_to_lightest(sweep(pytester, over(SMALL, 26 * GB)))
    assert worse
    assert worse[0].needs_bytes > fits[0].needs_bytes or worse[0].change != fits[0].change


def test_what_is_wanted_is_the_largest_that_lacks_memory(pytester: pytest.Pytester) -> None:
    fine = TrialResult("llama-8b", dataclasses.replace(LARGE, rank=64), Outcome.OK)
    dominated = TrialResult(
        "llama-8b", LARGE, Outcome.SKIPPED, skip_reason=SkipReason.DOMINATED, started=False
    )
    found = sweep(pytester, over(SMALL, 18 * GB), dominated, fine)
    wanted = largest_that_lacks_memory(found)
    assert wanted is not None
    assert wanted.config == LARGE
    assert largest_that_lacks_memory(sweep(pytester, fine)) is None
    assert nearest_to_lightest(sweep(pytester, fine)) is None


def test_a_model_of_a_walk_that_is_over_the_budget_gets_one_line(pytester: pytest.Pytester) -> None:
    result = over(SMALL, 18 * GB)
    [line] = check_line(sweep(pytester, result), result)
    assert line.startswith("Fits by estimate with checkpointing: needs ")
    assert line.endswith(" GB; --yourai-grad-checkpoint")
    fine = TrialResult("llama-8b", SMALL, Outcome.OK)
    assert list(check_line(sweep(pytester, fine), fine)) == []


def test_a_stage_that_never_began_has_no_proposal(pytester: pytest.Pytester) -> None:
    found = dataclasses.replace(sweep(pytester, over(SMALL, None)), opened=None)
    assert nearest_to_lightest(found) is None


FITS = dataclasses.replace(SMALL, batch_size=1)

MODEL = ("--yourai-model=llama-8b", "--yourai-seq-length=4096")


def test_the_most_that_was_named_is_answered_with_what_would_fit(pytester: pytest.Pytester) -> None:
    named = (*MODEL, "--yourai-batch-size=1,2", "-k", "batch")
    about, command = advice(pytester, *named, fails=SMALL, fits=FITS)
    assert "does not fit; by estimate it does with checkpointing, needs " in about
    assert command == (
        "    pytest --yourai-model=llama-8b --yourai-seq-length=4096 --yourai-batch-size=2 "
        "--yourai-rank=16 --yourai-num-layers=16 --yourai-grad-checkpoint"
    )


def test_of_a_packaged_matrix_nobody_wants_the_most(pytester: pytest.Pytester) -> None:
    assert advice(pytester, MODEL[0], "--quick", fails=SMALL, fits=FITS) == []


def test_of_several_models_the_command_names_the_one_and_its_recipe(
    pytester: pytest.Pytester,
) -> None:
    flags = (*MODEL, "--yourai-model=r1-distill-14b", "--yourai-max-memory=14")
    long = dataclasses.replace(SMALL, dropout=0.1)
    _, command = advice(pytester, *flags, fails=long, fits=FITS)
    assert command.count("--yourai-model=") == 1
    for kept in ("--yourai-seq-length=4096", "--yourai-dropout=0.1", "--yourai-max-memory=14"):
        assert command.count(kept) == 1
