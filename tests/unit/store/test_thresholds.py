from collections.abc import Callable
from typing import Any

import pytest

from pytest_yourai.store.compare.comparison import Metric, compare
from pytest_yourai.store.compare.thresholds import (
    DEFAULT_THRESHOLDS,
    RegressionThresholds,
    Threshold,
    make_thresholds,
    not_compared,
    parse_fail_on,
    regressions,
)

from support.profiles import failing, larger, slower, stored


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("minimum_memory:5%", Threshold(Metric.MINIMUM_MEMORY, 0.05)),
        ("peak_memory:200MB", Threshold(Metric.PEAK_MEMORY, floor=200e6)),
        ("step_time:10%+20ms", Threshold(Metric.STEP_TIME, 0.1, 0.02)),
        (" step_time : 1.5s + 2.5% ", Threshold(Metric.STEP_TIME, 0.025, 1.5)),
        ("tokens_per_second:20%+50", Threshold(Metric.TOKENS_PER_SECOND, 0.2, 50)),
        ("mean_step_time:0%", Threshold(None, 0.0)),
    ],
)
def test_a_threshold_is_read_as_it_is_spelled(text: str, threshold: Threshold) -> None:
    assert parse_fail_on(text) == (threshold,)
    assert parse_fail_on(str(threshold)) == (threshold,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "step_time",
        "step_time:",
        "time:5%",
        "step_time:5",
        "step_time:5MB",
        "minimum_memory:5ms",
        "minimum_memory:5%+6%",
        "minimum_memory:1MB+2MB",
        "minimum_memory:-5%",
        "minimum_memory:nan%",
        "minimum_memory:1e9%",
        "mean_step_time:20ms",
        "minimum_memory:9999999999999999%",
    ],
)
def test_what_is_not_a_threshold_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"it must|is not an amount|give a percentage"):
        parse_fail_on(text)


def test_flags_add_up_and_none_lets_everything_pass() -> None:
    both = make_thresholds([parse_fail_on("step_time:5%"), parse_fail_on("default")])
    assert len(both.thresholds) == 4
    assert both.fails
    assert make_thresholds([]) == DEFAULT_THRESHOLDS
    lenient = make_thresholds([parse_fail_on("none")])
    assert lenient.thresholds == DEFAULT_THRESHOLDS.thresholds
    assert not lenient.fails


def told(gate: RegressionThresholds, after: Callable[[dict[str, Any]], object]) -> list[str]:
    found = compare(stored(), stored(after))
    return [each.text for each in regressions(found, gate)]


def test_equal_runs_have_no_regression() -> None:
    assert told(DEFAULT_THRESHOLDS, slower(1)) == []


def test_memory_that_grew_is_reported_in_one_line_with_its_limit() -> None:
    [line] = told(DEFAULT_THRESHOLDS, larger(1.06, 2))
    assert line == (
        "batch=1, rank=128, layers=16: minimum_memory 7.3 GB before, 7.7 GB now "
        "(+6.0 %, allowed 5%)"
    )
    assert told(DEFAULT_THRESHOLDS, larger(1.04)) == []
    assert told(DEFAULT_THRESHOLDS, larger(0.5)) == []


def test_a_floor_must_be_exceeded_too() -> None:
    gate = make_thresholds([parse_fail_on("minimum_memory:1%+1GB")])
    assert told(gate, larger(1.05, 0)) == []
    assert len(told(gate, larger(1.2, 0))) == 1


def test_all_together_got_slower_before_each_alone_did() -> None:
    [line] = told(DEFAULT_THRESHOLDS, slower(1.2))
    assert line.startswith(
        "all configurations: step times +20.0 % (geometric mean of the fastest steps"
    )


def test_one_that_is_much_slower_is_reported_by_itself() -> None:
    [line] = told(DEFAULT_THRESHOLDS, slower(1.3, 5))
    assert "step_time" in line
    assert "(+30.0 %, allowed 25%)" in line


def test_a_lower_speed_is_a_longer_time() -> None:
    gate = make_thresholds([parse_fail_on("tokens_per_second:20%")])
    assert told(gate, slower(1.2, 5)) == []
    [line] = told(gate, slower(1.3, 5))
    assert "tokens/s" in line
    assert "(-23.1 %, allowed 20%)" in line


def test_peaks_count_under_equal_budgets_alone() -> None:
    gate = make_thresholds([parse_fail_on("peak_memory:5%")])
    assert len(told(gate, larger(1.1, 0))) == 1

    def elsewhere(it: dict[str, Any]) -> None:
        larger(1.1, 0)(it)
        it["memory_limit_gb"] = 50.0

    assert told(gate, elsewhere) == []
    found = compare(stored(), stored(elsewhere))
    [said] = not_compared(found, gate)
    assert said.startswith("peak_memory is not compared: the budgets differ")


def test_what_no_longer_fits_or_runs_is_reported_whatever_the_gate() -> None:
    gate = make_thresholds([parse_fail_on("minimum_memory:500%")])
    [fits] = told(gate, failing(3, "oom"))
    assert fits == "batch=2, rank=64, layers=16: no longer fits: oom: it was oom"
    [runs] = told(gate, failing(3, "crashed"))
    assert "no longer runs: crashed" in runs


def test_a_model_that_no_longer_fits_at_all_is_reported_whatever_was_tried_of_it() -> None:
    def smaller(it: dict[str, Any]) -> None:
        it["all_results"] = it["all_results"][:1]
        failing(0, "over_budget")(it)
        it["all_results"][0]["lora_rank"] = 16
        for key in [key for key in it if key.startswith("optimal_") and key != "optimal_for"]:
            it[key] = None

    [line] = told(DEFAULT_THRESHOLDS, smaller)
    assert line == (
        "nothing fits any more: batch=1, rank=16, layers=16: over budget: it was over_budget"
    )


def test_a_speed_cannot_be_lower_by_all_of_it() -> None:
    with pytest.raises(ValueError, match="nothing gets slower by 100 % or more"):
        parse_fail_on("tokens_per_second:100%")
