"""How likely each configuration is to fit the memory limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.sweep.search.posterior import (
    Belief,
    Booleans,
    Floats,
    Measured,
    Prior,
    alike,
    believe,
)
from pytest_yourai.sweep.search.speed_model import NEED_OUTLIER, coordinates, need_prior

_LEAST_ERROR = 0.01

_NO_ROW = -2

_ROUGH = 0.15
"""Of an estimate that is off by more, only the size is taken: physics gives a better shape."""

_LEAST_JITTER = 0.01

_MOST_JITTER = 0.02

_OUTLIER_CHANCE = 0.08

_MISJUDGED = 3.0

_MISJUDGED_CHANCE = 0.2
"""That the estimate is off by up to three times what it is known to be off by."""

_OVER = 0.03

_OVER_NOISE = 0.05
"""A failure for memory without a minimum: about 3 % over what fits, give or take 5 %."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """Minimum memory of one configuration by the estimate, calibrated by the trials so far.

    `relative_error` is one typical deviation of the estimate: 0.03 where it is known to be off by
    3 %, 0.3 where nothing is known of the model.
    """

    minimum_bytes: float
    relative_error: float

    @property
    def is_usable(self) -> bool:
        return math.isfinite(self.minimum_bytes) and self.minimum_bytes >= 1


@dataclass(frozen=True, slots=True)
class Fit:
    """Of each point: the chance that it fits; whether one no larger failed for memory.

    `needed` is the expected minimum memory over the largest that fits (1.1: 10 % more).
    """

    chances: Floats
    ruled_out: Booleans
    needed: Floats


def judge_fit(
    points: Sequence[LoraConfig],
    predicted: Mapping[LoraConfig, Predicted],
    measured: Mapping[LoraConfig, TrialResult],
    limit_bytes: int,
) -> Fit:
    """What predictions, measured minima and monotonicity say of each of `points`.

    A measurement that contradicts the others, or the predictions, counts less, and so does what
    follows from it by monotonicity.
    """
    log_bound = math.log(max(limit_bytes, 1) / SAFETY_MARGIN)
    usable = {each: found for each in points if (found := predicted.get(each)) and found.is_usable}
    prior = _estimated(points, usable) if usable else need_prior(points, log_bound)
    belief = believe(prior, _minima(points, measured, usable, log_bound))
    chances, ruled_out = _bounded(points, measured, belief, log_bound)
    needed = np.exp(np.clip(belief.mean() - log_bound, -10, 10))
    return Fit(np.asarray(belief.weights @ chances), ruled_out, needed)


def _estimated(points: Sequence[LoraConfig], usable: Mapping[LoraConfig, Predicted]) -> Prior:
    """The estimate as the one term; what it lacks is filled in from what it has."""
    rows = np.array([row for row, each in enumerate(points) if each in usable], np.intp)
    logs = np.array([math.log(usable[points[row]].minimum_bytes) for row in rows])
    filled = logs
    if len(rows) < len(points):
        physical = need_prior(points, float(logs.mean()))
        filled = believe(physical, Measured(rows, logs, np.zeros(len(rows)))).mean()
        filled[rows] = logs
    error = max(_LEAST_ERROR, *(each.relative_error for each in usable.values()))
    if error > _ROUGH:
        return need_prior(points, float(filled.mean()), 2 * error)
    return Prior(
        columns=np.exp(filled)[:, None],
        usual=np.zeros(1),
        spread=np.array([error]),
        likeness=alike(coordinates(points), error / 2),
        jitter=min(max(error / 2, _LEAST_JITTER), _MOST_JITTER),
        outlier=NEED_OUTLIER,
        outlier_chance=_OUTLIER_CHANCE,
        scales=((1.0, 1 - _MISJUDGED_CHANCE), (_MISJUDGED, _MISJUDGED_CHANCE)),
    )


def _minima(
    points: Sequence[LoraConfig],
    measured: Mapping[LoraConfig, TrialResult],
    usable: Mapping[LoraConfig, Predicted],
    log_bound: float,
) -> Measured:
    rows, logs, noise = [], [], []
    for row, each in enumerate(points):
        if (result := measured.get(each)) is None:
            continue
        if result.minimum_memory_bytes:
            log, off = math.log(result.minimum_memory_bytes), 0.0
        elif result.prunes_larger:
            log, off = log_bound + _OVER, _OVER_NOISE
            if each in usable:
                log = max(log, math.log(usable[each].minimum_bytes))
        else:
            continue
        rows.append(row)
        logs.append(log)
        noise.append(off)
    return Measured(np.array(rows, np.intp), np.array(logs), np.array(noise))


def _bounded(
    points: Sequence[LoraConfig],
    measured: Mapping[LoraConfig, TrialResult],
    belief: Belief,
    log_bound: float,
) -> tuple[Floats, Booleans]:
    """Chances in each case, certain where monotonicity says so, and what failures rule out.

    A minimum may be measured wrongly; that memory was refused is believed in every case.
    """
    chances = belief.chances_below(log_bound)
    ruled_out = np.zeros(len(points), np.bool_)
    for row, each in enumerate(points):
        if (result := measured.get(each)) and result.success:
            smaller = np.array([each.needs_at_least_as_much_as(other) for other in points])
            chances[np.ix_(belief.suspects != row, smaller)] = 1.0
    for row, each in enumerate(points):
        if (result := measured.get(each)) and result.prunes_larger:
            larger = np.array([other.needs_at_least_as_much_as(each) for other in points])
            trusting = belief.suspects != (row if result.minimum_memory_bytes else _NO_ROW)
            chances[np.ix_(trusting, larger)] = 0.0
            ruled_out |= larger
    return chances, ruled_out
