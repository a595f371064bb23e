import random
from collections.abc import Callable
from typing import Any

import pytest

from pytest_yourai.store.compare.comparison import Change, Comparison, compare
from pytest_yourai.store.compare.noise import overall_slowdown, slower_configs

from support.profiles import slower, stored

Plan = Callable[[dict[str, Any]], object]


def noisy(spread: float, seed: int = 0) -> Plan:
    """Trials that are up to `spread` slower or faster, each as a whole."""

    def change(it: dict[str, Any]) -> None:
        source = random.Random(seed)
        for row in it["all_results"]:
            factor = 1 + source.uniform(-spread, spread)
            row["step_times_s"] = [each * factor for each in row["step_times_s"]]

    return change


def both(*plans: Plan) -> Plan:
    return lambda it: [plan(it) for plan in plans]


def comparison(before: Plan, after: Plan) -> Comparison:
    return compare(stored(before), stored(after))


def is_slower(found: Comparison, change: Change, share: float, *, per_token: bool = False) -> bool:
    return change.config in slower_configs(found, share, per_token=per_token)


def test_the_mean_is_geometric_and_leaves_the_extremes_out() -> None:
    halves = both(slower(1.44, 0, 1, 2, 3, 4, 5), slower(1 / 1.44, 6, 7, 8), slower(50, 9))
    found = overall_slowdown(comparison(slower(1), halves))
    assert found is not None
    # Of twelve, ordered, four at each end are left out: 1 and three times 1.44 remain.
    assert found.share == pytest.approx(1.44 ** (3 / 4) - 1)
    assert found.configurations == 12


def test_of_few_all_count() -> None:
    def two(it: dict[str, Any]) -> None:
        del it["all_results"][2:]
        it["optimal_batch_size"] = None

    found = overall_slowdown(comparison(two, both(two, slower(4, 0))))
    assert found is not None
    assert found.share == pytest.approx(1.0)
    assert found.log_error == 0.0


def test_a_change_within_its_error_is_not_a_slow_down() -> None:
    def mixed(it: dict[str, Any]) -> None:
        for row, factor in enumerate([0.3, 0.4, 0.5, 0.6, 0.9, 1.1, 1.2, 1.3, 2, 2.5, 3, 4]):
            slower(factor, row)(it)

    found = overall_slowdown(comparison(slower(1), mixed))
    assert found is not None
    assert found.share > 0.1
    assert not found.is_surely_over(0.1)


def test_all_of_it_slower_is_a_slow_down() -> None:
    found = overall_slowdown(comparison(noisy(0.05), both(noisy(0.05, seed=1), slower(1.2))))
    assert found is not None
    assert found.is_surely_over(0.1)
    assert not found.is_surely_over(0.3)


def test_what_gets_faster_by_as_much_may_get_slower_by_chance() -> None:
    found = comparison(slower(1), both(slower(1.5, 5), slower(1 / 1.6, 6)))
    assert not is_slower(found, found.changes[5], 0.25)
    less = comparison(slower(1), both(slower(1.5, 5), slower(1 / 1.4, 6)))
    assert is_slower(less, less.changes[5], 0.25)


def test_one_that_stands_out_is_slower() -> None:
    found = comparison(noisy(0.02), both(noisy(0.02, seed=1), slower(1.4, 5)))
    assert is_slower(found, found.changes[5], 0.25)
    assert not is_slower(found, found.changes[4], 0.25)


def test_one_among_many_that_vary_as_much_is_not() -> None:
    found = comparison(noisy(0.3), both(noisy(0.3, seed=1), slower(1.4, 5)))
    assert not is_slower(found, found.changes[5], 0.25)


@pytest.mark.parametrize("rows", [range(4), range(12)])
def test_a_half_that_is_slower_is_not_noise(rows: range) -> None:
    def first(it: dict[str, Any]) -> None:
        it["all_results"] = it["all_results"][: len(rows)]

    half = rows[: len(rows) // 2]
    found = comparison(both(noisy(0.02), first), both(noisy(0.02, seed=1), slower(2, *half), first))
    assert [is_slower(found, found.changes[each], 0.25) for each in rows] == [
        each in half for each in rows
    ]


def test_some_slow_steps_do_not_make_a_configuration_slower() -> None:
    def hiccups(it: dict[str, Any]) -> None:
        times = it["all_results"][5]["step_times_s"]
        it["all_results"][5]["step_times_s"] = [each * 1.4 for each in times[:6]] + times[6:]

    found = comparison(slower(1), hiccups)
    assert found.changes[5].share is not None
    assert not is_slower(found, found.changes[5], 0.25)


def test_a_recording_with_one_time_for_each_is_judged_by_that() -> None:
    def middle(factor: float) -> Plan:
        def change(it: dict[str, Any]) -> None:
            for row in it["all_results"]:
                row["step_times_s"] = row["step_times_s"][:1]
                row["step_tokens"] = row["step_tokens"][:1]
            it["all_results"][5]["step_times_s"][0] *= factor

        return change

    found = comparison(middle(1), middle(1.3))
    assert is_slower(found, found.changes[5], 0.25)


def test_speed_is_judged_by_the_token() -> None:
    def longer_rows(it: dict[str, Any]) -> None:
        row = it["all_results"][5]
        row["step_tokens"] = [each * 2 for each in row["step_tokens"]]
        row["step_times_s"] = [each * 2 for each in row["step_times_s"]]

    found = comparison(slower(1), longer_rows)
    assert is_slower(found, found.changes[5], 0.25)
    assert not is_slower(found, found.changes[5], 0.25, per_token=True)


@pytest.mark.parametrize("per_token", [False, True])
def test_a_slower_update_makes_accumulated_steps_slower(per_token: bool) -> None:
    def updates(factor: float) -> Plan:
        def change(it: dict[str, Any]) -> None:
            for place, row in enumerate(it["all_results"]):
                row["grad_accumulation_steps"] = 2
                for step in range(1, 10, 2):
                    row["step_times_s"][step] *= factor if place == 5 else 1

        return change

    found = comparison(updates(1), updates(2))
    assert is_slower(found, found.changes[5], 0.25, per_token=per_token)


def test_steps_that_are_no_whole_cycle_are_compared_one_by_one() -> None:
    def accumulated(it: dict[str, Any]) -> None:
        for row in it["all_results"]:
            row["grad_accumulation_steps"] = 64

    found = overall_slowdown(comparison(accumulated, both(accumulated, slower(1.44))))
    assert found is not None
    assert found.share == pytest.approx(0.44)
