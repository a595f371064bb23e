import dataclasses
from typing import Any

import pytest

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.worker import messages
from pytest_yourai.worker.joining import AllSum, Joined
from pytest_yourai.worker.protocol import (
    Compiling,
    Measurement,
    RankFigures,
    RowsRead,
    Saving,
    Validated,
)
from pytest_yourai.worker.ranks.merging import Merger, merge

from support.training import a_sample, a_step


def test_a_step_has_the_largest_figures_and_keeps_those_of_each_rank() -> None:
    first = a_sample("measure")
    second = dataclasses.replace(
        first,
        step_time_s=first.step_time_s * 2,
        peak_memory_bytes=first.peak_memory_bytes + 5,
        footprint_bytes=None,
    )
    merged: Any = merge([first, second])
    assert merged.step_time_s == second.step_time_s
    assert merged.peak_memory_bytes == second.peak_memory_bytes
    assert merged.footprint_bytes == first.footprint_bytes
    assert (merged.loss, merged.phase) == (first.loss, "measure")
    assert merged.ranks == (
        RankFigures(first.peak_memory_bytes, first.step_time_s),
        RankFigures(second.peak_memory_bytes, second.step_time_s),
    )


def test_nothing_comes_out_before_all_ranks_have_said_as_much() -> None:
    merger = Merger(2)
    step = a_sample("warmup")
    assert merger.add(1, step) == []
    assert merger.add(1, step) == []
    assert len(merger.add(0, step)) == 1
    merger.clear()
    assert merger.add(0, step) == []


def test_the_first_that_compiles_says_so_for_all_until_the_step_has_ended() -> None:
    merger = Merger(2)
    assert merger.add(1, Compiling()) == [Compiling()]
    assert merger.add(0, Compiling()) == []
    merger.add(0, a_step(1))
    assert len(merger.add(1, a_step(1))) == 1
    assert merger.add(0, Compiling()) == [Compiling()]


def test_what_a_rank_ahead_says_of_its_next_step_waits_for_this_one() -> None:
    merger = Merger(2)
    assert merger.add(0, Compiling()) == [Compiling()]
    assert merger.add(0, a_step(1)) == []
    assert merger.add(0, Compiling()) == []
    step, compiling = merger.add(1, a_step(1))
    assert step == merge([a_step(1), a_step(1)])
    assert compiling == Compiling()
    assert merger.add(1, Compiling()) == []


def test_memory_is_the_largest_of_the_last_reports() -> None:
    merger = Merger(2)
    merger.add(0, MlxMemory(10, 30, 1, 7))
    assert merger.add(1, MlxMemory(20, 25, 0)) == [MlxMemory(20, 30, 1, 7)]
    assert merger.add(0, MlxMemory(1, 2, 3)) == [MlxMemory(20, 25, 3)]


def test_rows_are_read_by_all_and_reported_once() -> None:
    merger = Merger(2)
    assert merger.add(0, RowsRead(1, 2)) == [RowsRead(1, 2)]
    assert merger.add(1, RowsRead(1, 2)) == []


def test_answers_are_those_of_all_ranks() -> None:
    assert merge([messages.Loaded(5), messages.Loaded(7)]) == messages.Loaded(7)
    fast, slow = AllSum(0.1, 8), AllSum(0.2, 8)
    assert merge([Measurement(True, True, fast), Measurement(False, True, slow)]) == Measurement(
        False, True, slow
    )
    assert merge([Measurement(True, True), Measurement(True, False)]) == Measurement(True, False)
    assert merge([Joined(0, 2, fast), Joined(1, 2, slow)]) == Joined(0, 2, slow)
    assert merge([Validated(3, 2.5, 0.3), Validated(3, 2.5, 0.4)]) == Validated(3, 2.5, 0.4)
    assert merge([Saving(3), Saving(3)]) == Saving(3)


def test_the_device_has_the_least_memory_of_all() -> None:
    large = DeviceInfo("metal", "M3 Max", 90, None, "0.32", "0.32", max_buffers=9)
    small = DeviceInfo("metal", "M1", 10, None, "0.32", "0.32", max_buffer_bytes=3)
    assert merge([large, small]) == DeviceInfo(
        "metal", "M3 Max", 10, None, "0.32", "0.32", max_buffer_bytes=3, max_buffers=9
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([a_sample("warmup"), Saving(1)], "they sent Saving, StepSample at the same point"),
        ([a_sample("warmup"), a_sample("measure")], "they are in different phases"),
    ],
)
def test_ranks_that_are_out_of_step_are_an_error(said: list[Any], why: str) -> None:
    with pytest.raises(WorkerError, match=why):
        merge(said)
