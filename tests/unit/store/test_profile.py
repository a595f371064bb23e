import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.axes import VARIANTS
from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.digest import with_digest
from pytest_yourai.core.files import write_json
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.power import PowerState, PowerTrace, ThermalState
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.store.config_rows import ConfigRow
from pytest_yourai.store.profile import SCHEMA_VERSION, ProfileDocument, build_profile
from pytest_yourai.store.rows import TrialRow

from support.profiles import a_soak

OK = TrialResult(
    model="tiny",
    config=LoraConfig(2, 8, 4, 64),
    outcome=Outcome.OK,
    warmup_step_times_s=(0.2, 0.1, 0.1),
    step_times_s=(0.1, 0.3, 0.2),
    step_tokens=(126,) * 3,
    loss=5.5,
    minimum_memory_bytes=4_000_000,
    peak_memory_bytes=5_000_000,
    memory_limit_bytes=10_000_000,
)
OVER = TrialResult(
    model="tiny",
    config=LoraConfig(4, 8, 4, 64),
    outcome=Outcome.OVER_BUDGET,
    reason="needs 9.0 MB",
    minimum_memory_bytes=9_000_000,
)


def build(
    *results: TrialResult,
    complete: bool = True,
    soaks: tuple[SoakResult, ...] = (),
    verdicts: tuple[Verdict, ...] = (),
) -> dict[str, Any]:
    return build_profile(
        model="tiny",
        results=results,
        complete=complete,
        objective=Objective.SCORE,
        memory_limit_bytes=10_000_000,
        settings=SweepSettings(recipe={"seed": 0}),
        environment=Environment(chip="x"),
        soaks=soaks,
        verdicts=verdicts,
    )


def test_what_measuring_again_says_is_in_the_profile() -> None:
    slower = Verdict(OK.config, "step_time: 20 % longer", (0.2, 0.21), is_confirmed=True)
    document = json.dumps(build(OK, verdicts=(slower,)))
    [row] = ProfileDocument.model_validate_json(document).confirmation
    assert (row.regression, row.confirmed, row.changes) == (slower.regression, True, [0.2, 0.21])


def test_a_profile_is_valid_by_its_own_schema() -> None:
    soaks = (a_soak(OK.config, Outcome.CRASHED, slowdown=None),)
    document = with_digest(build(OK, OVER, soaks=soaks))
    read = ProfileDocument.model_validate_json(json.dumps(document))
    assert read.model_dump(mode="json").keys() == document.keys()
    assert read.all_results[1].to_result("tiny") == OVER
    assert [each.to_result() for each in read.soak or ()] == list(soaks)


def test_all_promised_keys_are_there() -> None:
    profile = build(OK, OVER)
    assert {
        "schema_version",
        "model",
        "optimal_batch_size",
        "optimal_lora_rank",
        "optimal_lora_layers",
        "optimal_max_seq_length",
        "optimal_grad_checkpoint",
        "optimal_fine_tune_type",
        "optimal_optimizer",
        "optimal_lora_keys",
        "optimal_dropout",
        "optimal_grad_accumulation_steps",
        "peak_memory_gb",
        "throughput_score",
        "created_at",
        "all_results",
        "complete",
        "trials_run",
        "memory_limit_gb",
        "objective",
        "optimal_for",
        "answers",
        "pareto",
        "settings",
        "environment",
        "data",
        "soak",
        "other_results",
        "confirmation",
        "identity",
    } == set(profile)
    assert profile["soak"] is None
    assert profile["optimal_batch_size"] == 2
    assert profile["throughput_score"] == 64
    assert profile["peak_memory_gb"] == 0.005
    assert profile["trials_run"] == 2
    assert profile["created_at"].endswith("+00:00")


def test_what_is_best_and_unbeaten_is_named_by_its_whole_configuration() -> None:
    best = dataclasses.replace(OK, config=LoraConfig(2, 8, 4, 128, grad_checkpoint=True))
    profile = build(OK, best)
    assert profile["optimal_max_seq_length"] == 128
    assert profile["optimal_grad_checkpoint"] is True
    named = {
        "batch_size": 2,
        "lora_rank": 8,
        "lora_layers": 4,
        "max_seq_length": 128,
        "grad_checkpoint": True,
        "fine_tune_type": "lora",
        "optimizer": "adam",
        "lora_keys": "qkvo",
        "dropout": 0.0,
        "grad_accumulation_steps": 1,
    }
    assert profile["optimal_for"] == {"score": named, "tokens_per_second": named}
    assert profile["pareto"] == [named]


def test_the_three_answers_are_named_with_what_they_measured() -> None:
    fast = dataclasses.replace(
        OK, config=LoraConfig(1, 8, 4, 64), step_times_s=(0.01,) * 3, step_tokens=(63,) * 3
    )
    found = build(OK, fast, OVER)["answers"]
    assert found["largest"]["batch_size"] == 2
    assert found["largest"]["throughput_score"] == 64
    assert found["fastest"] == found["leanest"]
    assert found["fastest"] == {
        **{key: found["fastest"][key] for key in ConfigRow.model_fields},
        "minimum_memory_gb": 0.004,
        "peak_memory_gb": 0.005,
        "tokens_per_second": 6300,
        "throughput_score": 32,
        "command": None,
    }
    assert build(OVER)["answers"] == {"largest": None, "fastest": None, "leanest": None}


