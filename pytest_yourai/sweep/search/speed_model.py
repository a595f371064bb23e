"""What a step's time and its minimum memory are made of, where nothing else is known of them.

Both are sums of terms that grow with tokens (batch size × sequence length), adapted layers and
rank. How large each term is beside the others is believed within a factor of three or so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.sweep.search.posterior import (
    Belief,
    Floats,
    Measured,
    Prior,
    alike,
    believe,
    normal,
)

_STEP_TIME = {
    "constant": (0.08, 1.5),  # starting a step, reading all weights
    "tokens": (0.40, 1.0),  # all layers forward, and backward to the first adapted one
    "tokens × layers": (0.40, 1.0),  # backward through the adapted ones
    "tokens × layers × rank": (0.05, 1.2),  # the adapters
    "layers": (0.03, 1.5),  # what an adapted layer costs by itself
    "layers × rank": (0.03, 1.2),  # the optimizer
    "tokens × length": (0.03, 1.5),  # attention
}
"""Usual share at the middle of the matrix, and the deviation of the share's logarithm."""

_MINIMUM_MEMORY = {
    "constant": (0.50, 1.0),  # weights
    "tokens": (0.20, 1.2),  # logits
    "tokens × layers": (0.20, 1.0),  # what the backward pass needs of the forward one
    "tokens × layers × rank": (0.02, 1.2),
    "layers": (0.02, 1.5),
    "layers × rank": (0.08, 1.0),  # adapters, gradients, the optimizer's state
    "tokens × length": (0.02, 1.5),
}

_TIME_WITH_CHECKPOINTING = 1.8

_MEMORY_WITH_CHECKPOINTING = 0.15
"""Times the terms of tokens × layers: the forward pass is repeated, and little kept of it."""

UNKNOWN_SCALE = 3.0
"""Deviation of the logarithm of the whole."""

_TIME_JITTER = 0.025

_TIME_LIKENESS = 0.06

_TIME_OUTLIER = 0.5

_NEED_JITTER = 0.01

_NEED_LIKENESS = 0.02

_OUTLIER_CHANCE = 0.08

NEED_OUTLIER = 0.15
"""Deviation of a minimum that was measured wrongly."""

_AT_LEAST_AS_SLOW = 0.04
"""By how much more rank or layers may seem faster, at most: one deviation, two measurements'."""


def coordinates(points: Sequence[LoraConfig]) -> Floats:
    """Of each point, such that a distance of one is a clear difference."""
    rows = [
        (
            0.7 * math.log2(each.batch_size),
            0.35 * math.log2(each.rank),
            0.5 * math.log2(each.num_layers),
            0.5 * math.log2(each.max_seq_length),
            2.0 * each.grad_checkpoint,
        )
        for each in points
    ]
    return np.array(rows, np.float64)


def need_prior(
    points: Sequence[LoraConfig], middle_log: float, scale: float = UNKNOWN_SCALE
) -> Prior:
    """Of minimum memory without a good estimate.

    At the middle of the matrix it is `middle_log`, with a deviation of `scale`.
    """
    return _physical(
        points,
        _MINIMUM_MEMORY,
        middle_log,
        scale,
        with_checkpointing=_MEMORY_WITH_CHECKPOINTING,
        likeness=_NEED_LIKENESS,
        jitter=_NEED_JITTER,
        outlier=NEED_OUTLIER,
    )


def _physical(
    points: Sequence[LoraConfig],
    terms: Mapping[str, tuple[float, float]],
    middle_log: float,
    scale: float,
    *,
    with_checkpointing: float,
    likeness: float,
    jitter: float,
    outlier: float,
) -> Prior:
    return Prior(
        columns=_columns(points, with_checkpointing),
        usual=np.log([share for share, _ in terms.values()]) + middle_log,
        spread=np.array([deviation for _, deviation in terms.values()]),
        likeness=alike(coordinates(points), likeness) + scale**2,
        jitter=jitter,
        outlier=outlier,
        outlier_chance=_OUTLIER_CHANCE,
    )


def _columns(points: Sequence[LoraConfig], with_checkpointing: float) -> Floats:
    """The terms, in the order of the shares; each is one at the middle of the matrix."""
    batch, rank, layers, length = np.array(
        [(each.batch_size, each.rank, each.num_layers, each.max_seq_length) for each in points],
        np.float64,
    ).T
    tokens = batch * length
    factors = np.array([with_checkpointing if each.grad_checkpoint else 1.0 for each in points])
    backward = tokens * layers * factors
    columns = np.stack(
        [
            np.ones(len(points)),
            tokens,
            backward,
            backward * rank,
            layers,
            layers * rank,
            tokens * length,
        ],
        axis=1,
    )
    return np.asarray(columns / np.exp(np.log(columns).mean(axis=0)))


@dataclass(frozen=True, slots=True)
class Pace:
    """Logarithms of tokens per second: in each case a mean and a deviation for each point."""

    weights: Floats
    means: Floats
    deviations: Floats

    def expected(self) -> Floats:
        return np.asarray(self.weights @ self.means)

    def chances_above(self, log_bound: float) -> Floats:
        """Of each point, that a trial would measure more than `log_bound`."""
        return np.asarray(self.weights @ normal((self.means - log_bound) / self.deviations))


def judge_pace(points: Sequence[LoraConfig], measured: Mapping[LoraConfig, TrialResult]) -> Pace:
    """What the speeds of `measured` results say of each of `points`."""
    speeds = {
        row: math.log(measured[each].tokens_per_second or 1.0)
        for row, each in enumerate(points)
        if each in measured and measured[each].tokens_per_second
    }
    tokens = np.array([math.log(each.batch_size * (each.max_seq_length - 1)) for each in points])
    rows = np.array(list(speeds), np.intp)
    step_times = tokens[rows] - np.array(list(speeds.values()))
    prior = _physical(
        points,
        _STEP_TIME,
        float(step_times.mean()) if speeds else 0.0,
        UNKNOWN_SCALE,
        with_checkpointing=_TIME_WITH_CHECKPOINTING,
        likeness=_TIME_LIKENESS,
        jitter=_TIME_JITTER,
        outlier=_TIME_OUTLIER,
    )
    belief = believe(prior, Measured(rows, step_times, np.zeros(len(rows))))
    return _no_larger_faster(points, belief, tokens - belief.means, speeds)


def _no_larger_faster(
    points: Sequence[LoraConfig], belief: Belief, means: Floats, speeds: Mapping[int, float]
) -> Pace:
    """At the same batch size more rank or layers are not faster than a speed that is trusted."""
    means, deviations = means.copy(), belief.deviations.copy()
    for row, speed in speeds.items():
        larger = [is_no_faster(each, points[row]) for each in points]
        larger[row] = False
        at = np.ix_(belief.suspects != row, np.array(larger))
        reaching = means[at] + deviations[at] > speed
        narrow = np.minimum(deviations[at], _AT_LEAST_AS_SLOW)
        deviations[at] = np.where(reaching, narrow, deviations[at])
        means[at] = np.minimum(means[at], speed)
    return Pace(belief.weights, means, deviations)


def is_no_faster(one: LoraConfig, other: LoraConfig) -> bool:
    """Whether `one` does all that `other` does for as many tokens, and maybe more."""
    return (
        one.batch_size == other.batch_size
        and one.max_seq_length == other.max_seq_length
        and one.grad_checkpoint == other.grad_checkpoint
        and one.needs_at_least_as_much_as(other)
    )
