"""What comes in of a run, in whatever order, becomes one document."""

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
from pytest_yourai.store.profile_reader import profiles_in
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_info import StageInfo

from support.hub import bare_model
from support.models import TINY
from support.profiles import a_soak, document

SAFE = LoraConfig(2, 64, 16, 512)
OK = TrialResult(
    "m",
    SAFE,
    Outcome.OK,
    step_times_s=(1.0,),
    step_tokens=(1022,),
    minimum_memory_bytes=8_000_000_000,
    peak_memory_bytes=9_000_000_000,
)

OPENED = StageInfo(
    title="Dolphin",
    weights="synthetic 4-bit",
    settings=SweepSettings(),
    notes=(),
    context=SweepContext(
        DeviceInfo("cpu", "AMD", None, None, "0.32", "0.32"),
        Inspection(32, 8_000_000_000, {}, data=TrainingData((20, 600, 30))),
        Budget(28, "as given"),
    ),
    preflight=None,
    quantized_on_load=None,
)


def walk(pytester: pytest.Pytester, *flags: str) -> RunPlan:
    return make_run_plan(read_options(pytester.parseconfig("--yourai-benchmark", *flags)))


def reported(
    model: str, result: TrialResult, *, is_check: bool = True, of_all: int = 3
) -> TrialReport:
    counts = ItemCounts(of_stage=1, of_all=of_all, models=3)
    result = dataclasses.replace(result, model=model)
    return TrialReport(model, is_check, counts, None, None, None, result)


def test_models_come_smallest_first_and_the_largest_that_fits_is_recommended(
    pytester: pytest.Pytester,
) -> None:
    collected = RunResults(walk(pytester))
    over = dataclasses.replace(OK, outcome=Outcome.OVER_BUDGET, reason="no")
    for model, result in (("hermes-70b", over), ("r1-distill-14b", OK), ("dolphin-8b", OK)):
        collected.add(reported(model, result))
    document = collected.document()
    assert [row["preset"] for row in document["results"]] == [
        "dolphin-8b",
        "r1-distill-14b",
        "hermes-70b",
    ]
    assert document["recommended"] == "r1-distill-14b"
    assert document["complete"] is True
    # No worker has described a machine.
    assert document["environment"] is None
    assert document["results"][0]["memory_limit_gb"] is None


def test_what_was_selected_and_did_not_come_in_makes_it_incomplete(
    pytester: pytest.Pytester,
) -> None:
    collected = RunResults(walk(pytester))
    collected.add(reported("dolphin-8b", OK))
    assert not collected.is_complete
    # Of nothing that came in nobody can say that it is all.
    assert not RunResults(walk(pytester)).is_complete
    assert collected.document()["complete"] is False


def test_where_no_model_could_be_opened_the_budget_is_the_one_that_was_given(
    pytester: pytest.Pytester,
) -> None:
    collected = RunResults(walk(pytester, "--yourai-max-memory=24"))
    collected.add(reported("dolphin-8b", dataclasses.replace(OK, outcome=Outcome.UNAVAILABLE)))
    assert collected.document()["max_memory_gb"] == 24.0
    assert collected.document()["results"][0]["data"] is None


def test_a_model_goes_by_the_name_that_the_user_gave_it(pytester: pytest.Pytester) -> None:
    bare_model(pytester.path / "a b" / "mine", TINY)
    collected = RunResults(walk(pytester, "--yourai-model=a b/mine"))
    collected.add(reported("mine", OK))
    document = collected.document()
    assert (document["results"][0]["preset"], document["recommended"]) == ("a b/mine", "a b/mine")
    assert document["results"][0]["model_name"] == "mine"


def test_a_row_has_what_the_data_is_in_the_checks_configuration(
    pytester: pytest.Pytester,
) -> None:
    collected = RunResults(walk(pytester))
    collected.add(dataclasses.replace(reported("dolphin-8b", OK), opened=OPENED))
    data = collected.document()["results"][0]["data"]
    assert (data["rows"], data["longest"]) == (3, 600)
    [epoch] = data["epochs"]
    assert (epoch["batch_size"], epoch["max_seq_length"], epoch["rows_cut"]) == (2, 512, 1)


def test_what_was_looked_at_and_not_tried_is_not_a_result(pytester: pytest.Pytester) -> None:
    setup = walk(pytester, "--yourai-optimize", "--yourai-quick")
    swept, checked = RunResults(setup), RunResults(setup)
    for collected, is_check in ((swept, True), (checked, False)):
        stage = setup.stage_called("dolphin-8b", is_check=is_check)
        collected.add_stage(stage, OPENED, ItemCounts(1, 1, 1))
        trial = reported("dolphin-8b", OK, is_check=not is_check)
        collected.add(dataclasses.replace(trial, opened=OPENED))
    [of_sweep], [of_check] = swept.models(), checked.models()
    assert of_sweep.check is None
    assert of_sweep.profile is not None
    assert of_check.check is not None
    assert of_check.profile is None


