from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.ranking import next_to_soak, soak_survivors
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.machine.guard import Guard
from pytest_yourai.sweep.soak_runner import SoakClock, SoakRecord
from pytest_yourai.worker.diagnosis import Diagnosis
from pytest_yourai.worker.protocol import Saved
from pytest_yourai.worker.run_record import paging

from support.profiles import GB, a_soak
from support.training import a_step

MB = 1_000_000
SMALL, MIDDLE, LARGE = (LoraConfig(batch, 64, 16, 512) for batch in (1, 2, 4))


def a_trial(config: LoraConfig, outcome: Outcome = Outcome.OK) -> TrialResult:
    return TrialResult(
        "m",
        config,
        outcome,
        step_times_s=(1.0,),
        step_tokens=(config.batch_size * 511,),
        minimum_memory_bytes=8 * GB,
        peak_memory_bytes=9 * GB,
    )


def record(*, footprint_counts: bool = True) -> SoakRecord:
    clock, guard = SoakClock(600.0, step_timeout_s=0), Guard(100 * GB, forced=False)
    return SoakRecord(a_trial(LARGE), clock, guard, lambda: None, footprint_counts=footprint_counts)


def of_times(times_s: Iterable[float], tokens: int = 200) -> SoakRecord:
    """The first two steps, which compile, take a minute each."""
    found = record()
    found.started()
    for number, time_s in enumerate((60.0, 60.0, *times_s), 1):
        found.add(a_step(number, step_time_s=time_s, tokens=tokens))
    return found


def of_memory(
    active: list[int], footprints: list[int], *, footprint_counts: bool = True
) -> SoakResult:
    found = record(footprint_counts=footprint_counts)
    found.add(a_step(1))
    found.add(a_step(2))
    for number, (held, footprint) in enumerate(zip(active, footprints, strict=True), 3):
        found.add(a_step(number, active_memory_bytes=held, footprint_bytes=footprint))
    return found.result(Diagnosis(Outcome.OK))


def growing(mb_per_step: float, steps: int = 1000) -> list[int]:
    return [5 * GB + round(step * mb_per_step * MB) for step in range(steps)]


