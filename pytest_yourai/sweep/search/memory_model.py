"""Chance of each configuration to fit the memory limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.sweep.search.posterior import (
    Booleans,
    Floats,
    Observations,
    Posterior,
    condition,
)
from pytest_yourai.sweep.search.speed_model import OUTLIER_CHANCE, memory_prior

_NO_ROW = -2

_NOISE_STD = 0.01
"""Relative standard deviation of a minimum about a perfect prediction."""

_OUTLIER_STD = 0.15
"""Relative standard deviation of a minimum that was measured wrongly."""

_MISJUDGED = 3.0

_MISJUDGED_CHANCE = 0.2
"""Chance that predictions are off by up to three times their error."""

_NEGLIGIBLE_ODDS = 0.05
"""Odds of an outlier below which its case predicts as if it were none."""

_OVER = 0.03

_OVER_STD = 0.05
"""A failure for memory without a minimum: taken to need 3 % more than fits, ± 5 %."""


class PredictsMinimum(Protocol):
    """Source of predictions, corrected by the trials measured so far."""

    def predict(self, config: LoraConfig, without: LoraConfig | None = None) -> Prediction | None:
        """Prediction for `config`, not corrected by `without`; None if there is no estimate."""


@dataclass(frozen=True, slots=True)
class FitChances:
    """Chance of each of n points to fit, and those that a failure for memory rules out.

    `needed` is the expected minimum memory over the largest that fits (1.1: 10 % more).
    """

    chances: Floats
    ruled_out: Booleans
    needed: Floats


def fit_chances(
    points: Sequence[LoraConfig],
    predictor: PredictsMinimum,
    measured: Mapping[LoraConfig, TrialResult],
    limit_bytes: int,
) -> FitChances:
    """Chances of `points` by their predictions, measured minima and monotonicity.

    A minimum that contradicts the predictions, or the others, counts less. Where `predictor` has
    no prediction for a point, none is used.
    """
    log_bound = math.log(max(limit_bytes, 1) / SAFETY_MARGIN)
    found = _predicted(points, predictor, measured)
    if found is None:
        found = condition(memory_prior(points, log_bound), _minima(points, measured, log_bound))
    chances, ruled_out = _bounded(points, measured, found, log_bound)
    needed = np.exp(np.clip(found.expected() - log_bound, -10, 10))
    return FitChances(np.asarray(found.weights @ chances), ruled_out, needed)


def _predicted(
    points: Sequence[LoraConfig],
    predictor: PredictsMinimum,
    measured: Mapping[LoraConfig, TrialResult],
) -> Posterior | None:
    """Predictions from all minima, and in a case for each that it is wrong, from the others."""
    everything = _logs(predictor, points)
    if everything is None:
        return None
    weights, outliers, cases = [1.0], [-1], [everything]
    minima = _minima(points, measured)
    for row, log in zip(minima.rows, minima.logs, strict=True):
        others = _logs(predictor, [points[row]], points[row])
        if others is None:
            continue
        odds = _outlier_odds(log - float(others[0][0]), float(others[1][0]))
        case = _logs(predictor, points, points[row]) if odds > _NEGLIGIBLE_ODDS else None
        weights.append(odds)
        outliers.append(int(row))
        cases.append(case or everything)
    means, stds = (np.array(each) for each in zip(*cases, strict=True))
    return Posterior(np.array(weights) / sum(weights), np.array(outliers, np.intp), means, stds)


def _logs(
    predictor: PredictsMinimum, points: Sequence[LoraConfig], without: LoraConfig | None = None
) -> tuple[Floats, Floats] | None:
    """Mean and standard deviation of the logarithms of minima; None if one is not predicted."""
    found = [predictor.predict(each, without) for each in points]
    predictions = [each for each in found if each is not None]
    if len(predictions) < len(points):
        return None
    means = np.log([max(each.minimum_bytes, 1) for each in predictions])
    return means, np.hypot([each.relative_error for each in predictions], _NOISE_STD)


def _outlier_odds(residual: float, std: float) -> float:
    """Odds that a measurement is wrong which is off by `residual` from a prediction."""

    def density(scale: float) -> float:
        return math.exp(-0.5 * (residual / scale) ** 2) / scale

    right = (1 - _MISJUDGED_CHANCE) * density(std) + _MISJUDGED_CHANCE * density(_MISJUDGED * std)
    wrong = density(math.hypot(std, _OUTLIER_STD))
    return OUTLIER_CHANCE * wrong / max((1 - OUTLIER_CHANCE) * right, 1e-300)


def _minima(
    points: Sequence[LoraConfig],
    measured: Mapping[LoraConfig, TrialResult],
    log_bound: float | None = None,
) -> Observations:
    """Measured minima; with `log_bound` failures for memory without one as well."""
    rows, logs, stds = [], [], []
    for row, each in enumerate(points):
        if (result := measured.get(each)) is None:
            continue
        if result.minimum_memory_bytes:
            found = math.log(result.minimum_memory_bytes), 0.0
        elif result.prunes_larger and log_bound is not None:
            found = log_bound + _OVER, _OVER_STD
        else:
            continue
        rows.append(row)
        logs.append(found[0])
        stds.append(found[1])
    return Observations(np.array(rows, np.intp), np.array(logs), np.array(stds))


def _bounded(
    points: Sequence[LoraConfig],
    measured: Mapping[LoraConfig, TrialResult],
    found: Posterior,
    log_bound: float,
) -> tuple[Floats, Booleans]:
    """Chances in each case, certain where monotonicity decides, and the points it rules out.

    A minimum may be an outlier; a refused allocation is trusted in every case.
    """
    chances = found.chances_below(log_bound)
    ruled_out = np.zeros(len(points), np.bool_)
    for row, each in enumerate(points):
        if (result := measured.get(each)) and result.success:
            smaller = np.array([each.needs_at_least_as_much_as(other) for other in points])
            chances[np.ix_(found.outliers != row, smaller)] = 1.0
    for row, each in enumerate(points):
        if (result := measured.get(each)) and result.prunes_larger:
            larger = np.array([other.needs_at_least_as_much_as(each) for other in points])
            trusting = found.outliers != (row if result.minimum_memory_bytes else _NO_ROW)
            chances[np.ix_(trusting, larger)] = 0.0
            ruled_out |= larger
    return chances, ruled_out
