"""Minimum memory of a configuration before it runs: the estimate, corrected by measured trials."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_yourai.core.config import SAFETY_MARGIN, FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.hosts import rank_share
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes, plural
from pytest_yourai.estimate.calibration import (
    Calibration,
    CalibrationFit,
    Observation,
    fit_calibration,
)
from pytest_yourai.estimate.earlier_runs import EarlierRuns, kept, kind_of_recipe
from pytest_yourai.estimate.followed_step import estimate_of
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.training_memory import estimate_trial
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import padded_length
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.step_profile import StepProfile, step_kind

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
    ahead_bytes: int = 0
    """What MLX takes beyond the minimum where no limit makes it wait."""

    def peak_bytes_within(self, budget_bytes: int | None) -> int:
        """Predicted peak of the measured steps, whose limit leaves the safety margin."""
        free = self.minimum_bytes + self.ahead_bytes
        if budget_bytes is None:
            return free
        return max(self.minimum_bytes, min(free, round(budget_bytes / SAFETY_MARGIN)))

    def __str__(self) -> str:
        """Minimum with its error: `about 10.0 GB (± 2.0 %)`."""
        off = max(self.relative_error, self.largest_residual)
        return f"about {gigabytes(self.minimum_bytes)} (± {off * 100:.1f} %)"

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
        trials = plural(len(self.errors), "trial")
        return f"prediction error so far: mean {mean:.1f} %, max {largest:.1f} % over {trials}"


@dataclass
class _Kind:
    """The trials of one kind of recipe, and what they and `earlier` runs teach about the others."""

    earlier: EarlierRuns
    relative_error: float
    observations: dict[LoraConfig, Observation] = field(init=False, default_factory=dict)
    largest_residual: float = field(init=False, default=0.0)
    _evidence: float = field(init=False, default=0.0)
    _fits: dict[LoraConfig | None, CalibrationFit] = field(init=False, default_factory=dict)

    def fitted(self, without: LoraConfig | None = None) -> CalibrationFit:
        """The fit to all trials but `without`."""
        if without not in self._fits:
            self._fits[without] = self._fit(self.earlier, without)
        return self._fits[without]

    def learn(self, config: LoraConfig, seen: Observation) -> None:
        """Take in a trial, and give up what earlier runs taught once trials contradict it.

        They do where predictions without it were nearer, and would have given the trials so far a
        better chance (A. P. Dawid, J. R. Stat. Soc. A 147, 1984: prequential analysis).
        """
        taught = self.fitted()
        residual = taught.residual(seen)
        self.largest_residual = max(self.largest_residual, residual)
        if self.earlier != EarlierRuns():
            bare = self._fit(EarlierRuns())
            self._evidence += taught.log_likelihood(seen) - bare.log_likelihood(seen)
            if self._evidence < 0 and bare.residual(seen) < residual:
                self.earlier = EarlierRuns()
        self.observations[config] = seen
        self._fits.clear()

    def _fit(self, earlier: EarlierRuns, without: LoraConfig | None = None) -> CalibrationFit:
        trials = [each for config, each in self.observations.items() if config != without]
        return fit_calibration(earlier.prior(self.relative_error), trials)


@dataclass
class Predictor:
    """Predicts minimum memory for one model on one device, and learns from measured trials.

    Each kind of recipe is learned apart: its estimates have errors of their own.
    """

    source: ModelSource
    backend: Backend
    device: str = ""
    inspected: Mapping[str, InspectedShapes] = field(default_factory=dict)
    """Shapes of the built model, by the choice of LoRA keys."""
    steps: Mapping[str, StepProfile] = field(default_factory=dict)
    """Profiles of traced steps, by `step_kind`."""
    earlier: Mapping[str, EarlierRuns] = field(default_factory=dict)
    """What earlier runs taught, by kind of recipe."""
    longest_row: int | None = None
    """Tokens of the longest row of real data; None where all rows have max_seq_length."""
    recipe: Recipe = MLX_LM_DEFAULTS
    ranks: int = 1
    """Processes that train together: each needs the memory of its share of the batch."""
    is_enabled: bool = True
    """False where trials measure no minimum memory: then nothing is predicted or learned."""
    _estimates: dict[LoraConfig, MemoryEstimate | None] = field(init=False, default_factory=dict)
    _kinds: dict[str, _Kind] = field(init=False, default_factory=dict)

    def predict(self, config: LoraConfig, without: LoraConfig | None = None) -> Prediction | None:
        """Prediction for `config`; None where the architecture is unknown or not supported.

        The trial of `without` is left out, as if it had not been learned.
        """
        estimate = self._estimate(config)
        if estimate is None:
            return None
        kind = self._kind(config, estimate)
        minimum, relative_error = kind.fitted(without).predict(estimate)
        return Prediction(
            minimum_bytes=round(minimum),
            conservative_bytes=round(minimum) + estimate.margin_bytes,
            weights_bytes=estimate.weights_bytes,
            relative_error=relative_error,
            largest_residual=self._largest_residual(kind),
            ahead_bytes=estimate.ahead_bytes,
        )

    def learn(self, result: TrialResult) -> None:
        """Correct later predictions by what a trial measured."""
        estimate, minimum_bytes = self._estimate(result.config), result.minimum_memory_bytes
        if estimate is not None and minimum_bytes:
            kind = self._kind(result.config, estimate)
            kind.learn(result.config, Observation(estimate, minimum_bytes))

    @property
    def learned(self) -> dict[str, Calibration]:
        """For the next run of the model: what the trials taught, by kind of recipe."""
        return {
            name: kept(kind.fitted().calibration, kind.relative_error)
            for name, kind in self._kinds.items()
            if kind.observations
        }

    def alone(self) -> Predictor:
        """One that has learned nothing yet, and knows of earlier runs of the model itself alone.

        What it learns is for the cache: what other models taught is there already.
        """
        own = {kind: EarlierRuns(each.own) for kind, each in self.earlier.items()}
        return dataclasses.replace(self, earlier=own)

    def _kind(self, config: LoraConfig, estimate: MemoryEstimate) -> _Kind:
        name = kind_of_recipe(config)
        if name not in self._kinds:
            earlier = self.earlier.get(name, EarlierRuns())
            self._kinds[name] = _Kind(earlier, estimate.relative_error)
        return self._kinds[name]

    def _largest_residual(self, kind: _Kind) -> float:
        """Of `kind`; before its first trial what the others show of the run."""
        kinds = [kind] if kind.observations else self._kinds.values()
        return max((each.largest_residual for each in kinds), default=0.0)

    def _estimate(self, config: LoraConfig) -> MemoryEstimate | None:
        if config not in self._estimates:
            self._estimates[config] = self._new_estimate(config) if self.is_enabled else None
        return self._estimates[config]

    def _shapes(self, config: LoraConfig) -> InspectedShapes | None:
        """Without adapters the shapes are those of the base, the same under each choice of keys."""
        found = self.inspected.get(config.lora_keys)
        if found is None and config.fine_tune_type is FineTuneType.FULL:
            return next(iter(self.inspected.values()), None)
        return found

    def _new_estimate(self, config: LoraConfig) -> MemoryEstimate | None:
        config = rank_share(config, self.ranks)
        if self.longest_row is not None:
            longest = padded_length(self.longest_row, config.max_seq_length)
            config = dataclasses.replace(config, max_seq_length=longest)
        profile = self.steps.get(step_kind(config, config.max_seq_length))
        if profile is not None and self.backend == "cpu":
            return estimate_of(profile, config, self.backend)
        try:
            return estimate_trial(
                config, self.source, self.backend, self.device, self._shapes(config), self.recipe
            )
        except ModelError:
            return None if profile is None else estimate_of(profile, config, self.backend)
