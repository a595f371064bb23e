"""A run never makes a profile poorer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.merging import Rows, can_be_merged, merged, merged_entries
from pytest_yourai.store.profile_reader import profiles_in
from pytest_yourai.store.stored_profile import StoredProfile

from support.profiles import a_soak, document, stored

ONE, TWO, THREE = (LoraConfig(size, 8, 4, 64) for size in (1, 2, 4))


def trial(config: LoraConfig, time_s: float, outcome: Outcome = Outcome.OK) -> TrialResult:
    return TrialResult("m", config, outcome, step_times_s=(time_s,) * 3)


def before(*results: TrialResult, others: tuple[TrialResult, ...] = ()) -> StoredProfile:
    return StoredProfile("p", "m", {each.config: each for each in results}, others=others)


def test_rows_that_were_not_measured_again_stay() -> None:
    found = merged(before(trial(ONE, 1), trial(TWO, 1)), Rows((trial(TWO, 2), trial(THREE, 2))))
    assert [(each.config, each.step_times_s[0], each.kept) for each in found.results] == [
        (ONE, 1, True),
        (TWO, 2, False),
        (THREE, 2, False),
    ]
    assert [(each.config, each.step_times_s[0]) for each in found.others] == [(TWO, 1)]


def test_without_an_earlier_profile_the_rows_are_those_of_the_run() -> None:
    rows = Rows((trial(ONE, 1),))
    assert merged(None, rows) is rows
    assert rows.remaining == [trial(ONE, 1)]


def test_what_was_skipped_now_keeps_its_measurement() -> None:
    skip = TrialResult.skipped("m", ONE, Skip(SkipReason.SEARCH_IS_DONE, "not needed"))
    assert merged(before(trial(ONE, 1)), Rows((skip,))).results[0].step_times_s[0] == 1
    assert merged(before(skip), Rows((trial(ONE, 1),))).results == (trial(ONE, 1),)
    assert merged(before(skip), Rows((skip,))).results == (skip,)
    assert merged(before(skip), Rows(())).results == (skip,)


@pytest.mark.parametrize(
    ("outcome", "conclusive", "counts"),
    [
        (Outcome.OOM, True, True),
        (Outcome.SAFETY_STOP, False, False),
        (Outcome.TIMEOUT, True, False),
        (Outcome.CRASHED, True, False),
    ],
)
def test_only_a_failure_that_shows_too_little_memory_takes_the_place_of_a_success(
    outcome: Outcome, conclusive: bool, counts: bool
) -> None:
    failed = dataclasses.replace(trial(ONE, 2, outcome), conclusive=conclusive)
    found = merged(before(trial(ONE, 1)), Rows((failed,)))
    assert found.results[0].success is not counts
    assert found.others[0].success is counts


def test_what_was_resumed_is_not_another_measurement() -> None:
    kept = dataclasses.replace(trial(ONE, 1), kept=True)
    assert merged(before(trial(ONE, 1)), Rows((kept,))).others == ()


def test_the_newest_of_the_others_stay() -> None:
    many = tuple(trial(ONE, number) for number in range(1, 20))
    found = merged(before(trial(ONE, 20), others=(*many, many[-1])), Rows((trial(ONE, 21),)))
    assert [each.step_times_s[0] for each in found.others] == [*range(12, 21)]


def test_soaks_stay_until_the_configuration_is_soaked_again() -> None:
    lasting, failed = a_soak(ONE), a_soak(TWO, Outcome.OOM)
    known = dataclasses.replace(before(trial(ONE, 1), trial(TWO, 1)), soaks=(failed, lasting))
    found = merged(known, Rows((), soaks=(a_soak(ONE, steps=9),)))
    assert [(each.config, each.steps) for each in found.soaks] == [(ONE, 9), (TWO, 1234)]
    assert [each.config for each in found.remaining] == [ONE]


def test_profiles_of_one_identity_and_about_one_budget_are_merged() -> None:
    known = dataclasses.replace(before(trial(ONE, 1)), identity="a", memory_limit_bytes=1000)
    assert can_be_merged(known, "a", 1049)
    assert not can_be_merged(known, "a", 1100)
    assert not can_be_merged(known, "a", None)
    assert not can_be_merged(known, "b", 1000)
    assert not can_be_merged(dataclasses.replace(known, identity=None), "", 1000)


def test_others_and_identity_are_read_again() -> None:
    def change(it: dict[str, Any]) -> None:
        it.update(identity="abc", other_results=[it["all_results"][0], {"nonsense": 1}])

    found = stored(change)
    assert (found.identity, len(found.others)) == ("abc", 1)
    assert stored().identity is None
    assert stored(lambda it: it.update(identity=3)).identity is None


def entry(preset: str, **values: Any) -> dict[str, Any]:
    usual = dict.fromkeys(
        ("error", "peak_memory_gb", "minimum_memory_gb", "step_time_s", "tokens_per_second")
    )
    usual |= {"predicted_minimum_memory_gb": None, "optimal_config": None, "success": False}
    return {"preset": preset, "safe_config": None, **usual, **values}


def results(*entries: dict[str, Any], complete: bool = True) -> dict[str, Any]:
    return {"complete": complete, "results": list(entries), "environment": {"chip": "x"}}


CHECKED = {"success": True, "peak_memory_gb": 2.0, "minimum_memory_gb": 1.0}


def test_models_that_were_not_tried_now_stay() -> None:
    old = results(entry("a", **CHECKED), entry("b", **CHECKED))
    found = merged_entries(old, results(entry("a", error="lost"), complete=False), ("a", "b", "c"))
    assert [(each["preset"], each["success"]) for each in found["results"]] == [
        ("a", True),
        ("b", True),
    ]
    assert (found["complete"], found["recommended"]) == (True, "b")


def test_models_complete_each_other() -> None:
    half = results(entry("a", **CHECKED), complete=False)
    found = merged_entries(half, results(entry("b")), ("a", "b"))
    assert (found["complete"], found["recommended"]) == (True, "a")
    assert merged_entries(half, results(entry("b")), ("a", "b", "c"))["complete"] is False
    assert merged_entries(results(entry("a")), results(entry("a")), ("a",))["recommended"] is None


def test_a_check_alone_keeps_the_sweep() -> None:
    profile = document()
    old = results(entry("a", **CHECKED, optimal_config=profile, step_time_s=0.5))
    [found] = merged_entries(old, results(entry("a", minimum_memory_gb=1.5)), ("a",))["results"]
    assert (found["success"], found["step_time_s"], found["error"]) == (True, 0.5, None)
    assert profiles_in(found["optimal_config"], "p")
