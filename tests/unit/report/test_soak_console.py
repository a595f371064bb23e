"""Which lines of soaks are shown, and when."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.stages import RunPlan, make_run_plan
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.console import Console
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_info import StageInfo

from support.profiles import GB, a_soak

SMALL, LARGE = LoraConfig(1, 32, 16, 512), LoraConfig(4, 64, 16, 512)
DEVICE = DeviceInfo("cuda", "H200", 10, None, "0.32", "0.32")
OPENED = StageInfo(
    title="x",
    weights="synthetic 4-bit",
    settings=SweepSettings(),
    notes=(),
    context=SweepContext(DEVICE, Inspection(32, 8 * GB, {}), Budget(28 * GB, "as given")),
    preflight=None,
    quantized_on_load=None,
)


def swept(pytester: pytest.Pytester, *models: str) -> tuple[RunPlan, RunResults, Console]:
    """Two configurations of the first model are ok, and shown."""
    flags = [f"--yourai-model={model}" for model in models]
    setup = make_run_plan(
        read_options(pytester.parseconfig(*flags, "--yourai-quick", "--yourai-soak=10"))
    )
    collected = RunResults(setup)
    console = Console(setup, collected)
    result = TrialResult(
        setup.stages[0].name,
        SMALL,
        Outcome.OK,
        step_times_s=(1.0,),
        step_tokens=(511,),
        minimum_memory_bytes=8 * GB,
        peak_memory_bytes=9 * GB,
    )
    for config in (SMALL, LARGE):
        result = dataclasses.replace(result, config=config)
        counts = ItemCounts(of_stage=2, of_all=2, models=1)
        reported = TrialReport(result.model, False, counts, OPENED, None, None, result)
        console.trial(reported, collected.add(reported))
    return setup, collected, console


def test_the_summary_of_one_model_is_that_of_what_lasted(pytester: pytest.Pytester) -> None:
    setup, collected, console = swept(pytester, "llama-8b")
    [stage] = setup.stages
    assert console.soak_begins(stage, LARGE) == "Soak: batch=4, rank=64, layers=16 for 10 min"
    collected.add_soak(stage, a_soak(LARGE, Outcome.CRASHED))
    collected.add_soak(stage, a_soak(SMALL))
    # The summary is still to come.
    assert list(console.soaked(stage)) == []
    lines = list(console.summary())
    assert "  Batch size:    1" in lines
    assert "  Outcomes:      2 ok" in lines
    assert not any(line.startswith("Configurations") for line in lines), "one is no choice"


def test_where_none_lasted_the_summary_says_so(pytester: pytest.Pytester) -> None:
    setup, collected, console = swept(pytester, "llama-8b")
    collected.add_soak(setup.stages[0], a_soak(SMALL, Outcome.PAGING))
    assert next(console.summary()) == "No configuration survived its soak"


def test_an_answer_that_was_shown_before_is_corrected(pytester: pytest.Pytester) -> None:
    setup, collected, console = swept(pytester, "dolphin-8b", "llama-8b")
    stage = setup.stages[0]
    assert console.soak_begins(stage, LARGE).startswith("Soak of dolphin-8b: batch=4")
    collected.add_soak(stage, a_soak(LARGE, Outcome.CRASHED))
    told = "After the soak of dolphin-8b: "
    assert list(console.soaked(stage)) == [f"{told}batch=1, rank=32, layers=16"]
    collected.add_soak(stage, a_soak(SMALL, Outcome.CRASHED))
    assert list(console.soaked(stage)) == [f"{told}none, all failed their soak"]


def test_an_answer_that_lasted_is_not_shown_twice(pytester: pytest.Pytester) -> None:
    setup, collected, console = swept(pytester, "dolphin-8b", "llama-8b")
    collected.add_soak(setup.stages[0], a_soak(LARGE))
    assert list(console.soaked(setup.stages[0])) == []
