"""Speed of each configuration, and priors of step time and of minimum memory without an estimate.

Both are sums of terms that grow with tokens (batch size × sequence length), adapted layers and
rank. The prior knows each term's share within a factor of about three. What is trained, and how,
has a factor of its own on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pytest_yourai.core.axes import (
    DROPOUT,
    FINE_TUNE_TYPE,
    GRAD_ACCUMULATION_STEPS,
    LORA_KEYS,
    OPTIMIZER,
    Axis,
    recipe_of,
)
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.sweep.search.posterior import (
    Booleans,
    Floats,
    Observations,
    Posterior,
    Prior,
    condition,
    exponential_kernel,
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
"""Share of the step time at the middle of the matrix, and standard deviation of its logarithm."""

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
"""Factors of the terms of tokens × layers: the forward pass is repeated, little of it is kept."""

_SCALE_STD = 3.0
"""Standard deviation of the logarithm of the whole quantity."""

_RECIPE_STDS: Mapping[Axis, float] = {
    FINE_TUNE_TYPE: 0.5,
    OPTIMIZER: 0.1,
    LORA_KEYS: 0.3,
    DROPOUT: 0.1,
    GRAD_ACCUMULATION_STEPS: 0.1,
}
"""Standard deviation of the logarithm of the factor that a value of each axis has."""

_RECIPES_HAVE_IN_COMMON = 0.5
"""Share of the deviations from the sum of terms that recipes have in common."""

OUTLIER_CHANCE = 0.08
"""Share of measurements that are wrong."""

_MOST_STD_OF_LARGER = 0.04
"""Largest standard deviation where more rank or layers seem faster: that of two measurements."""


def coordinates(points: Sequence[LoraConfig]) -> Floats:
    """Position of each point, n × 5: a distance of 1 is a clear difference."""
    rows = [
        (
            0.7 * math.log2(each.batch_size),
            0.35 * math.log2(max(each.rank, 1)),
            0.5 * math.log2(each.num_layers),
            0.5 * math.log2(each.max_seq_length),
            2.0 * each.grad_checkpoint,
        )
        for each in points
    ]
    return np.array(rows, np.float64)


def memory_prior(points: Sequence[LoraConfig], middle_log: float) -> Prior:
    """Prior of minimum memory without an estimate: `middle_log` at the middle of the matrix."""
    return Prior(
        terms=_terms(points, _MEMORY_WITH_CHECKPOINTING),
        prior_mean=np.log([share for share, _ in _MINIMUM_MEMORY.values()]) + middle_log,
        prior_std=np.array([std for _, std in _MINIMUM_MEMORY.values()]),
        covariance=_covariance(points, 0.02),
        noise_std=0.01,
        outlier_std=0.15,
        outlier_chance=OUTLIER_CHANCE,
    )


def _step_time_prior(points: Sequence[LoraConfig], middle_log: float) -> Prior:
    """Prior of the time of a step: `middle_log` at the middle of the matrix."""
    return Prior(
        terms=_terms(points, _TIME_WITH_CHECKPOINTING),
        prior_mean=np.log([share for share, _ in _STEP_TIME.values()]) + middle_log,
        prior_std=np.array([std for _, std in _STEP_TIME.values()]),
        covariance=_covariance(points, 0.06),
        noise_std=0.025,
        outlier_std=0.5,
        outlier_chance=OUTLIER_CHANCE,
    )


def _covariance(points: Sequence[LoraConfig], std: float) -> Floats:
    """Of the deviations, of standard deviation `std`, and of the factors, n × n."""
    in_common = _equal(points, recipe_of)
    kernel = exponential_kernel(coordinates(points), std)
    kernel *= _RECIPES_HAVE_IN_COMMON + (1 - _RECIPES_HAVE_IN_COMMON) * in_common
    covariance = kernel + _SCALE_STD**2
    for axis, factor_std in _RECIPE_STDS.items():
        equal = _equal(points, axis.of)
        if not equal.all():
            covariance += factor_std**2 * equal
    return covariance


def _equal(points: Sequence[LoraConfig], value: Callable[[LoraConfig], object]) -> Booleans:
    """Whether two points have an equal `value`, n × n."""
    numbers: dict[object, int] = {}
    kinds = np.array([numbers.setdefault(value(each), len(numbers)) for each in points], np.intp)
    return np.asarray(kinds[:, None] == kinds[None, :])


def _terms(points: Sequence[LoraConfig], with_checkpointing: float) -> Floats:
    """Terms, n × 7, in the order of the shares; each is 1 at the middle of the matrix."""
    batch, rank, layers, length = np.array(
        [
            (each.batch_size, max(each.rank, 1), each.num_layers, each.max_seq_length)
            for each in points
        ],
        np.float64,
    ).T
    tokens = batch * length
    factors = np.array([with_checkpointing if each.grad_checkpoint else 1.0 for each in points])
    backward = tokens * layers * factors
    terms = np.stack(
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
    return np.asarray(terms / np.exp(np.log(terms).mean(axis=0)))


def speed_posterior(
    points: Sequence[LoraConfig], measured: Mapping[LoraConfig, TrialResult]
) -> Posterior:
    """Logarithm of tokens per second at each of `points`, given the `measured` results."""
    speeds = {
        row: math.log(measured[each].tokens_per_second or 1.0)
        for row, each in enumerate(points)
        if each in measured and measured[each].tokens_per_second
    }
    tokens = np.array([math.log(each.batch_size * (each.max_seq_length - 1)) for each in points])
    rows = np.array(list(speeds), np.intp)
    step_times = tokens[rows] - np.array(list(speeds.values()))
    prior = _step_time_prior(points, float(step_times.mean()) if speeds else 0.0)
    found = condition(prior, Observations(rows, step_times, np.zeros(len(rows))))
    return _no_larger_faster(points, found, tokens - found.means, speeds)


def _no_larger_faster(
    points: Sequence[LoraConfig], found: Posterior, means: Floats, speeds: Mapping[int, float]
) -> Posterior:
    """Bound speeds: at one batch size more rank or layers are not faster than a trusted speed."""
    means, stds = means.copy(), found.stds.copy()
    for row, speed in speeds.items():
        larger = [is_no_faster(each, points[row]) for each in points]
        larger[row] = False
        at = np.ix_(found.outliers != row, np.array(larger))
        reaching = means[at] + stds[at] > speed
        narrow = np.minimum(stds[at], _MOST_STD_OF_LARGER)
        stds[at] = np.where(reaching, narrow, stds[at])
        means[at] = np.minimum(means[at], speed)
    return Posterior(found.weights, found.outliers, means, stds)


def is_no_faster(one: LoraConfig, other: LoraConfig) -> bool:
    """True if `one` does all the work of `other` for as many tokens, and maybe more.

    What is trained, and how, must be equal: an optimizer that needs more can be faster.
    """
    return (
        one.batch_size == other.batch_size
        and one.rank >= other.rank
        and one.num_layers >= other.num_layers
        and one.max_seq_length == other.max_seq_length
        and one.grad_checkpoint == other.grad_checkpoint
        # Last, as it takes the longest, and every pair is compared before each trial.
        and recipe_of(one) == recipe_of(other)
    )
