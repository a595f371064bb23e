from __future__ import annotations

import random
import re

import pytest

from pytest_yourai.machine.leak import Growth
from pytest_yourai.training.memory_trend import MemoryTrend

from support.training import GB, a_step

MB = 1_000_000


def warnings(active: list[int], footprints: list[int], *, footprint_counts: bool) -> list[str]:
    trend = MemoryTrend(footprint_counts=footprint_counts)
    found = [
        trend.warning(a_step(number, active_memory_bytes=held, footprint_bytes=footprint))
        for number, (held, footprint) in enumerate(zip(active, footprints, strict=True), 1)
    ]
    return [each for each in found if each is not None]


def growing(mb_per_step: float, steps: int = 200, flat: int = 0) -> list[int]:
    return [5 * GB + round(max(0, step - flat) * mb_per_step * MB) for step in range(steps)]


FLAT = growing(0)


@pytest.mark.parametrize("flat", [0, 60, 150])
def test_a_leak_is_reported_once_with_its_slope(flat: int) -> None:
    [said] = warnings(growing(60, flat=flat), FLAT, footprint_counts=True)
    found = re.match(r"MLX's active memory grew by (.*) MB a step over the last \d+ steps: ", said)
    assert found is not None
    assert 50 < float(found[1]) <= 60
    assert "something leaks; --reload-interval" in said


def test_a_leak_outside_of_mlx_is_reported_too_but_not_on_cuda() -> None:
    [said] = warnings(FLAT, growing(80), footprint_counts=True)
    assert said.startswith("the footprint grew by 80.0 MB a step")
    assert not warnings(FLAT, growing(80), footprint_counts=False)
    [said] = warnings(growing(80), growing(80), footprint_counts=False)
    assert said.startswith("MLX's active memory")


def test_gradients_that_accumulate_hide_no_leak() -> None:
    def said(mb_per_step: float) -> list[str | None]:
        trend = MemoryTrend(footprint_counts=True, accumulation=4)
        held = growing(mb_per_step)
        return [
            trend.warning(
                a_step(number, active_memory_bytes=each + (0 if number % 4 == 0 else 4 * GB))
            )
            for number, each in enumerate(held, 1)
        ]

    assert any(said(80))
    assert not any(said(0))


def test_less_than_50_mb_a_step_is_not_reported() -> None:
    assert not warnings(growing(49), growing(49), footprint_counts=True)


def test_what_goes_up_and_down_does_not_leak() -> None:
    chooser = random.Random(0)
    noise = [5 * GB + chooser.randrange(2 * GB) for _ in range(1200)]
    assert not warnings(noise, noise, footprint_counts=True)


def test_steps_that_compile_do_not_count() -> None:
    trend = MemoryTrend(footprint_counts=True)
    for number, held in enumerate([1 * GB, 3 * GB, *[5 * GB] * 5], 1):
        trend.warning(a_step(number, active_memory_bytes=held, footprint_bytes=None))
    assert trend.growth == Growth(0, None)


def test_growth_is_that_of_the_last_steps() -> None:
    trend = MemoryTrend(footprint_counts=True)
    assert trend.growth == Growth(None, None)
    for number, held in enumerate(growing(3, steps=1300, flat=300), 1):
        trend.warning(a_step(number, active_memory_bytes=held))
    assert trend.growth == Growth(3 * MB, 0)
