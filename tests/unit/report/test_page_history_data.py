import copy

import pytest

from pytest_yourai.report.page.history_data import comparisons_data, history_data
from pytest_yourai.store.compare.thresholds import (
    DEFAULT_THRESHOLDS,
    make_thresholds,
    parse_fail_on,
)

from support.profiles import failed_only, later, profiles_of, quick


def test_each_is_compared_with_the_first_of_its_model() -> None:
    other = {**quick(), "model": "other"}
    profiles = profiles_of(quick(), other, later(12, "0.33.0", 1.5), other)
    found = comparisons_data(profiles, DEFAULT_THRESHOLDS)
    assert [(each["before"], each["after"]) for each in found] == [(0, 2), (1, 3)]
    slower, same = found
    assert len(slower["changes"]) == 12
    assert any("mlx 0.32.4, now 0.33.0" in each for each in slower["differences"])
    assert slower["regressions"]
    assert same["regressions"] == []
    assert all(each["step_time"][1] > each["step_time"][0] for each in slower["changes"])


def test_the_gate_decides_what_is_a_regression() -> None:
    profiles = profiles_of(quick(), later(12, "0.33.0", 1.5))
    [found] = comparisons_data(profiles, make_thresholds([parse_fail_on("step_time:300%")]))
    assert found["regressions"] == []
    assert found["gate"] == "step_time:300%"


def test_what_no_longer_fits_is_marked() -> None:
    [found] = comparisons_data(profiles_of(quick(), failed_only()), DEFAULT_THRESHOLDS)
    assert all(each["worse"] for each in found["changes"])
    assert {(each["before"], each["after"]) for each in found["changes"]} == {("ok", "over_budget")}


def test_a_history_is_of_one_model_on_one_machine_oldest_first() -> None:
    elsewhere = copy.deepcopy(later(2, "0.1", 1))
    elsewhere["environment"]["device"] = "another"
    nothing = {**failed_only(), "created_at": "2026-05-01T00:00:00+00:00"}
    profiles = profiles_of(later(3, "0.2", 1), later(1, "0.1", 1), elsewhere, nothing)
    [found] = history_data(profiles)
    assert [each["profile"] for each in found["points"]] == [1, 0, 3]
    assert [each["changed"] for each in found["points"]] == [[], ["mlx"], ["mlx"]]
    assert found["points"][-1]["optimum"] is None
    assert found["points"][0]["optimum"] == "batch=4, rank=128, layers=32"
    assert found["machine"] == "NVIDIA H200 (cuda), 150.8 GB"


def test_a_history_joins_no_two_matrices() -> None:
    larger = [later(month, "0.1", 1) for month in (3, 4)]
    for each in larger:
        each["all_results"] = each["all_results"][-1:]
    found = history_data(profiles_of(*larger, later(1, "0.1", 1), later(2, "0.1", 1)))
    assert [[each["profile"] for each in group["points"]] for group in found] == [[0, 1], [2, 3]]
    assert [group["matrix"] for group in found] == [
        "1 configuration, batch 4, rank 128, layers 32",
        "12 configurations, batch 1 to 4, rank 64 to 128, layers 16 to 32",
    ]


def test_profiles_that_share_no_configuration_are_not_comparable() -> None:
    other = later(12, "0.33.0", 1.5)
    for row in other["all_results"]:
        row["batch_size"] *= 16
    [found] = comparisons_data(profiles_of(quick(), other), DEFAULT_THRESHOLDS)
    assert found["not_comparable"].endswith("in the second: compare profiles of one matrix")
    assert found["regressions"] == []
    [alike] = comparisons_data(profiles_of(quick(), later(2, "0.1", 1)), DEFAULT_THRESHOLDS)
    assert alike["not_comparable"] is None


def test_one_profile_is_not_a_history() -> None:
    undated = {key: value for key, value in quick().items() if key != "created_at"}
    assert history_data(profiles_of(quick(), undated)) == []


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        ("2026-05-01T12:00:00+02:00", "2026-05-01T10:00:00+00:00"),
        ("0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00"),
    ],
)
def test_times_are_those_of_utc(made: str, shown: str) -> None:
    [found] = history_data(profiles_of({**quick(), "created_at": made}, later(7, "0.1", 1)))
    assert found["points"][0]["at"] == shown
