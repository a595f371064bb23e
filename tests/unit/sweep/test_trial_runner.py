"""What is known of a trial from its steps."""

from __future__ import annotations

import os

import pytest

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.device import MlxMemory
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.machine.guard import Guard
from pytest_yourai.sweep.trial_runner import TrialRecord
from pytest_yourai.worker.diagnosis import Diagnosis, completed
from pytest_yourai.worker.protocol import Compiling, Phase
from pytest_yourai.worker.run_record import paging

from support.training import a_sample

GB = 1_000_000_000


def record(*steps: tuple[Phase, float, int], accumulation: int = 1) -> TrialRecord:
    """Of steps with their times and tokens; those of 6 seconds and more compile."""
    guard = Guard(20 * GB, forced=False)
    config = LoraConfig(1, 8, 4, 64, grad_accumulation_steps=accumulation)
    made = TrialRecord("m", config, StepPlan(), guard)
    for phase, time_s, tokens in steps:
        if time_s >= 6:
            made.add(Compiling())
        made.add(a_sample(phase, step_time_s=time_s, tokens=tokens))
    return made


def test_paces_leave_out_steps_that_compiled() -> None:
    compiling: list[tuple[Phase, float, int]] = [("warmup", 9.0, 100), ("warmup", 8.0, 100)]
    warm: list[tuple[Phase, float, int]] = [("warmup", 1.0, 100), ("settle", 1.1, 100)]
    further: list[tuple[Phase, float, int]] = [("settle", 7.0, 50), ("settle", 6.0, 20)]
    measured: list[tuple[Phase, float, int]] = [("measure", 1.2, 100), ("measure", 0.7, 50)]

    def paces(steps: list[tuple[Phase, float, int]]) -> list[float]:
        return record(*steps).paces()

    assert paces(compiling) == []
    assert paces([*compiling, *warm[:1]]) == [1.0]
    assert paces([*compiling, *warm]) == [1.0, 1.1]
    assert paces([*compiling, *warm, *further]) == [1.0, 1.1]
    assert paces([*compiling, *warm, *measured]) == [1.0, 1.1, 1.2, 1.4]
    assert paces([*compiling, *warm, *further, *measured]) == [1.0, 1.1, 1.2, 1.4]


def test_a_survey_comes_after_the_measured_steps_and_is_apart_from_them() -> None:
    steps: list[tuple[Phase, float, int]] = [("warmup", 1.0, 100)] * 3
    steps.append(("settle", 1.0, 100))
    measured: list[tuple[Phase, float, int]] = [("measure", 1.0, 100)] * 10
    survey: list[tuple[Phase, float, int]] = [("survey", each, 20) for each in (7.0, 0.9, 0.9)]
    made = record(*steps, *measured, *survey)
    assert made.contradiction(fits=True) is None
    assert made.paces() == [1.0] * 14
    made.started()
    assert (made.progress.phase, made.progress.step) == ("timing shorter rows", 4)
    found = made.result(Diagnosis(Outcome.OK))
    assert found.survey_step_times_s == (0.9, 0.9)
    assert (found.step_time_s, found.step_tokens) == (1.0, (100,) * 10)
    broken_off = record(*steps, *measured, *survey[:2])
    assert broken_off.result(Diagnosis(Outcome.OK)).survey_step_times_s == ()


def test_an_update_that_takes_long_is_no_paging() -> None:
    swapped = 200_000_000
    compiling: list[tuple[Phase, float, int]] = [("warmup", 9.0, 100)] * 8
    steps: list[tuple[Phase, float, int]] = [("warmup", time_s, 100) for time_s in (1, 1, 1, 4)]
    found = record(*compiling, *steps, *steps, accumulation=4)
    assert found.paces() == [1.0] * 8
    assert paging(found.paces(), swapped) is None
    slow: list[tuple[Phase, float, int]] = [("measure", 4.0, 100)] * 2
    assert paging(record(*compiling, *steps, *slow, accumulation=4).paces(), swapped) is not None
    # Where each step updates, none is excused.
    assert paging(record(*compiling, *steps).paces(), swapped) is not None


def test_a_trial_with_accumulation_has_whole_cycles() -> None:
    made = record(accumulation=4)
    made.started()
    for cycle in range(3):
        for place in range(4):
            assert made.minimum_bytes is None
            made.add(a_sample("warmup", step_time_s=1.0, peak_memory_bytes=10 * cycle + place))
    assert made.minimum_bytes == 13
    for _ in range(4):
        made.add(a_sample("settle", step_time_s=1.0))
    for _ in range(11):
        made.add(a_sample("measure", step_time_s=1.0))
    assert made.contradiction(fits=True) is not None
    assert made.progress.steps == 12
    made.add(a_sample("measure", step_time_s=2.0))
    assert made.contradiction(fits=True) is None
    found = made.result(Diagnosis(Outcome.OK))
    assert (found.step_time_s, found.update_time_s) == (1.0, 4.0)


