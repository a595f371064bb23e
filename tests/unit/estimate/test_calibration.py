"""Least squares on named components: what it takes from trials, and what it leaves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_yourai.estimate.calibration import (
    COMPONENTS,
    Calibration,
    Observation,
    fit_calibration,
)
from pytest_yourai.estimate.memory_estimate import MemoryEstimate

MB = 1_000_000


def estimate(activations_mb: int, step_mb: int = 100, **more: Any) -> MemoryEstimate:
    values: dict[str, Any] = {
        "weights_bytes": 1000 * MB,
        "adapters_bytes": 20 * MB,
        "gradients_bytes": 0,
        "optimizer_bytes": 40 * MB,
        "activations_bytes": activations_mb * MB,
        "logits_bytes": step_mb * MB,
        "overhead_bytes": 0,
        "margin_bytes": 0,
        "relative_error": 0.02,
    }
    return MemoryEstimate(**{**values, **more})


ESTIMATES = [estimate(100), estimate(400, 200), estimate(1600, 500), estimate(3200, 1000)]


def true_minimum(of: MemoryEstimate, activations: float, step: float) -> int:
    return round(
        of.minimum_bytes + (activations - 1) * of.activations_bytes + (step - 1) * of.logits_bytes
    )


def test_without_trials_the_estimate_stands() -> None:
    minimum, error = fit_calibration(Calibration(), []).predict(ESTIMATES[2])
    assert minimum == pytest.approx(ESTIMATES[2].minimum_bytes)
    assert 0.01 < error < 0.05


def test_three_trials_bring_the_prediction_to_within_one_percent() -> None:
    observations = [Observation(each, true_minimum(each, 1.06, 1.3)) for each in ESTIMATES[:3]]
    minimum, error = fit_calibration(Calibration(), observations).predict(ESTIMATES[3])
    truth = true_minimum(ESTIMATES[3], 1.06, 1.3)
    assert abs(ESTIMATES[3].minimum_bytes / truth - 1) > 0.05
    assert abs(minimum / truth - 1) < 0.01
    assert error < 0.02


def test_the_known_error_shrinks_with_every_trial() -> None:
    observations = [Observation(each, each.minimum_bytes) for each in ESTIMATES]
    errors = [
        fit_calibration(Calibration(), observations[:count]).predict(ESTIMATES[3])[1]
        for count in range(len(observations) + 1)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 1.5


def test_one_outlier_does_not_lead_the_rest_astray() -> None:
    good = [Observation(each, each.minimum_bytes) for each in (*ESTIMATES, *ESTIMATES)]
    good[1] = dataclasses.replace(good[1], minimum_bytes=round(good[1].minimum_bytes * 1.2))
    minimum, _ = fit_calibration(Calibration(), good).predict(ESTIMATES[3])
    assert abs(minimum / ESTIMATES[3].minimum_bytes - 1) < 0.01


def test_an_estimate_that_is_off_by_more_lets_its_factors_move_further() -> None:
    observation = Observation(ESTIMATES[2], true_minimum(ESTIMATES[2], 1.3, 1.0))
    known = fit_calibration(Calibration(), [observation]).calibration
    unknown = fit_calibration(Calibration().for_estimates_off_by(0.1), [observation]).calibration
    activations = COMPONENTS.index("activations")
    assert 1 < known.factors[activations] < unknown.factors[activations] < 1.35


def test_trials_do_not_make_a_rough_estimate_as_certain_as_a_good_one() -> None:
    rough = [dataclasses.replace(each, relative_error=0.3) for each in ESTIMATES]
    observations = [Observation(each, true_minimum(each, 1.06, 1.3)) for each in rough[:3]]
    prior = Calibration().for_estimates_off_by(0.3)
    _, before = fit_calibration(prior, []).predict(rough[3])
    _, after = fit_calibration(prior, observations).predict(rough[3])
    assert 0.05 < after < before


def test_no_trial_takes_a_factor_beyond_its_bounds() -> None:
    rough = [dataclasses.replace(each, relative_error=5.0) for each in ESTIMATES]
    for wrong in (0.2, 5.0):
        seen = [Observation(each, round(wrong * each.minimum_bytes)) for each in rough]
        fitted = fit_calibration(Calibration().for_estimates_off_by(5.0), seen).calibration
        assert fitted.problem is None, fitted
