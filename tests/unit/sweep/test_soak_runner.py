from __future__ import annotations

import time

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import CompileOverdueError, StepOverdueError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.guard import Guard
from pytest_yourai.sweep.soak_runner import SoakClock, SoakRecord
from pytest_yourai.worker.protocol import Compiling

from support.profiles import GB
from support.training import a_step

ASKED_S = 60.0


class Stops:
    """Counts how often the end is asked for."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def a_record(stops: Stops, step_timeout_s: float) -> SoakRecord:
    trial = TrialResult("m", LoraConfig(1, 8, 4, 64), Outcome.OK)
    clock, guard = SoakClock(ASKED_S, step_timeout_s), Guard(1000 * GB, forced=True)
    return SoakRecord(trial, clock, guard, stops, footprint_counts=True)


def test_the_end_is_asked_for_once_when_the_time_is_over() -> None:
    stops = Stops()
    record = a_record(stops, step_timeout_s=300)
    record.started()
    record.check()
    assert stops.count == 0
    record.started_at = time.monotonic() - ASKED_S
    record.check()
    record.check()
    assert stops.count == 1


def test_loading_is_not_part_of_the_time() -> None:
    stops = Stops()
    record = a_record(stops, step_timeout_s=0)
    record.heard_at -= 100
    record.check()
    assert stops.count == 0


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_step_without_an_end_is_overdue_also_when_the_end_was_asked_for(is_asked: bool) -> None:
    stops = Stops()
    record = a_record(stops, step_timeout_s=5)
    record.started()
    record.heard_at -= 4
    if is_asked:
        record.started_at = time.monotonic() - ASKED_S
    record.check()
    record.heard_at -= 2
    with pytest.raises(StepOverdueError, match="no step ended for 5 s"):
        record.check()
    record.add(a_step(1))
    record.check()
    assert stops.count == is_asked


def test_a_step_that_compiles_has_another_limit_and_is_no_part_of_the_time() -> None:
    stops = Stops()
    record = a_record(stops, step_timeout_s=5)
    record.started()
    record.started_at = time.monotonic() - ASKED_S / 2
    record.add(Compiling())
    record.heard_at -= 100
    assert record._compiling_since is not None
    record._compiling_since -= 100
    record.started_at -= 100
    record.check()
    assert record.progress.compiling_s is not None
    record.add(a_step(1))
    record.check()
    assert stops.count == 0
    assert record.trained_s == pytest.approx(ASKED_S / 2, abs=5)
    record.add(Compiling())
    record._compiling_since -= 901
    with pytest.raises(CompileOverdueError):
        record.check()


def test_without_a_limit_it_waits() -> None:
    record = a_record(Stops(), step_timeout_s=0)
    record.started()
    record.heard_at -= 1e6
    record.check()
