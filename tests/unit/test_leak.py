from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_yourai.leak import growth_per_step


def test_steady_growth_is_its_slope() -> None:
    assert growth_per_step([100, 160, 220, 280]) == 60


def test_flat_memory_does_not_grow() -> None:
    assert growth_per_step([7] * 10) == 0


def test_a_few_outliers_do_not_count() -> None:
    values = [100] * 10
    values[3], values[8] = 10_000, 50_000
    assert growth_per_step(values) == 0


def test_one_step_up_is_no_leak() -> None:
    assert growth_per_step([100, 900, 900, 900, 900, 900, 900, 900, 900, 900]) == 0


@pytest.mark.parametrize("values", [[], [1], [1, 900]])
def test_too_few_steps_say_nothing(values: list[int]) -> None:
    assert growth_per_step(values) is None


def test_what_goes_up_and_down_is_no_leak() -> None:
    pool = [10_000, 16_000, 12_000, 18_000, 10_100, 15_000, 19_000, 10_050, 17_000, 18_000]
    assert abs(growth_per_step(pool) or 0) <= 10


def test_a_leak_under_such_noise_is_seen() -> None:
    noise = [0, 6000, 2000, 8000, 100, 5000, 9000, 50, 7000, 8000]
    leaking = [each + 2000 * step for step, each in enumerate(noise)]
    assert growth_per_step(leaking) == pytest.approx(2000, rel=0.5)


def test_memory_that_shrinks_does_not_grow() -> None:
    assert growth_per_step([900, 800, 700, 600]) == 0


@given(st.lists(st.integers(0, 10**11), min_size=3, max_size=12), st.integers(0, 10**9))
def test_it_is_never_negative_and_follows_a_slope(values: list[int], slope: int) -> None:
    assert (growth_per_step(values) or 0) >= 0
    steady = [slope * index for index in range(len(values))]
    assert growth_per_step(steady) == slope
