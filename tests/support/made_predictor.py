"""Predictions of made-up estimates, corrected by measured trials as the program does it."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.calibration import (
    Calibration,
    CalibrationFit,
    Observation,
    fit_calibration,
)
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.predictor import Prediction

_WEIGHTS_SHARE = 0.5
"""Weights as a share of the smallest minimum."""


class MadePredictor:
    """Predictor with the estimates `minima`, in bytes, and their `relative_error`.

    A configuration without one is not predicted.
    """

    def __init__(self, minima: Mapping[LoraConfig, float], relative_error: float = 0.03) -> None:
        weights = _WEIGHTS_SHARE * min(minima.values(), default=0.0)
        self.estimates = {
            config: _estimate(minimum, weights, relative_error)
            for config, minimum in minima.items()
        }
        self.observations: dict[LoraConfig, Observation] = {}
        self._prior = Calibration().for_estimates_off_by(relative_error)
        self._fits: dict[LoraConfig | None, CalibrationFit] = {}

    def learn(self, result: TrialResult) -> None:
        """Correct later predictions by what a trial measured."""
        estimate = self.estimates.get(result.config)
        if estimate is not None and result.minimum_memory_bytes is not None:
            self.observations[result.config] = Observation(estimate, result.minimum_memory_bytes)
            self._fits.clear()

    def predict(self, config: LoraConfig, without: LoraConfig | None = None) -> Prediction | None:
        """Prediction for `config`, without one trial; None where there is no estimate."""
        estimate = self.estimates.get(config)
        if estimate is None:
            return None
        if without not in self._fits:
            kept = [each for config, each in self.observations.items() if config != without]
            self._fits[without] = fit_calibration(self._prior, kept)
        minimum, error = self._fits[without].predict(estimate)
        return Prediction(round(minimum), round(minimum), estimate.weights_bytes, error)


def _estimate(minimum: float, weights: float, relative_error: float) -> MemoryEstimate:
    """An estimate of `minimum` bytes, of which beyond the weights most are activations."""
    rest = minimum - weights
    return MemoryEstimate(
        weights_bytes=round(weights),
        adapters_bytes=round(0.1 * rest),
        gradients_bytes=0,
        optimizer_bytes=0,
        activations_bytes=round(0.6 * rest),
        logits_bytes=round(0.3 * rest),
        overhead_bytes=0,
        margin_bytes=0,
        relative_error=relative_error,
    )
