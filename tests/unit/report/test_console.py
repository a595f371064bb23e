"""What a walk over models shows of its trials, and when."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.stages import RunPlan, make_run_plan
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.console import Console
from pytest_yourai.sweep.preflight import Preflight
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_info import StageInfo

GB = 1_000_000_000
LEAN = LoraConfig(2, 64, 16, 64, grad_checkpoint=True)
PASSED = TrialResult(
    "dolphin-8b",
    LEAN,
    Outcome.OK,
    step_times_s=(1.0,),
    step_tokens=(100,),
    minimum_memory_bytes=8 * GB,
    peak_memory_bytes=9 * GB,
    epoch_time_s=60.0,
)
OPENED = StageInfo(
    title="Dolphin",
    weights="synthetic 4-bit",
    settings=SweepSettings(),
    notes=("a note",),
    context=SweepContext(
        DeviceInfo("cpu", "AMD", None, None, "0.32", "0.32"),
        Inspection(32, 8 * GB, {}, data=TrainingData((20, 600, 30, 40))),
        Budget(28 * GB, "as given"),
    ),
    preflight=Preflight(LEAN, 24 * GB, 4 * GB, 8 * GB, 9 * GB),
    quantized_on_load=None,
)
COUNTS = ItemCounts(of_stage=1, of_all=2, models=2)


class Walk:
    """A console, and the lines that it has printed."""

    def __init__(self, pytester: pytest.Pytester, *flags: str) -> None:
        config = pytester.parseconfig("--yourai-benchmark", *flags)
        self.setup: RunPlan = make_run_plan(read_options(config))
        self.collected = RunResults(self.setup)
        self.console = Console(self.setup, self.collected)

    def open(self, *, is_check: bool) -> list[str]:
        stage = self.setup.stage_called("dolphin-8b", is_check=is_check)
        is_new = self.collected.add_stage(stage, OPENED, COUNTS)
        return self.console.opened(stage, OPENED, COUNTS, []) if is_new else []

    def end(self, result: TrialResult, *, is_check: bool) -> list[str]:
        trial = TrialReport("dolphin-8b", is_check, COUNTS, None, None, None, result)
        return self.console.trial(trial, self.collected.add(trial))


@pytest.fixture
def sweeps(pytester: pytest.Pytester) -> Walk:
    return Walk(pytester, "--yourai-optimize", "--yourai-quick", "--yourai-seq-length=64,128")


def test_a_check_is_shown_with_its_rows_and_with_the_data_around_its_line(
    pytester: pytest.Pytester,
) -> None:
    walk = Walk(pytester, "--yourai-seq-length=64", "--yourai-grad-checkpoint")
    said = walk.open(is_check=True)
    start = next(place for place, line in enumerate(said) if line.startswith("Pre-flight"))
    before, data, first, *_, cut, note = said[start:]
    assert before.startswith("Pre-flight dolphin-8b: 24.0 GB available")
    assert before.endswith("for batch=2, rank=64, layers=16, seq=64, checkpoint=on")
    assert data == "      Training data: 4 rows, 690 tokens; a row has 20 to 600, median 35"
    assert first.startswith("          19–21  ███")
    assert cut == "        1 row of over 64 tokens is cut"
    assert note == "Note: a note"
    line, longest, padding, epoch = walk.end(PASSED, is_check=True)
    verdict = "✓ Pass (needs 8.0 GB, takes 9.0 GB), synthetic 4-bit"
    assert line == f"[1/2] dolphin-8b         (  8B) ... {verdict}"
    assert longest == "        Longest batch: 64 tokens, 1.0s a step, needs 8.0 GB, takes 9.0 GB"
    assert padding.startswith("        Padding:       ")
    assert epoch == "        Epoch:         about 60 s, 2 steps"


def test_a_check_that_did_not_pass_has_no_epoch(pytester: pytest.Pytester) -> None:
    walk = Walk(pytester)
    walk.open(is_check=True)
    over = dataclasses.replace(PASSED, outcome=Outcome.OVER_BUDGET, reason="needs more")
    line, *others = walk.end(over, is_check=True)
    assert not any("epoch" in other for other in others)
    assert "over budget: needs more" in line


def test_the_data_is_shown_once_for_all_that_a_model_is_tried_with(sweeps: Walk) -> None:
    said = sweeps.open(is_check=True)
    assert [line.split(" are ")[0].split(" is ")[0] for line in said if "cut" in line] == [
        "        1 row of over 64 tokens",
        "        1 row of over 128 tokens",
    ]
    sweeps.end(PASSED, is_check=True)
    assert sweeps.open(is_check=False) == ["Note: a note"]
    trial, optimum, longest, padding, _ = sweeps.end(PASSED, is_check=False)
    assert trial.startswith("      [1/1] batch=2")
    assert optimum.startswith("      Largest, fastest, leanest: batch=2")
    assert longest.startswith("        Longest batch:")
    assert padding.startswith("        Padding:")


def test_a_sweep_whose_check_is_not_selected_names_its_model(sweeps: Walk) -> None:
    said = sweeps.open(is_check=False)
    assert "Trying 2 models, smallest first, until one does not fit" in said
    assert "[1/2] dolphin-8b         (  8B) ... swept without a check, synthetic 4-bit" in said
    assert any(line.startswith("      Training data: ") for line in said)


def test_a_sweep_that_could_not_begin_says_so_once(sweeps: Walk) -> None:
    failed = dataclasses.replace(PASSED, outcome=Outcome.ERROR, reason="no config")
    said = sweeps.end(failed, is_check=False)
    assert said[-1] == "[1/2] dolphin-8b         (  8B) ... ✗ error: no config"
    config = dataclasses.replace(failed.config, batch_size=2 * failed.config.batch_size)
    assert sweeps.end(dataclasses.replace(failed, config=config), is_check=False) == []


def test_nothing_is_concluded_before_anything_was_tried(pytester: pytest.Pytester) -> None:
    walk = Walk(pytester)
    walk.open(is_check=True)
    assert list(walk.console.summary()) == [
        "Incomplete: not all models and configurations were tried"
    ]
    walk.end(PASSED, is_check=True)
    assert list(walk.console.summary()) == [
        "Incomplete: not all models and configurations were tried",
        "Recommended: dolphin-8b (largest model that fits)",
    ]


def test_without_a_model_that_can_be_planned_nothing_is_predicted_for(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "models.yaml").write_text("absent: {path: nowhere}\n")
    walk = Walk(pytester, "--yourai-models=models.yaml")
    [line] = walk.console.predictions(["absent"])
    assert line.startswith("  absent  unavailable: absent: there is no folder")
