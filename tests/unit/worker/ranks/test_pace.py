from pytest_yourai.worker.protocol import Saved, Saving, Validating
from pytest_yourai.worker.ranks.pace import Pace

from support.training import a_step


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
