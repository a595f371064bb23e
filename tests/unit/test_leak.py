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
    assert growth_per_step([100, 100, 100, 100, 900, 900, 900, 900, 900, 900]) == pytest.approx(
        120, abs=60
    )
    assert growth_per_step([100, 900, 900, 900, 900, 900, 900, 900, 900, 900]) == 0


@pytest.mark.parametrize("values", [[], [1], [1, 900]])
def test_too_few_steps_say_nothing(values: list[int]) -> None:
    assert growth_per_step(values) is None


@given(
    st.integers(-(10**9), 10**9),
    st.lists(st.integers(0, 10**11), min_size=3, max_size=12),
)
def test_adding_a_slope_adds_it(slope: int, values: list[int]) -> None:
    grown = [value + slope * index for index, value in enumerate(values)]
    before, after = growth_per_step(values), growth_per_step(grown)
    assert before is not None
    assert after == pytest.approx(before + slope, abs=1)
