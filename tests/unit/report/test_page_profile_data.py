import dataclasses
import json
from importlib.resources import files
from typing import Any

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import LETTERS, Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.report.page.profile_data import frontier, outcome_data, profile_data, row_data

from support.profiles import OPTIMUM, failed_only, full, profiles_of, quick, with_failures


def test_numbers_of_rows_name_the_same_rows_as_the_profile() -> None:
    [each] = profiles_of(quick())
    found = profile_data(each)
    best = found["rows"][found["optimum"]]
    assert (best["batch_size"], best["lora_rank"], best["lora_layers"]) == (4, 128, 32)
    assert best["minimum_memory_bytes"] == quick()["all_results"][-1]["minimum_memory_bytes"]
    assert best["safe_memory_bytes"] == round(best["minimum_memory_bytes"] * 1.15)
    unbeaten = {tuple(row.values()) for row in quick()["pareto"]}
    rows = [found["rows"][number] for number in found["unbeaten"]]
    assert unbeaten == {
        (
            row["batch_size"],
            row["lora_rank"],
            row["lora_layers"],
            row["max_seq_length"],
            row["grad_checkpoint"],
        )
        for row in rows
    }
    json.dumps(found, allow_nan=False)


def test_a_row_says_all_that_its_trial_measured() -> None:
    [each] = profiles_of(quick())
    # The smallest configuration: it is the last of a page, which begins with the best.
    row = profile_data(each)["rows"][-1]
    recorded = quick()["all_results"][0]
    assert row["name"] == "batch=1, rank=64, layers=16"
    assert row["warmup_step_times_s"] == pytest.approx(recorded["warmup_step_times_s"], abs=1e-6)
    assert len(row["step_times_s"]) == 10
    assert row["step_tokens"] == [511]
    assert row["prediction_error"] == pytest.approx(
        recorded["predicted_minimum_memory_bytes"] / recorded["minimum_memory_bytes"] - 1
    )
    for key in (
        "active_memory_bytes",
        "cache_memory_bytes",
        "footprint_bytes",
        "loss",
        "tokens_per_second",
        "step_time_s",
    ):
        assert row[key] is not None


def test_rows_are_best_first_and_answers_are_rows() -> None:
    [each] = profiles_of(with_failures())
    found = profile_data(each)
    fits = [row["outcome"] == "ok" for row in found["rows"]]
    assert fits == sorted(fits, reverse=True)
    assert found["optimum"] == 0
    answers = {
        name: found["rows"][answer["row"]]
        for answer in found["answers"]
        for name in answer["names"]
    }
    fitting = [row for row, is_fit in zip(found["rows"], fits, strict=True) if is_fit]
    assert answers["largest"] == max(fitting, key=lambda row: row["throughput_score"])
    assert answers["fastest"] == max(fitting, key=lambda row: row["tokens_per_second"])
    assert answers["leanest"]["minimum_memory_bytes"] <= answers["fastest"]["minimum_memory_bytes"]
    [nothing] = profiles_of(failed_only())
    assert profile_data(nothing)["answers"] == []


def test_errors_of_predictions_are_summed_up() -> None:
    [each] = profiles_of(quick())
    assert profile_data(each)["prediction"] == {
        "mean": pytest.approx(0.0117, abs=1e-3),
        "largest": pytest.approx(0.02, abs=1e-3),
        "trials": 12,
    }


def test_where_nothing_fits_the_reasons_are_shown_by_outcome() -> None:
    [each] = profiles_of(failed_only())
    found = profile_data(each)
    assert found["heading"] == "No configuration fits"
    assert (found["optimum"], found["command"], found["frontier"]) == (None, None, [])
    assert found["outcomes"] == [
        {"outcome": "over_budget", "count": 12, "reasons": ["its minimum is over the budget"]}
    ]


def test_what_failed_is_a_row_but_no_point_of_the_frontier() -> None:
    [each] = profiles_of(with_failures())
    found = profile_data(each)
    failed = [row for row in found["rows"] if row["outcome"] != "ok"]
    assert [row["outcome"] for row in failed] == ["oom", "timeout"]
    assert all(found["rows"][number]["outcome"] == "ok" for number in found["frontier"])


def test_along_the_frontier_more_memory_is_always_faster() -> None:
    [each] = profiles_of(full(1))
    results = list(each.results.values())
    line = frontier(results)
    memory = [found.minimum_memory_bytes or 0 for found in line]
    speed = [found.tokens_per_second or 0 for found in line]
    assert memory == sorted(set(memory))
    assert speed == sorted(set(speed))
    for other in results:
        below = [
            (found.tokens_per_second or 0)
            for found in line
            if (found.minimum_memory_bytes or 0) <= (other.minimum_memory_bytes or 0)
        ]
        assert max(below) >= (other.tokens_per_second or 0)


def soaked(outcome: str) -> dict[str, Any]:
    """The same sweep, whose first and smallest configuration was soaked."""
    config = {key: quick()["all_results"][0][key] for key in OPTIMUM}
    soak = {**config, "outcome": outcome, "asked_minutes": 10, "minutes": 1, "steps": 100}
    return {**quick(), "soak": [soak]}


def test_what_did_not_survive_its_soak_is_marked_and_beaten() -> None:
    [each], [without] = profiles_of(soaked("crashed")), profiles_of(quick())
    found = profile_data(each)
    assert [row["lasting"] for row in found["rows"]] == [True] * 11 + [False]
    assert 11 in profile_data(without)["unbeaten"]
    assert 11 not in found["unbeaten"] + found["frontier"]


def test_what_needs_no_less_than_a_configuration_that_failed_its_soak_is_beaten_too() -> None:
    [each] = profiles_of(soaked("over_budget"))
    found = profile_data(each)
    assert [row["lasting"] for row in found["rows"]] == [False] * 12
    assert found["unbeaten"] == found["frontier"] == []


def test_a_frontier_of_nothing_is_empty() -> None:
    failed = TrialResult("m", LoraConfig(1, 1, 1, 2), Outcome.OOM)
    assert frontier([failed, dataclasses.replace(failed, outcome=Outcome.OK)]) == []


def test_every_outcome_has_a_letter_of_its_own() -> None:
    assert len(set(LETTERS.values())) == len(Outcome)
    assert {each["kind"] for each in outcome_data().values()} == {
        "ok",
        "memory",
        "failure",
        "unknown",
    }


def test_a_row_of_full_fine_tuning_has_no_rank_and_no_modules() -> None:
    config = LoraConfig(2, 0, 4, 64, fine_tune_type=FineTuneType.FULL).canonical()
    row = row_data(TrialResult("m", config, Outcome.OK), ConfigLabels.of([config]))
    assert (row["lora_rank"], row["lora_keys"], row["dropout"]) == (None, None, None)
    assert row["score_factors"] == [2, 4]


def test_no_script_was_left_half_merged() -> None:
    for script in (files("pytest_yourai.report.page") / "scripts").iterdir():
        assert "<<<<<<<" not in script.read_text(encoding="utf-8"), script.name
