from __future__ import annotations

import time

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import StepOverdueError
from pytest_yourai.core.results import Outcome, TrialResult
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.sweep.soak_record import SoakRecord
from pytest_yourai.sweep.soak_runner import SoakClock, SoakTimer

from support.profiles import GB
from support.training import a_step

ASKED_S = 60.0


def a_record() -> SoakRecord:
    trial = TrialResult("m", LoraConfig(1, 8, 4, 64), Outcome.OK)
    guard = Guard(1000 * GB, read_system_memory(), forced=True)
    return SoakRecord(trial, ASKED_S, guard, footprint_counts=True)


class Stops:
    """Counts how often the end is asked for."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def test_the_end_is_asked_for_once_when_the_time_is_over() -> None:
    record, stops = a_record(), Stops()
    timer = SoakTimer(record, SoakClock(ASKED_S, step_timeout_s=300), stops)
    record.started()
    timer.check()
    assert stops.count == 0
    record.started_at = time.monotonic() - ASKED_S
    timer.check()
    timer.check()
    assert stops.count == 1


def test_loading_is_no_part_of_the_time() -> None:
    record, stops = a_record(), Stops()
    record.heard_at -= 100
    SoakTimer(record, SoakClock(ASKED_S, step_timeout_s=0), stops).check()
    assert stops.count == 0


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_step_without_an_end_is_overdue_also_when_the_end_was_asked_for(is_asked: bool) -> None:
    record, stops = a_record(), Stops()
    timer = SoakTimer(record, SoakClock(ASKED_S, step_timeout_s=5), stops)
    record.started()
    record.heard_at -= 4
    if is_asked:
        record.started_at = time.monotonic() - ASKED_S
    timer.check()
    record.heard_at -= 2
    with pytest.raises(StepOverdueError, match="no step ended for 5 s"):
        timer.check()
    record.add(a_step(1))
    timer.check()
    assert stops.count == is_asked


def test_without_a_limit_it_waits() -> None:
    record = a_record()
    record.started()
    record.heard_at -= 1e6
    SoakTimer(record, SoakClock(ASKED_S, step_timeout_s=0), Stops()).check()