@pytest.mark.parametrize(("growth_mb", "leaks"), [(0, False), (60, True)])
def test_gradients_that_accumulate_hide_no_leak_and_are_none(growth_mb: int, leaks: bool) -> None:
    """Accumulated gradients take 5 GB until the update, as in full fine-tuning."""
    made = record(accumulation=4)
    for number in range(1, 29):
        phase: Phase = "warmup" if number <= 12 else "settle" if number <= 16 else "measure"
        held = GB if number % 4 == 0 else 6 * GB
        grown = growth_mb * 1_000_000 * max(0, number - 16)
        made.add(a_sample(phase, active_memory_bytes=held + grown, footprint_bytes=7 * GB))
    warnings = made.result(Diagnosis(Outcome.OK)).warnings
    assert bool(warnings) is leaks, warnings


@pytest.mark.parametrize(("step_growth_gb", "leaks"), [(0.3, False), (0.7, True)])
def test_pools_of_a_device_may_fill_up_to_what_measured_steps_take(
    step_growth_gb: float, leaks: bool
) -> None:
    """Warm-up peaks of 9.3 GB and measured ones of 13.4, as an H200 had with an 8B model."""
    made = record()
    made.guard.attach(os.getpid(), GB, has_own_memory=True)
    made.guard.note(MlxMemory(5 * GB, 9 * GB, 0, 12 * GB))
    made.guard.check()

    def add(phase: Phase, peak_gb: float, footprint_gb: float) -> None:
        held, peak = int(footprint_gb * GB), int(peak_gb * GB)
        made.add(
            a_sample(phase, active_memory_bytes=GB, peak_memory_bytes=peak, footprint_bytes=held)
        )

    for _ in range(6):
        add("warmup", 9.3, 11.5)
    add("settle", 13.4, 11.9)
    for step in range(10):
        add("measure", 13.4, 11.9 + step_growth_gb * step)
    assert bool(made.result(Diagnosis(Outcome.OK)).warnings) is leaks


@pytest.mark.parametrize(
    ("warmup", "measured", "loss", "fits", "outcome"),
    [
        (6, 10, 2.0, True, None),
        (6, 0, 2.0, False, None),
        (6, 9, 2.0, True, Outcome.ERROR),
        (6, 11, 2.0, True, Outcome.ERROR),
        (6, 10, 2.0, False, Outcome.ERROR),
        (0, 10, 2.0, True, Outcome.ERROR),
        (0, 0, 2.0, False, Outcome.ERROR),
        (6, 10, float("nan"), True, Outcome.INVALID_LOSS),
        (6, 0, float("inf"), False, Outcome.INVALID_LOSS),
    ],
)
def test_an_end_that_its_steps_contradict_is_not_believed(
    warmup: int, measured: int, loss: float, fits: bool, outcome: Outcome | None
) -> None:
    made = record()
    for step in range(warmup + measured):
        phase: Phase = "warmup" if step < warmup else "measure"
        made.add(a_sample(phase, step_time_s=1.0, loss=loss))
    found = made.contradiction(fits=fits)
    assert (found and found.outcome) == outcome


def test_progress_says_what_the_worker_does() -> None:
    made = record()
    assert made.progress.phase == "starting the worker"
    made.loading()
    assert (made.progress.phase, made.progress.step) == ("loading the model", None)
    assert made.progress.peak_bytes is None
    made.started()
    made.guard.note(MlxMemory(3 * GB, 5 * GB, 0))

    def said() -> tuple[str, int | None, int | None]:
        progress = made.progress
        return progress.phase, progress.step, progress.steps

    assert said() == ("warm-up", 1, None)
    expected: list[tuple[Phase, float, tuple[str, int | None, int | None]]] = [
        ("warmup", 9.0, ("warm-up", 2, None)),
        ("warmup", 8.0, ("warm-up", 3, None)),
        ("warmup", 1.0, ("warm-up", 4, None)),
        ("warmup", 1.0, ("settling", None, None)),
        ("settle", 1.0, ("measuring", 1, 10)),
        ("measure", 1.0, ("measuring", 2, 10)),
    ]
    for phase, time_s, then in expected:
        made.add(a_sample(phase, step_time_s=time_s, peak_memory_bytes=7 * GB))
        assert said() == then
    for _ in range(9):
        made.add(a_sample("measure", step_time_s=1.0, peak_memory_bytes=6 * GB))
    assert said() == ("measuring", 10, 10)
    progress = made.progress
    assert (progress.active_bytes, progress.peak_bytes) == (3 * GB, 7 * GB)
    assert progress.memory_limit_bytes == 20 * GB


def test_a_trial_that_others_slowed_by_swapping_is_not_paging() -> None:
    steps: list[tuple[Phase, float, int]] = [("measure", time_s, 100) for time_s in (1, 4, 4)]
    found = record(*steps)
    trace = found.guard.trace
    trace.largest_swap_used_bytes = trace.before.swap_used_bytes + GB
    assert completed(found).outcome is Outcome.PAGING, "it may have done it"
    assert found.warnings == []
    trace.largest_held_bytes, trace.room_bytes = 14_000_000, 8 * GB
    end = completed(found)
    assert end.outcome is Outcome.OK
    [warning] = found.result(end).warnings
    assert warning == (
        "swap grew by 1.0 GB and a step took 4.0s, 4 times its fastest: other programs swap "
        "(the worker held 14.0 MB): close some of them"
    )