def test_what_did_not_survive_its_soak_is_not_the_answer() -> None:
    better = dataclasses.replace(OK, config=LoraConfig(4, 8, 4, 64))
    soaks = (a_soak(better.config, Outcome.CRASHED, slowdown=None), a_soak(OK.config))
    profile = build(OK, better, soaks=soaks)
    assert profile["optimal_batch_size"] == 2
    assert {found["batch_size"] for found in profile["optimal_for"].values()} == {2}
    assert [found["batch_size"] for found in profile["pareto"]] == [2]
    assert [found["success"] for found in profile["all_results"]] == [True, True]
    failed, survivor = profile["soak"]
    assert (failed["batch_size"], failed["outcome"], failed["error"]) == (
        4,
        "crashed",
        "it was too much",
    )
    assert failed["success"] is False
    assert failed["slowdown"] is None
    assert (survivor["batch_size"], survivor["success"], survivor["error"]) == (2, True, None)
    assert (survivor["asked_minutes"], survivor["steps"]) == (10, 1234)
    assert survivor["minutes"] == pytest.approx(10.02, abs=0.01)
    assert survivor["peak_memory_mb"] == 20_900
    assert survivor["active_growth_mb_per_step"] == -1e-6


def test_a_row_has_what_was_measured() -> None:
    found = TrialRow.from_result(OK).as_json()
    assert found["step_time_ms"] == found["update_time_ms"] == 200
    assert found["peak_memory_mb"] == 5
    assert found["minimum_memory_mb"] == 4
    assert found["safe_memory_mb"] == 4.6
    assert found["tokens_per_second"] == 630
    assert found["success"] is True
    assert found["error"] is None


def test_an_over_budget_row_has_its_minimum_as_peak() -> None:
    found = TrialRow.from_result(OVER).as_json()
    assert (found["peak_memory_mb"], found["success"]) == (9, False)
    assert found["error"] == "needs 9.0 MB"
    assert found["step_time_ms"] is found["update_time_ms"] is None


def test_where_nothing_fits_the_optimum_is_null() -> None:
    profile = build(OVER, complete=False)
    assert profile["optimal_batch_size"] is profile["peak_memory_gb"] is None
    assert profile["optimal_max_seq_length"] is profile["optimal_grad_checkpoint"] is None
    assert profile["optimal_for"] == {"score": None, "tokens_per_second": None}
    assert profile["complete"] is False


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "p.json", {"loss": float("nan"), "list": [float("inf"), 1.0]}, "--flag")
    written = json.loads((tmp_path / "p.json").read_text())
    assert written == with_digest({"loss": None, "list": [None, 1.0]})


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    write_json(path, {"a": 1}, "--flag")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()}, "--flag")
    assert json.loads(path.read_text()) == with_digest({"a": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_the_profile_recorded_on_a_gpu_has_the_form_of_today() -> None:
    path = Path(__file__).parents[2] / "data" / "h200_llama8b_quick.json"
    recorded = json.loads(path.read_text())
    later = {axis.key for axis in VARIANTS} - {"max_seq_length", "grad_checkpoint"}
    newer = {"answers", "other_results", "confirmation", "identity"}
    newer |= {f"optimal_{key}" for key in later}
    assert set(recorded) == set(build(OK)) - newer
    assert recorded["schema_version"] == SCHEMA_VERSION
    assert len(recorded["all_results"]) == 12
    for each in recorded["all_results"]:
        left_out = later | {
            "skip_reason",
            "remedy",
            "overdue",
            "load_time_s",
            "compile_time_s",
            "power",
            "trained_parameters",
            "predicted_peak_memory_bytes",
            "survey_step_times_s",
        }
        left_out |= {"update_time_s", "update_time_ms"}
        own = TrialRow.from_result(OK).as_json()
        assert list(each) == [key for key in own if key not in left_out]
        assert each["minimum_memory_bytes"] < each["peak_memory_bytes"]


def test_power_and_heat_are_read_as_they_were_written() -> None:
    trace = PowerTrace(
        PowerState("mains", 100, False, ThermalState.NOMINAL, 100),
        PowerState("battery", 90, True, ThermalState.SERIOUS, 72),
        PowerState(),
    )
    result = TrialResult("m", LoraConfig(1, 8, 4, 64), Outcome.ERROR, "no", power=trace)
    written = json.loads(json.dumps(TrialRow.from_result(result).as_json()))
    assert written["power"]["worst"]["thermal"] == "serious"
    assert TrialRow.model_validate(written).to_result("m") == result
    written["power"]["worst"]["thermal"] = "boiling"
    read = TrialRow.model_validate(written).to_result("m").power
    assert read is not None
    assert read.worst.thermal is None, "a state that a later version has added"
