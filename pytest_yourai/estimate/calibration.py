"""Corrects the estimate by what trials measured: ridge least squares on its named components.

Each component gets a factor, 1 before anything is measured, that may move by what its `_WIDTHS`
says, and by less the more trials speak against it. The factors of one machine are kept for the next
model (`store.calibrations`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import write_json
from pytest_yourai.estimate.training_memory import MemoryEstimate

COMPONENTS = ("weights", "adapters", "activations", "step")
"""`adapters` with their gradients and optimizer state; `step` is logits and what is in flight."""

_WIDTHS = (0.002, 0.03, 0.03, 0.15)
"""How far each factor typically is from 1 for a model that the estimate was not made from, where
its own relative error is 2 % (measured on an H200, the models that were not fitted)."""

_ERROR_OF_WIDTHS = 0.02

_NOISE = 0.003

_NOISE_BEYOND_WEIGHTS = 0.012
"""Of one measured minimum, relative, and of its part beyond the weights: at which operation a batch
of work ends differs with the shapes."""

_OUTLIER = 3.0
"""Measurements further off than so many times the noise count for less."""

_REWEIGHTINGS = 4

_KEPT_WIDTH = 0.5
"""A machine's factors hold for its next model within this part of the widths."""

_Vector = npt.NDArray[Any]


@dataclass(frozen=True)
class Calibration:
    """Factors by component, how far each may still be off, and from how many trials."""

    factors: tuple[float, ...] = (1.0,) * len(COMPONENTS)
    widths: tuple[float, ...] = _WIDTHS
    trials: int = 0

    def for_estimates_off_by(self, relative_error: float) -> Calibration:
        """The same for a model whose estimate is typically off by more, or less, than 2 %."""
        wider = relative_error / _ERROR_OF_WIDTHS
        return Calibration(self.factors, tuple(width * wider for width in self.widths), self.trials)

    def for_the_next_model(self) -> Calibration:
        """What of it may be expected of another model on the same machine."""
        widths = tuple(
            min(max(width, _KEPT_WIDTH * usual), usual)
            for width, usual in zip(self.widths, _WIDTHS, strict=True)
        )
        return Calibration(self.factors, widths, self.trials)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a trial measured, and what had been estimated for it. Bytes."""

    estimate: MemoryEstimate
    minimum_bytes: int


@dataclass(frozen=True)
class CalibrationFit:
    """A prior and what `observations` make of it."""

    calibration: Calibration
    _covariance: _Vector

    def predict(self, estimate: MemoryEstimate) -> tuple[float, float]:
        """The corrected minimum, and its relative error: one standard deviation."""
        parts = _components(estimate)
        minimum = float(parts @ np.array(self.calibration.factors))
        relative = parts / minimum
        variance = float(relative @ self._covariance @ relative)
        noise = float(_noise(parts[0], minimum))
        return minimum, math.hypot(noise, math.sqrt(max(variance, 0.0)))


def fit_calibration(prior: Calibration, observations: Sequence[Observation]) -> CalibrationFit:
    """The factors that explain `observations` best without leaving `prior` for nothing."""
    start = np.array(prior.factors)
    pull = np.diag(1 / np.array(prior.widths))
    if not observations:
        return CalibrationFit(prior, np.linalg.inv(pull.T @ pull))
    parts = np.array([_components(each.estimate) for each in observations])
    minima = np.array([each.minimum_bytes for each in observations], dtype=np.float64)
    noise = _noise(parts[:, 0], minima)
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
        factors=tuple(float(factor) for factor in start + change),
        widths=tuple(float(width) for width in np.sqrt(np.diag(covariance))),
        trials=prior.trials + len(observations),
    )
    return CalibrationFit(calibration, covariance)


def _noise(weights: Any, minima: Any) -> Any:
    """Relative, element by element."""
    return np.hypot(_NOISE, _NOISE_BEYOND_WEIGHTS * np.maximum(0, 1 - weights / minima))


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


def cache_file() -> Path:
    """`calibration.json` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pytest-yourai" / "calibration.json"


def read_calibration(machine: str) -> Calibration:
    """What is kept for `machine`; nothing but the usual widths where that is nothing usable."""
    kept: Any = _read().get(machine)
    try:
        factors = tuple(_number(kept["factors"][name]) for name in COMPONENTS)
        widths = tuple(_number(kept["widths"][name]) for name in COMPONENTS)
        return Calibration(factors, widths, int(kept["trials"]))
    except (KeyError, TypeError, ValueError):
        return Calibration()


def write_calibration(machine: str, calibration: Calibration) -> None:
    """Keep it for `machine`. A cache that cannot be written is no reason to fail."""
    document = _read()
    document[machine] = {
        "factors": dict(zip(COMPONENTS, calibration.factors, strict=True)),
        "widths": dict(zip(COMPONENTS, calibration.widths, strict=True)),
        "trials": calibration.trials,
    }
    path = cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document, "calibration")
    except (OSError, OutputError):
        return


def _read() -> dict[str, Any]:
    try:
        document = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _number(value: Any) -> float:
    """A factor or a width: finite and above 0."""
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{number} is no factor")
    return number
