"""Times of steps by padded length, fitted to measured steps."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.step_time import (
    epoch_time_s,
    longest_step_s,
    measured_widths,
    step_times,
    surveyed_widths,
)
from pytest_yourai.models.dataset_lengths import TrainingData

DATA = TrainingData((20, 60, 80, 500, 300, 200))
"""Padded to 33, 65, 97, 513, 321 and 225 in batches of one row."""


def result(*times_s: float, accumulation: int = 1, batch_size: int = 1) -> TrialResult:
    config = LoraConfig(batch_size, 8, 4, 512, grad_accumulation_steps=accumulation)
    return TrialResult("m", config, Outcome.OK, step_times_s=times_s)


def time_s(width: int, fixed: float = 0.1, each: float = 1e-3, pair: float = 1e-6) -> float:
    """Of a batch of one row."""
    return fixed + each * (width - 1) + pair * (width - 1) ** 2


def test_steps_go_through_the_longest_batches_again_and_again() -> None:
    assert measured_widths(DATA, LoraConfig(1, 8, 4, 512), 8)[:2] == [512, 321]
    assert measured_widths(DATA, LoraConfig(2, 8, 4, 512), 4) == [512, 225, 65, 512]
    assert measured_widths(DATA, LoraConfig(8, 8, 4, 512), 4) == []


def test_costs_of_steps_positions_and_pairs_are_found() -> None:
    widths = measured_widths(DATA, LoraConfig(1, 8, 4, 512), 4)
    found = step_times(DATA, result(*map(time_s, widths)))
    assert found is not None
    assert found.costs == pytest.approx((0.1, 1e-3, 1e-6))
    assert found.of_all([33, 65]) == pytest.approx(time_s(33) + time_s(65))


def test_an_epoch_takes_what_its_batches_take() -> None:
    widths = measured_widths(DATA, LoraConfig(1, 8, 4, 512), 4)
    found = epoch_time_s(DATA, result(*map(time_s, widths)))
    assert found == pytest.approx(sum(map(time_s, DATA.widths(1, 512))))
    assert epoch_time_s(DATA, result()) is None
    assert epoch_time_s(DATA, result(1.0, batch_size=8)) is None


def test_of_one_width_a_position_has_the_whole_cost() -> None:
    found = step_times(TrainingData((500, 500)), result(0.5, 0.6, 9.0, 0.5))
    assert found is not None
    assert found.costs == pytest.approx((0, 0.55 / 511, 0))


def test_no_cost_is_negative() -> None:
    """Long steps that are no slower than short ones have a cost of their own, and no other."""
    found = step_times(DATA, result(0.5, 0.5, 0.5, 0.5, 0.5, 0.5))
    assert found is not None
    assert found.costs == pytest.approx((0.5, 0, 0))


def test_accumulated_steps_count_by_whole_cycles() -> None:
    widths = measured_widths(DATA, LoraConfig(1, 8, 4, 512), 6)
    # The update at the end of a cycle takes 0.2 s, and the last cycle is not whole.
    times_s = [time_s(each) + 0.2 * (place % 2) for place, each in enumerate(widths)]
    found = step_times(DATA, result(*times_s, 50.0, accumulation=2))
    assert found is not None
    assert found.costs == pytest.approx((0.2, 1e-3, 1e-6))


def test_a_survey_says_how_fast_the_shorter_ones_are() -> None:
    data = TrainingData((*(200,) * 5, *(90,) * 20, *(30,) * 20, *(500,) * 10))
    config = LoraConfig(1, 8, 4, 512)
    surveyed = surveyed_widths(data, config, 10)
    assert surveyed == [225, 97, 33]
    times_s = [time_s(each) for each in surveyed * 2]
    of_trial = dataclasses.replace(result(*[time_s(512)] * 10), survey_step_times_s=tuple(times_s))
    found = step_times(data, of_trial)
    assert found is not None
    assert found.costs == pytest.approx((0.1, 1e-3, 1e-6))


def test_a_survey_of_accumulated_steps_has_whole_cycles() -> None:
    data = TrainingData((*(200,) * 5, *(90,) * 20, *(30,) * 20, *(500,) * 10))
    config = LoraConfig(1, 8, 4, 512, grad_accumulation_steps=4)
    assert surveyed_widths(data, config, 10) == [225, 97, 33, 225]


def test_the_longest_step_is_the_median_of_the_longest_batches() -> None:
    data = TrainingData((500, 490, 40))
    assert longest_step_s(data, result(3.0, 1.0, 0.1, 5.0)) == 3.0
    assert longest_step_s(data, result()) is None
