"""Noise of measured steps, and which speeds it cannot tell apart."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.noise import (
    as_fast_as_the_fastest,
    comparable_times,
    is_surely_faster,
    noise_line,
    noise_of,
)
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult

STEADY = (1.0, 1.02, 0.98, 1.01, 0.99)


def trial(
    *times_s: float, batch: int = 1, tokens: tuple[int, ...] = (), outcome: Outcome = Outcome.OK
) -> TrialResult:
    config = LoraConfig(batch, 8, 4, 64)
    tokens = tokens or (100,) * len(times_s)
    return TrialResult("m", config, outcome, step_times_s=times_s, step_tokens=tokens)


def test_noise_is_the_robust_deviation_over_the_median() -> None:
    found = noise_of(trial(*STEADY))
    assert found is not None
    assert found.share == pytest.approx(1.4826 * 0.01)
    assert (found.outliers, str(found)) == (0, "± 1.5 %")


def test_a_step_that_stands_out_is_counted_and_hardly_moves_the_noise() -> None:
    found = noise_of(trial(*STEADY, 3.0, 1.0, 1.0))
    assert found is not None
    assert (found.outliers, str(found)) == (1, "± 1.5 %!")


def test_among_equal_steps_only_a_tenth_more_stands_out() -> None:
    near, far = noise_of(trial(1, 1, 1, 1.09)), noise_of(trial(1, 1, 1, 1.11))
    assert near is not None
    assert far is not None
    assert (near.outliers, far.outliers) == (0, 1)


def test_two_steps_show_no_spread() -> None:
    assert noise_of(trial(1.0, 2.0)) is None


def test_rows_of_different_lengths_are_no_noise() -> None:
    found = noise_of(trial(1, 2, 3, 4, tokens=(100, 200, 300, 400)))
    assert found is not None
    assert found.share == 0


def test_without_tokens_steps_are_compared_as_they_are() -> None:
    bare = TrialResult("m", LoraConfig(1, 8, 4, 64), Outcome.OK, step_times_s=(1.0, 2.0))
    assert comparable_times(bare, per_token=True) == [1.0, 2.0]


def test_speeds_differ_where_their_ranges_do_not_overlap() -> None:
    slow, near, far = (trial(*(each * factor for each in STEADY)) for factor in (1.0, 0.98, 0.9))
    assert is_surely_faster(far, slow)
    assert not is_surely_faster(near, slow)
    assert not is_surely_faster(slow, far)


def test_the_fastest_come_with_those_that_noise_may_have_put_behind() -> None:
    fast, near, slow = (
        trial(*STEADY),
        trial(*(1.01 * each for each in STEADY), batch=2),
        trial(9, 9, 9),
    )
    failed = trial(0.1, 0.1, 0.1, outcome=Outcome.OOM)
    results = [slow, near, failed, fast]
    assert as_fast_as_the_fastest(results) == [fast, near]
    assert noise_line(results) == (
        "The 2 fastest are within noise of each other: their ranges (±) overlap"
    )
    assert noise_line([fast, slow]) is None
    assert noise_line([]) is None
    assert noise_line([trial(1.0), trial(1.0, batch=2)]) is None


def test_the_fastest_counts_though_nothing_is_known_of_its_noise() -> None:
    fastest, near, slow = trial(1.0), trial(0.9, 1.05, 1.2), trial(0.9, 1.06, 1.3)
    assert noise_line([slow, near, fastest]) == (
        "The 3 fastest are within noise of each other: their ranges (±) overlap"
    )


def of_cycles(*times_s: float, accumulation: int) -> TrialResult:
    config = LoraConfig(1, 8, 4, 64, grad_accumulation_steps=accumulation)
    return dataclasses.replace(trial(*times_s), config=config)


def test_too_few_cycles_show_the_noise_of_their_steps_without_those_that_update() -> None:
    found = noise_of(of_cycles(*STEADY, 9.0, accumulation=6))
    assert found is not None
    assert found.share == pytest.approx(1.4826 * 0.01)
    assert found.outliers == 0
    assert noise_of(of_cycles(1.0, 9.0, 1.0, 9.0, accumulation=2)) is None
