"""What the ranks of a group say becomes one message, and a stall is known by their pace."""

from __future__ import annotations

import pytest

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.worker.protocol import (
    Compiling,
    Saved,
    Saving,
    TrainedStep,
    Validating,
)
from pytest_yourai.worker.ranks.merging import Merger
from pytest_yourai.worker.ranks.pace import Pace

from support.training import a_step


def test_a_step_waits_for_all_ranks_and_has_the_largest_of_their_figures() -> None:
    merger = Merger(2)
    assert merger.add(1, a_step(1, step_time_s=0.3, peak_memory_bytes=5)) == []
    [merged] = merger.add(0, a_step(1, step_time_s=0.2, peak_memory_bytes=7))
    assert isinstance(merged, TrainedStep)
    assert (merged.step_time_s, merged.peak_memory_bytes) == (0.3, 7)
    assert [each.step_time_s for each in merged.ranks] == [0.2, 0.3]


def test_that_one_compiles_is_passed_on_once_and_at_once() -> None:
    merger = Merger(2)
    assert merger.add(1, Compiling()) == [Compiling()]
    assert merger.add(0, Compiling()) == []


def test_what_a_rank_ahead_says_of_its_next_step_waits_for_this_one() -> None:
    merger = Merger(2)
    assert merger.add(0, Compiling()) == [Compiling()]
    assert merger.add(0, a_step(1)) == []
    assert merger.add(0, Compiling()) == []
    step, compiling = merger.add(1, a_step(1))
    assert isinstance(step, TrainedStep)
    assert compiling == Compiling()
    assert merger.add(1, Compiling()) == []


def test_ranks_that_say_unlike_things_are_out_of_step() -> None:
    merger = Merger(2)
    merger.add(0, a_step(1))
    with pytest.raises(WorkerError, match="they sent TrainedStep, Validating at the same point"):
        merger.add(1, Validating())


def test_a_step_has_stalled_once_it_took_ten_times_the_slowest() -> None:
    pace = Pace()
    assert pace.stall(1000) is None
    pace.note(a_step(1, step_time_s=4.0))
    pace.note(a_step(2, step_time_s=3.0))
    assert pace.stall(40) is None
    assert pace.stall(41) == (
        "all ranks live, and no step ended on them for 41.0s, where the slowest before took 4.0s"
    )


def test_short_steps_have_twenty_seconds() -> None:
    pace = Pace()
    pace.note(a_step(1, step_time_s=0.1))
    assert pace.stall(20) is None
    assert pace.stall(21) is not None


def test_what_waits_for_a_checkpoint_has_not_stalled() -> None:
    pace = Pace()
    pace.note(a_step(1, step_time_s=0.1))
    pace.note(Saving(1))
    assert pace.stall(100) is None
    pace.note(Saved(1))
    assert pace.stall(100) is None
    pace.note(Validating())
    assert pace.stall(100) is not None
