"""The time of steps that compile: it has a limit of its own, and no other counts it."""

from __future__ import annotations

import time

import pytest

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.errors import CompileOverdueError
from pytest_yourai.core.outcomes import Outcome, Overdue
from pytest_yourai.machine.guard import Guard
from pytest_yourai.sweep.trial_progress import TrialProgress
from pytest_yourai.sweep.trial_runner import TrialRecord
from pytest_yourai.worker.diagnosis import COMPILE_TIMEOUT_REMEDY, TIMEOUT_REMEDY, overdue
from pytest_yourai.worker.protocol import Compiling
from pytest_yourai.worker.run_record import RunRecord

from support.training import GB, a_sample, a_step


class Clock:
    at = 1000.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.at)
    return clock


def a_record(compile_timeout_s: float = 900.0) -> RunRecord:
    return RunRecord(Guard(1000 * GB, forced=True), compile_timeout_s)


def test_it_lasts_from_its_announcement_to_the_end_of_the_step(now: Clock) -> None:
    record = a_record()
    assert (record.compiling_s, record.compile_time_s) == (None, 0)
    record.add(Compiling())
    now.at += 5
    record.add(Compiling())
    now.at += 2
    assert (record.compiling_s, record.compile_time_s) == (7, 7)
    record.add(a_step(1))
    now.at += 100
    assert (record.compiling_s, record.compile_time_s) == (None, 7)
    record.add(Compiling())
    now.at += 3
    record.add(a_step(2))
    assert record.compile_time_s == 10


def test_each_step_that_compiles_has_the_whole_limit(now: Clock) -> None:
    record = a_record(compile_timeout_s=9)
    for number in (1, 2):
        record.add(Compiling())
        now.at += 8
        record.check()
        record.add(a_step(number))
    now.at += 100
    record.check()
    record.add(Compiling())
    now.at += 9.5
    with pytest.raises(CompileOverdueError, match="compiling had no end after 9 s"):
        record.check()


def test_loading_is_timed_where_it_happens(now: Clock) -> None:
    record = a_record()
    now.at += 3
    record.loading()
    now.at += 40
    record.started()
    assert record.load_time_s == 40
    other = a_record()
    now.at += 3
    other.started()
    assert other.load_time_s is None


@pytest.mark.parametrize(
    ("limit", "remedy"),
    [
        (Overdue.ITEM, TIMEOUT_REMEDY),
        (Overdue.STEP, TIMEOUT_REMEDY),
        (Overdue.COMPILE, COMPILE_TIMEOUT_REMEDY),
    ],
)
def test_a_timeout_says_which_limit_it_was(limit: Overdue, remedy: str) -> None:
    found = overdue(a_record(), "no end after 5 s,", limit)
    assert (found.outcome, found.overdue, found.remedy) == (Outcome.TIMEOUT, limit, remedy)
    assert found.reason == "no end after 5 s, while starting the worker"


def test_the_limit_of_an_item_counted_without_compiling(now: Clock) -> None:
    record = a_record()
    record.started()
    record.add(Compiling())
    now.at += 332
    record.add(a_step(1))
    found = overdue(record, "no end after 300 s,", Overdue.ITEM)
    assert found.reason == "no end after 300 s, in step 1, beside 332 s of compiling"


class Warm(RunRecord):
    def paces(self) -> list[float]:
        return [1.0, 1.0]


def test_a_step_that_compiles_is_not_taken_for_one_that_pages(now: Clock) -> None:
    record = Warm(Guard(1000 * GB, forced=True))
    record.guard.trace.largest_swap_used_bytes += GB
    record.started()
    record.add(Compiling())
    now.at += 100
    assert record.paging(with_running_step=True) is None
    record.add(a_step(1))
    assert record.paging(with_running_step=True) is not None


def test_a_trial_shows_when_compiling_begins_and_ends_and_its_result_has_the_time(
    now: Clock,
) -> None:
    shown: list[TrialProgress] = []
    record = TrialRecord(
        "m", LoraConfig(1, 8, 4, 64), StepPlan(), Guard(GB, forced=True), shown.append, 50
    )
    record.started()
    record.add(Compiling())
    now.at += 5
    record.add(a_sample("warmup", step_time_s=5.0))
    record.add(a_sample("warmup"))
    assert [(each.compiling_s, each.compile_timeout_s) for each in shown] == [(0, 50), (None, 50)]
    result = record.result(overdue(record, "no end after 5 s,", Overdue.ITEM))
    assert (result.compile_time_s, result.load_time_s) == (5, None)
    assert result.overdue is Overdue.ITEM
    assert not result.prunes_larger
