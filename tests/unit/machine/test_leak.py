from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_yourai.machine.leak import LeakWatch, growth_per_step, leaks

MB = 1_000_000


def test_steady_growth_is_its_slope() -> None:
    assert growth_per_step([100, 160, 220, 280, 340]) == 60


def test_a_series_of_thousands_of_steps_is_no_slower() -> None:
    values = [60 * MB * step for step in range(20_000)]
    assert growth_per_step(values) == 60 * MB
    assert leaks(values, [])


def test_flat_memory_does_not_grow() -> None:
    assert growth_per_step([7] * 10) == 0


def test_a_few_outliers_do_not_count() -> None:
    values = [100] * 10
    values[3], values[8] = 10_000, 50_000
    assert growth_per_step(values) == 0


@pytest.mark.parametrize("values", [[], [1], [1, 900, 1800, 2700]])
def test_too_few_steps_say_nothing(values: list[int]) -> None:
    assert growth_per_step(values) is None
    assert not leaks(values, [])


@pytest.mark.parametrize(("slope", "expected"), [(50 * MB, False), (50 * MB + 1, True)])
def test_a_leak_is_more_than_50_mb_a_step(slope: int, expected: bool) -> None:
    assert leaks([slope * step for step in range(10)], []) is expected


def test_what_goes_up_and_down_by_gigabytes_is_not_a_leak() -> None:
    pool = [10_000, 16_000, 12_000, 18_000, 10_100, 15_000, 19_000, 10_050, 17_000, 18_000]
    values = [each * MB for each in pool]
    assert (growth_per_step(values) or 0) > 50 * MB
    assert not leaks(values, [])


def test_a_pool_that_fills_and_stays_is_not_a_leak() -> None:
    assert not leaks([1000 * MB, 1500 * MB, 2000 * MB, *[2500 * MB] * 7], [])


def test_a_leak_under_some_noise_is_seen() -> None:
    noise = [0, 30, 10, 40, 5, 25, 45, 1, 35, 40]
    assert leaks([(60 * step + each) * MB for step, each in enumerate(noise)], [0, 45 * MB])


def test_one_low_step_does_not_hide_a_leak() -> None:
    assert leaks([*(100 * MB * step for step in range(9)), 0], [])


def test_growth_within_what_it_varied_by_before_is_not_a_leak() -> None:
    values = [100 * MB * step for step in range(10)]
    assert leaks(values, [0, 800 * MB])
    assert not leaks(values, [0, 900 * MB])


@given(
    st.integers(-(10**9), 10**9),
    st.lists(st.integers(0, 10**11), min_size=5, max_size=12),
)
def test_adding_a_slope_adds_it(slope: int, values: list[int]) -> None:
    grown = [value + slope * index for index, value in enumerate(values)]
    before, after = growth_per_step(values), growth_per_step(grown)
    assert before is not None
    assert after == pytest.approx(before + slope, abs=1)


def test_a_step_that_frees_gradients_counts_as_the_one_before() -> None:
    watch = LeakWatch()
    for step in range(20):
        frees = step % 2 == 1
        watch.add(step * 10 + (0 if frees else 1000), step, frees_gradients=frees)
    assert watch.growth.active_bytes_per_step == pytest.approx(10, rel=0.2)
    assert watch.growth.footprint_bytes_per_step == pytest.approx(1, rel=0.2)
    watch = LeakWatch()
    watch.add(5, None, frees_gradients=True)
    assert list(watch.leaks()) == []