@pytest.fixture(params=[20, 29, 30, 1000])
def steps(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def test_the_last_tenth_is_held_against_the_first_without_what_compiles(steps: int) -> None:
    tenth = steps // 10
    times_s = [0.1] * tenth + [9.0] * (steps - 2 * tenth) + [0.13] * tenth
    result = of_times(times_s).result(Diagnosis(Outcome.OK))
    assert result.slowdown == pytest.approx(1.3)
    assert result.first_tenth_step_time_s == 0.1
    assert result.last_tenth_step_time_s == 0.13
    assert result.steps == steps + 2
    [said] = result.warnings
    assert said.startswith("a token took 1.30 times as long in its last tenth as in its first")


def of_cycles(updates_s: list[float]) -> SoakRecord:
    """Of cycles of three steps, the last of which updates; the first two cycles compile."""
    config = LoraConfig(4, 64, 16, 512, grad_accumulation_steps=3)
    clock, guard = SoakClock(600.0, step_timeout_s=0), Guard(100 * GB, forced=False)
    found = SoakRecord(a_trial(config), clock, guard, lambda: None, footprint_counts=True)
    found.started()
    for number in range(1, 7):
        found.add(a_step(number, step_time_s=60.0))
    for number, update_s in enumerate(updates_s):
        times_s = 0.1, 0.1, update_s
        for place, time_s in enumerate(times_s, 7 + 3 * number):
            held = GB if place % 3 == 0 else 3 * GB
            found.add(a_step(place, step_time_s=time_s, active_memory_bytes=held))
    return found


def test_with_accumulation_whole_cycles_are_held_against_each_other() -> None:
    result = of_cycles([0.4] * 10 + [0.7] * 10).result(Diagnosis(Outcome.OK))
    assert result.first_tenth_step_time_s == pytest.approx(0.2)
    assert result.last_tenth_step_time_s == pytest.approx(0.3)
    assert result.slowdown == pytest.approx(1.5)
    assert result.active_growth_bytes_per_step == 0


def test_updates_that_take_long_are_no_paging() -> None:
    found = of_cycles([0.8] * 10)
    assert found.paces() == pytest.approx([0.1] * 30)
    assert paging(found.paces(), GB) is None


def test_nineteen_steps_do_not_tell() -> None:
    result = of_times([0.1] * 19).result(Diagnosis(Outcome.OK))
    assert result.slowdown is result.last_tenth_step_time_s is None
    assert result.warnings == ()


def test_a_fifth_slower_is_not_warned_about_yet() -> None:
    assert of_times([0.1] * 10 + [0.119] * 10).result(Diagnosis(Outcome.OK)).warnings == ()
    assert of_times([0.1] * 10 + [0.121] * 10).result(Diagnosis(Outcome.OK)).warnings != ()


def test_longer_rows_are_not_a_slow_down() -> None:
    found = record()
    for number in range(1, 43):
        tokens = 100 if number < 23 else 400
        found.add(a_step(number, step_time_s=tokens / 1000, tokens=tokens))
    result = found.result(Diagnosis(Outcome.OK))
    assert result.slowdown == pytest.approx(1)
    assert result.last_tenth_step_time_s == 0.4


def test_a_step_without_trained_tokens_has_no_pace() -> None:
    found = of_times([0.1] * 20)
    found.add(a_step(23, step_time_s=50.0, tokens=0))
    assert found.result(Diagnosis(Outcome.OK)).slowdown == pytest.approx(1)
    assert max(found.paces()) == pytest.approx(0.1)


def test_memory_that_grows_is_measured_over_the_whole_soak() -> None:
    result = of_memory(growing(60), growing(0))
    assert result.active_growth_bytes_per_step == pytest.approx(60 * MB)
    assert result.footprint_growth_bytes_per_step == 0
    assert result.warnings == ("MLX's active memory grew by 60.0 MB a step: something leaks",)
    assert of_memory(growing(0.4), growing(0)).active_growth_bytes_per_step == pytest.approx(4e5)


def test_the_pools_of_a_cuda_device_are_not_a_leak() -> None:
    assert of_memory(growing(0), growing(60)).warnings == (
        "the footprint grew by 60.0 MB a step: something leaks",
    )
    on_cuda = of_memory(growing(0), growing(60), footprint_counts=False)
    assert on_cuda.warnings == ()
    assert on_cuda.footprint_growth_bytes_per_step == pytest.approx(60 * MB)


def test_the_peak_is_that_of_all_steps_beside_the_trials() -> None:
    found = record()
    found.add(a_step(1, peak_memory_bytes=12 * GB))
    found.add(a_step(2, peak_memory_bytes=10 * GB))
    result = found.result(Diagnosis(Outcome.OK))
    assert (result.peak_memory_bytes, result.trial_peak_memory_bytes) == (12 * GB, 9 * GB)
    assert record().result(Diagnosis(Outcome.CRASHED, "it died")).peak_memory_bytes is None


def test_a_few_slow_steps_of_thousands_are_not_paging_but_those_at_the_end_are() -> None:
    hiccups = [0.1] * 3000
    for place in (500, 1500, 2999):
        hiccups[place] = 2.0
    assert paging(of_times(hiccups).paces(), GB) is None
    at_last = [0.1] * 3000 + [0.5] * 80
    assert paging(of_times(at_last).paces(), GB) is not None
    assert paging(of_times(at_last).paces(), 0) is None


def test_the_last_block_ends_with_the_last_step() -> None:
    # Blocks of 51: fifty steps are left over, and it is these that are slow.
    times_s = [0.1] * 3009 + [0.5] * 50
    assert paging(of_times(times_s).paces(), GB) is not None


def test_few_steps_are_looked_at_one_by_one() -> None:
    times_s = [0.1, 0.2, 0.1, 0.9]
    assert of_times(times_s).paces() == pytest.approx(times_s)


def test_a_step_that_does_not_end_counts_once_it_is_slow() -> None:
    found = of_times([0.1] * 4)
    found.guard.trace.largest_swap_used_bytes += GB
    assert found.paging(with_running_step=True) is None
    found.heard_at -= 100
    assert found.paging() is None
    assert "and a step took 1" in (found.paging(with_running_step=True) or "")


def test_it_says_where_it_is_and_when_it_was_heard_of() -> None:
    found = record()
    assert (found.where, found.is_time_over) == ("while starting the worker", False)
    found.loading()
    assert found.where == "while loading the model"
    found.started()
    assert (found.where, found.is_time_over) == ("in step 1", False)
    found.add(a_step(1))
    found.heard_at = 0
    found.add(Saved(1))
    assert found.where == "in step 2"
    assert found.heard_at > 0
    found.started_at = time.monotonic() - 601
    assert found.is_time_over


def test_the_best_is_soaked_first_and_the_next_best_where_it_fails() -> None:
    trials = [
        a_trial(SMALL),
        a_trial(LARGE),
        a_trial(MIDDLE),
        a_trial(LoraConfig(8, 64, 16, 512), Outcome.OOM),
    ]
    soaks: list[SoakResult] = []
    for config in (LARGE, MIDDLE, SMALL):
        found = next_to_soak(trials, soaks, Objective.SCORE)
        assert found is not None
        assert found.config == config
        soaks.append(a_soak(config, Outcome.CRASHED))
    assert next_to_soak(trials, soaks, Objective.SCORE) is None


def test_after_one_that_survived_none_is_soaked() -> None:
    assert next_to_soak([a_trial(SMALL), a_trial(LARGE)], [a_soak(LARGE)], Objective.SCORE) is None


@pytest.mark.parametrize(
    ("outcome", "conclusive", "left"),
    [
        (Outcome.OK, True, [SMALL, MIDDLE, LARGE]),
        (Outcome.CRASHED, True, [SMALL, LARGE]),
        (Outcome.PAGING, True, [SMALL]),
        (Outcome.SAFETY_STOP, False, [SMALL, LARGE]),
    ],
)
def test_what_fails_for_memory_speaks_against_larger_ones_too(
    outcome: Outcome, conclusive: bool, left: list[LoraConfig]
) -> None:
    trials = [a_trial(config) for config in (SMALL, MIDDLE, LARGE)]
    soak = a_soak(MIDDLE, outcome, conclusive=conclusive)
    assert [each.config for each in soak_survivors(trials, [soak])] == left
