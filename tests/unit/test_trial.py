"""What is known of a trial from its steps."""

from __future__ import annotations

from pytest_yourai.config import LoraConfig, StepPlan
from pytest_yourai.engine.protocol import Phase, StepSample
from pytest_yourai.memory.guard import Guard
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.trial import TrialRecord

GB = 1_000_000_000


def record(*steps: tuple[Phase, float, int]) -> TrialRecord:
    """Of steps with their times and tokens."""
    guard = Guard(GB, read_system_memory(), forced=False)
    made = TrialRecord("m", LoraConfig(1, 8, 4, 64), StepPlan(), GB, guard)
    for phase, time_s, tokens in steps:
        made.add(StepSample(phase, 5.0, time_s, 1, 1, 1, 1, tokens))
    return made


def test_paces_leave_out_steps_that_compiled() -> None:
    compiling: list[tuple[Phase, float, int]] = [("warmup", 9.0, 100), ("warmup", 8.0, 100)]
    warm: list[tuple[Phase, float, int]] = [("warmup", 1.0, 100), ("settle", 1.1, 100)]
    further: list[tuple[Phase, float, int]] = [("settle", 7.0, 50), ("settle", 6.0, 20)]
    measured: list[tuple[Phase, float, int]] = [("measure", 1.2, 100), ("measure", 0.7, 50)]

    def paces(steps: list[tuple[Phase, float, int]]) -> list[float]:
        return record(*steps).paces(with_running_step=False)

    assert paces(compiling) == []
    assert paces([*compiling, *warm[:1]]) == [1.0]
    assert paces([*compiling, *warm]) == [1.0, 1.1]
    assert paces([*compiling, *warm, *further]) == [1.0, 1.1]
    assert paces([*compiling, *warm, *measured]) == [1.0, 1.1, 1.2, 1.4]
    assert paces([*compiling, *warm, *further, *measured]) == [1.0, 1.1, 1.2, 1.4]
