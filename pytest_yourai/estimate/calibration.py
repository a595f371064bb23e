"""Correction of the estimate by measured trials: ridge regression on its named components.

Each component has a factor, 1 before anything is measured, with a prior standard deviation of
`_WIDTHS` that shrinks with every trial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_yourai.estimate.memory_estimate import MemoryEstimate

COMPONENTS = ("weights", "adapters", "activations", "step")
"""`adapters` includes gradients and optimizer state; `step` is logits and overhead."""

_WIDTHS = (0.002, 0.03, 0.03, 0.15)
"""Standard deviation of each factor for a model that was not fitted, where the estimate's relative
error is 2 % (measured on an H200)."""

_ERROR_OF_WIDTHS = 0.02

_NOISE = 0.003

_NOISE_BEYOND_WEIGHTS = 0.012
"""Relative noise of a measured minimum, and of its part beyond the weights, which varies because
batches of work end at different operations for different shapes."""

_UNEVEN_SHARE = 0.2
"""Share of an estimate's relative error that differs from one configuration to the next, so that no
factor corrects it. After three trials predictions of measured floors were off by 0.2 to 0.6 of it
(checkpointing, other architectures); more than this share makes the search run trials for nothing.
"""

_OUTLIER = 3.0
"""Measurements further off than this many times the noise are weighted down."""

_REWEIGHTINGS = 4

LEAST_FACTOR, LARGEST_FACTOR = 0.5, 2.0
"""An estimate that is further off is wrong about the model, and no factor makes up for it."""

LARGEST_WIDTH = 0.3
"""Of a factor, however rough the estimate is: wider ones fitted factors from -2.5 to 3."""

_LEAST_WIDTH_SHARE = 0.1

_MOST_TRIALS = 1_000_000_000

_Vector = npt.NDArray[Any]


@dataclass(frozen=True)
class Calibration:
    """Factor and standard deviation of each of `COMPONENTS`, and the number of trials behind."""

    factors: tuple[float, ...] = (1.0,) * len(COMPONENTS)
    widths: tuple[float, ...] = _WIDTHS
    trials: int = 0

    def for_estimates_off_by(self, relative_error: float) -> Calibration:
        """The same factors, with widths for an estimate of another relative error than 2 %."""
        wider = relative_error / _ERROR_OF_WIDTHS
        widths = tuple(min(width * wider, LARGEST_WIDTH) for width in self.widths)
        return Calibration(self.factors, widths, self.trials)

    @property
    def problem(self) -> str | None:
        """What no trials can have taught; None where it can be believed."""
        for name, factor, width, usual in zip(
            COMPONENTS, self.factors, self.widths, _WIDTHS, strict=True
        ):
            if not LEAST_FACTOR <= factor <= LARGEST_FACTOR:
                return f"the factor {factor:g} of {name} is not {LEAST_FACTOR} to {LARGEST_FACTOR}"
            least = usual * _LEAST_WIDTH_SHARE
            if not least <= width <= LARGEST_WIDTH:
                return f"the width {width:g} of {name} is not {least:g} to {LARGEST_WIDTH}"
        if not 0 <= self.trials <= _MOST_TRIALS:
            return f"its number of trials is not 0 to {_MOST_TRIALS:,}"
        return None


@dataclass(frozen=True, slots=True)
class Observation:
    """Measured minimum of a trial, in bytes, and the estimate for its configuration."""

    estimate: MemoryEstimate
    minimum_bytes: int


@dataclass(frozen=True)
class CalibrationFit:
    """A calibration with the 4 × 4 covariance of its factors."""

    calibration: Calibration
    _covariance: _Vector

    def residual(self, seen: Observation) -> float:
        """How far the prediction is off what was measured, relative to that."""
        return abs(self.predict(seen.estimate)[0] / seen.minimum_bytes - 1)

    def log_likelihood(self, seen: Observation) -> float:
        """Logarithm of the chance that the prediction gave to `seen`, but for a constant."""
        error = self.predict(seen.estimate)[1]
        return -0.5 * (self.residual(seen) / error) ** 2 - math.log(error)

    def predict(self, estimate: MemoryEstimate) -> tuple[float, float]:
        """Corrected minimum in bytes, and its relative error: one standard deviation."""
        parts = _components(estimate)
        minimum = max(float(parts @ np.array(self.calibration.factors)), 1.0)
        relative = parts / minimum
        variance = float(relative @ self._covariance @ relative)
        noise = float(_noise(parts[0], minimum, estimate.relative_error))
        return minimum, math.hypot(noise, math.sqrt(max(variance, 0.0)))


def fit_calibration(prior: Calibration, observations: Sequence[Observation]) -> CalibrationFit:
    """Fit the factors to `observations`, with `prior` as the ridge penalty."""
    start = np.array(prior.factors)
    pull = np.diag(1 / np.array(prior.widths))
    if not observations:
        return CalibrationFit(prior, np.linalg.inv(pull.T @ pull))
    parts = np.array([_components(each.estimate) for each in observations])
    minima = np.array([each.minimum_bytes for each in observations], dtype=np.float64)
    errors = np.array([each.estimate.relative_error for each in observations])
    noise = _noise(parts[:, 0], minima, errors)
    rows = parts / (minima * noise)[:, None]
    missing = (1 - parts @ start / minima) / noise
    weights = np.ones(len(minima))
    for _ in range(_REWEIGHTINGS):
        matrix = np.vstack([rows * weights[:, None], pull])
        target = np.concatenate([missing * weights, np.zeros(len(start))])
        change, *_ = np.linalg.lstsq(matrix, target, rcond=None)
        off = np.abs(missing - rows @ change)
        weights = np.sqrt(np.minimum(1, _OUTLIER / np.maximum(off, _OUTLIER)))
    covariance = np.linalg.inv(matrix.T @ matrix)
    calibration = Calibration(
        factors=tuple(map(float, np.clip(start + change, LEAST_FACTOR, LARGEST_FACTOR))),
        widths=tuple(float(width) for width in np.sqrt(np.diag(covariance))),
        trials=prior.trials + len(observations),
    )
    return CalibrationFit(calibration, covariance)


def _noise(weights: Any, minima: Any, errors: Any) -> Any:
    """Relative noise of minima about corrected estimates that had `errors`, by element."""
    measured = np.hypot(_NOISE, _NOISE_BEYOND_WEIGHTS * np.maximum(0, 1 - weights / minima))
    return np.hypot(measured, _UNEVEN_SHARE * errors)


def _components(estimate: MemoryEstimate) -> _Vector:
    return np.array(
        [
            estimate.weights_bytes,
            estimate.adapters_bytes + estimate.gradients_bytes + estimate.optimizer_bytes,
            estimate.activations_bytes,
            estimate.logits_bytes + estimate.overhead_bytes,
        ],
        dtype=np.float64,
    )