def test_a_check_and_the_sweep_of_its_model_are_one_row(pytester: pytest.Pytester) -> None:
    collected = RunResults(walk(pytester, "--yourai-optimize", "--yourai-quick"))
    faster = dataclasses.replace(OK, config=LoraConfig(4, 128, 32, 512), step_times_s=(0.5,))
    collected.add(reported("dolphin-8b", OK, of_all=2))
    collected.add(reported("dolphin-8b", faster, is_check=False, of_all=2))
    [model] = collected.models()
    assert model.check is not None
    assert model.check.config == SAFE
    assert model.optimum is not None
    assert model.optimum.config.batch_size == 4
    assert collected.document()["results"][0]["safe_config"]["lora_rank"] == 64


def test_a_model_of_which_nothing_survived_its_soak_is_not_recommended(
    pytester: pytest.Pytester,
) -> None:
    setup = walk(pytester, "--yourai-optimize", "--yourai-quick", "--yourai-soak=10")
    collected = RunResults(setup)
    for model in ("dolphin-8b", "r1-distill-14b"):
        for is_check in (True, False):
            collected.add(reported(model, OK, is_check=is_check, of_all=4))
    large = setup.stage_called("r1-distill-14b", is_check=False)
    collected.add_soak(large, a_soak(SAFE, Outcome.PAGING))
    document = collected.document()
    assert document["recommended"] == "dolphin-8b"
    rows = {row["preset"]: row for row in document["results"]}
    assert rows["r1-distill-14b"]["success"] is False
    assert rows["r1-distill-14b"]["error"] == "no configuration survived its soak"
    assert document["complete"] is True
    assert collected.has_success


def test_where_no_soak_was_survived_nothing_succeeded(pytester: pytest.Pytester) -> None:
    setup = make_run_plan(
        read_options(pytester.parseconfig("--yourai-model=tiny", "--yourai-soak=10"))
    )
    collected = RunResults(setup)
    collected.add(reported("tiny", OK, is_check=False, of_all=1))
    assert collected.has_success
    collected.add_soak(setup.stages[0], a_soak(SAFE, Outcome.CRASHED))
    assert not collected.has_success


def test_the_file_for_mlx_lm_of_full_fine_tuning_has_no_adapters(
    pytester: pytest.Pytester,
) -> None:
    flags = ("--yourai-model=tiny", "--yourai-fine-tune-type=full")
    setup = make_run_plan(read_options(pytester.parseconfig(*flags)))
    [stage] = setup.stages
    assert stage.setup is not None
    result = dataclasses.replace(OK, config=stage.setup.plan.configs[0])
    collected = RunResults(setup)
    trial = reported("tiny", result, is_check=False, of_all=1)
    collected.add(dataclasses.replace(trial, opened=OPENED))
    text = collected.lora_config("lora.yaml") or ""
    assert {"fine_tune_type: full", "lora_parameters: null"} <= set(text.splitlines())
    assert "not recorded" not in text


def test_a_walk_keeps_the_models_of_an_earlier_one_of_its_identity(
    pytester: pytest.Pytester,
) -> None:
    def walked(*models: str, flags: tuple[str, ...] = ()) -> RunResults:
        collected = RunResults(walk(pytester, *flags))
        for model in models:
            collected.add(dataclasses.replace(reported(model, OK), opened=OPENED))
        return collected

    before = walked("dolphin-8b", "llama-8b").document()
    now = walked("dolphin-8b")
    assert now.merge_models(before)
    assert [row["preset"] for row in now.document()["results"]] == ["dolphin-8b", "llama-8b"]
    assert now.document()["recommended"] == "llama-8b"
    assert not walked("dolphin-8b", flags=("--yourai-max-memory=9",)).merge_models(before)
    assert not RunResults(walk(pytester)).merge_models(before)
    assert not now.merge(profiles_in(document(), "p.json")[0])


def test_a_profile_is_merged_with_the_earlier_rows_of_its_identity(
    pytester: pytest.Pytester,
) -> None:
    def swept(*sizes: int, identity: str = "same") -> RunResults:
        flags = ("--yourai-model=llama-8b", "--yourai-quick")
        collected = RunResults(make_run_plan(read_options(pytester.parseconfig(*flags))))
        for size in sizes:
            result = dataclasses.replace(OK, config=LoraConfig(size, 64, 16, 512))
            trial = reported("llama-8b", result, is_check=False)
            context = dataclasses.replace(OPENED.context, budget=Budget(28 * 10**9, "as given"))
            opened = dataclasses.replace(OPENED, identity=identity, context=context)
            collected.add(dataclasses.replace(trial, opened=opened))
        return collected

    [before] = profiles_in(swept(1, 4).document(), "p.json")
    now = swept(1, 2)
    assert now.merged_rows is None
    assert now.merge(before)
    found = now.document()
    assert [row["batch_size"] for row in found["all_results"]] == [1, 4, 2]
    assert found["optimal_batch_size"] == 4
    assert found["complete"] is True
    assert now.merged_rows is not None
    assert len(now.merged_rows.results) == 3
    assert not swept(1, identity="other").merge(before)
    assert not RunResults(walk(pytester)).merge(before)
