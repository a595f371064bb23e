"""Minimum memory of a configuration before it runs: the estimate, corrected by measured trials."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.estimate.calibration import (
    Calibration,
    CalibrationFit,
    Observation,
    fit_calibration,
)
from pytest_yourai.estimate.training_memory import MemoryEstimate, estimate_trial
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import padded_length
from pytest_yourai.models.source import ModelSource

_KNOWN_ERRORS = 2.0
"""A prediction counts as certain beyond so many of its typical errors."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted memory of one configuration. Bytes; `relative_error` is one standard deviation."""

    minimum_bytes: int
    conservative_bytes: int
    weights_bytes: int
    relative_error: float
    largest_residual: float = 0.0
    """The most that predictions of this run were off, relative to what was measured then."""

    def __str__(self) -> str:
        """Minimum with its error, in GB."""
        off = self.minimum_bytes * max(self.relative_error, self.largest_residual)
        return f"about {gigabytes(self.minimum_bytes)} (± {gigabytes(off)})"

    def is_surely_over(self, limit_bytes: int) -> bool:
        """True if the minimum with its margin exceeds `limit_bytes` by more than its error.

        Whatever predictions claim, they were off by `largest_residual`, and may be again.
        """
        error = _KNOWN_ERRORS * self.relative_error + self.largest_residual
        least = self.minimum_bytes * (1 - error)
        return least * SAFETY_MARGIN > limit_bytes


@dataclass(frozen=True)
class PredictionErrors:
    """Relative errors of predictions that were made before their trials: 0.02 is 2 %."""

    errors: tuple[float, ...]

    @classmethod
    def of(cls, results: Iterable[TrialResult]) -> PredictionErrors:
        """Errors of the trials in `results` that were predicted and measured in this run."""
        return cls(
            tuple(
                abs(result.predicted_minimum_memory_bytes / result.minimum_memory_bytes - 1)
                for result in results
                if result.minimum_memory_bytes and result.predicted_minimum_memory_bytes
                if not result.kept
            )
        )

    def __str__(self) -> str:
        """Mean and maximum, in percent, as a line for people."""
        if not self.errors:
            return "prediction error so far: no trial had a prediction"
        mean, largest = statistics.fmean(self.errors) * 100, max(self.errors) * 100
        trials = f"{len(self.errors)} trial" + "s" * (len(self.errors) != 1)
        return f"prediction error so far: mean {mean:.1f} %, max {largest:.1f} % over {trials}"


@dataclass
class Predictor:
    """Predicts minimum memory for one model on one device, and learns from measured trials.

    Trials with and without checkpointing are learned apart: their estimates have different errors.
    """

    source: ModelSource
    backend: Backend
    device: str = ""
    inspected: Mapping[str, InspectedShapes] = field(default_factory=dict)
    """Shapes of the built model, by the choice of LoRA keys."""
    prior: Calibration = field(default_factory=Calibration)
    longest_row: int | None = None
    """Tokens of the longest row of real data; None where all rows have max_seq_length."""
    is_enabled: bool = True
    """False where trials measure no minimum memory: then nothing is predicted or learned."""
    _observations: dict[LoraConfig, Observation] = field(init=False, default_factory=dict)
    _fits: dict[tuple[bool, LoraConfig | None], CalibrationFit] = field(
        init=False, default_factory=dict
    )
    _estimates: dict[LoraConfig, MemoryEstimate | None] = field(init=False, default_factory=dict)
    _largest_residuals: dict[bool, float] = field(init=False, default_factory=dict)

    def predict(self, config: LoraConfig, without: LoraConfig | None = None) -> Prediction | None:
        """Prediction for `config`; None where the architecture is unknown or not supported.

        The trial of `without` is left out, as if it had not been learned.
        """
        estimate = self._estimate(config)
        if estimate is None:
            return None
        fitted = self._fitted(estimate, config.grad_checkpoint, without)
        minimum, relative_error = fitted.predict(estimate)
        return Prediction(
            minimum_bytes=round(minimum),
            conservative_bytes=round(minimum) + estimate.margin_bytes,
            weights_bytes=estimate.weights_bytes,
            relative_error=relative_error,
            largest_residual=self._largest_residuals.get(config.grad_checkpoint, 0.0),
        )

    def learn(self, result: TrialResult) -> None:
        """Correct later predictions by what a trial measured."""
        estimate, minimum_bytes = self._estimate(result.config), result.minimum_memory_bytes
        if estimate is None or not minimum_bytes:
            return
        kind = result.config.grad_checkpoint
        predicted, error = self._fitted(estimate, kind).predict(estimate)
        residual = abs(predicted / minimum_bytes - 1)
        self._largest_residuals[kind] = max(self._largest_residuals.get(kind, 0.0), residual)
        if residual > _KNOWN_ERRORS * error and self._is_better_without(estimate, minimum_bytes):
            self.prior = Calibration()
        self._observations[result.config] = Observation(estimate, minimum_bytes)
        self._fits.clear()

    def _is_better_without(self, estimate: MemoryEstimate, minimum_bytes: int) -> bool:
        """True if a minimum contradicts what earlier runs taught: the bare estimate is nearer."""
        taught, bare = (
            fit_calibration(prior, []).predict(estimate)[0] for prior in (self.prior, Calibration())
        )
        return abs(bare - minimum_bytes) < abs(taught - minimum_bytes)

    @property
    def calibration(self) -> Calibration | None:
        """Correction learned from the kind with most trials; None before the first one."""
        kinds = [config.grad_checkpoint for config in self._observations]
        if not kinds:
            return None
        checkpoint = sum(kinds) > len(kinds) / 2
        config = next(each for each in self._observations if each.grad_checkpoint == checkpoint)
        return self._fitted(self._observations[config].estimate, checkpoint).calibration

    def _fitted(
        self, estimate: MemoryEstimate, checkpoint: bool, without: LoraConfig | None = None
    ) -> CalibrationFit:
        if (checkpoint, without) not in self._fits:
            observations = [
                each
                for config, each in self._observations.items()
                if config.grad_checkpoint == checkpoint and config != without
            ]
            prior = self.prior.for_estimates_off_by(estimate.relative_error)
            self._fits[checkpoint, without] = fit_calibration(prior, observations)
        return self._fits[checkpoint, without]

    def _estimate(self, config: LoraConfig) -> MemoryEstimate | None:
        if config not in self._estimates:
            self._estimates[config] = self._new_estimate(config) if self.is_enabled else None
        return self._estimates[config]

    def _new_estimate(self, config: LoraConfig) -> MemoryEstimate | None:
        if self.longest_row is not None:
            longest = padded_length(self.longest_row, config.max_seq_length)
            config = dataclasses.replace(config, max_seq_length=longest)
        try:
            inspected = self.inspected.get(config.lora_keys)
            return estimate_trial(config, self.source, self.backend, self.device, inspected)
        except ModelError:
            return None
