"""Bayesian log-linear regression on a few measurements, one of which may be an outlier.

A quantity is a sum of non-negative terms. The logarithm of each term's weight has a normal prior;
the rest is a Gaussian process, alike for configurations that are alike. Logarithms throughout: a
standard deviation of 0.03 is about 3 %. The posterior is found by Gauss and Newton's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Booleans = npt.NDArray[np.bool_]

Integers = npt.NDArray[np.intp]

_ROUNDS = 6
"""Most Gauss-Newton steps; the weights stop moving after four."""

_LONGEST_STEP = 2.0
"""Largest change of a logarithmic weight in one step, against overshooting."""

_MOST_OUTLIERS = 8
"""Most candidates for an outlier: each costs as much time as everything else."""

_SMALLEST_STEP = 1e-3

_ERROR_FUNCTION = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True, slots=True)
class Prior:
    """Prior of a quantity at n points, as a sum of k terms.

    `terms` is n × k and positive; `prior_mean` and `prior_std`, of length k, are those of the
    logarithm of each weight; `covariance`, n × n, is of the logarithm of what the terms do not
    describe. `noise_std` is the standard deviation of one measurement, `outlier_std` that of a
    wrong one, `outlier_chance` the share of wrong ones.
    """

    terms: Floats
    prior_mean: Floats
    prior_std: Floats
    covariance: Floats
    noise_std: float
    outlier_std: float
    outlier_chance: float


@dataclass(frozen=True, slots=True)
class Observations:
    """Measurements at m points: rows, logarithms, standard deviations in addition to noise."""

    rows: Integers
    logs: Floats
    stds: Floats


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mixture of h cases: in the first no measurement is wrong, in each other a different one is.

    `weights` has length h and sums to 1; `outliers` is the row of the wrong measurement, or -1;
    `means` and `stds`, h × n, are of the logarithm of a further measurement at each point.
    """

    weights: Floats
    outliers: Integers
    means: Floats
    stds: Floats

    def chances_below(self, log_bound: float) -> Floats:
        """Chance, h × n, that a measurement is below `log_bound`."""
        return normal((log_bound - self.means) / self.stds)

    def chances_above(self, log_bound: float) -> Floats:
        """Chance of each point, over all cases, that a measurement is above `log_bound`."""
        return np.asarray(self.weights @ (1 - self.chances_below(log_bound)))

    def expected(self) -> Floats:
        """Expected logarithm at each point, over all cases."""
        return np.asarray(self.weights @ self.means)


def normal(values: Floats) -> Floats:
    """Standard normal distribution function."""
    return 0.5 * (1 + np.asarray(_ERROR_FUNCTION(values / math.sqrt(2)), np.float64))


def exponential_kernel(coordinates: Floats, std: float) -> Floats:
    """Covariance, n × n, that falls exponentially with the distance of `coordinates`, n × d."""
    squares = np.sum((coordinates[:, None, :] - coordinates[None, :, :]) ** 2, axis=2)
    return np.asarray(std**2 * np.exp(-np.sqrt(squares)))


def condition(prior: Prior, observed: Observations) -> Posterior:
    """Condition the prior on the observations."""
    noise = (prior.noise_std**2 + observed.stds**2)[None, :]
    cases = _Cases(prior, observed, noise)
    places = cases.by_residual()[:_MOST_OUTLIERS] if len(observed.rows) else np.empty(0, np.intp)
    wrong = np.tile(noise[0], (len(places), 1))
    wrong[np.arange(len(places)), places] += prior.outlier_std**2
    cases = _Cases(prior, observed, np.concatenate([noise, wrong]))
    logs = cases.evidence()
    logs[1:] += np.log(prior.outlier_chance)
    weights = np.exp(logs - logs.max())
    outliers = np.concatenate([np.array([-1], np.intp), observed.rows[places]])
    return Posterior(weights / weights.sum(), outliers, *cases.predict())


class _Cases:
    """Most likely weights of the terms for each of h rows of `noise`, variances of measurements."""

    def __init__(self, prior: Prior, observed: Observations, noise: Floats) -> None:
        self._prior = prior
        self._rows = observed.rows
        self._variance = prior.prior_std**2
        self._own = prior.covariance[np.ix_(self._rows, self._rows)]
        self._noise = noise[:, :, None] * np.eye(len(self._rows))
        self._logs = observed.logs
        self._weights = np.tile(prior.prior_mean, (len(noise), 1))
        for _ in range(_ROUNDS):
            self._solve()
            step = self._variance * np.einsum("hmk,hm->hk", self._shares, self._pull)
            step += prior.prior_mean - self._weights
            if np.abs(step).max(initial=0) < _SMALLEST_STEP:
                break
            self._weights = self._weights + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        self._solve()

    def _described(self, rows: Integers | slice) -> tuple[Floats, Floats]:
        """Logarithm of the sum of the terms, h × rows, and each term's share, h × rows × k."""
        parts = self._prior.terms[None, rows, :] * np.exp(self._weights)[:, None, :]
        total = parts.sum(axis=2)
        return np.log(total), parts / total[:, :, None]

    def _solve(self) -> None:
        """Linearize at the present weights."""
        logs, self._shares = self._described(self._rows)
        back = np.einsum("hmk,hk->hm", self._shares, self._prior.prior_mean - self._weights)
        self._residuals = self._logs - logs - back
        terms = np.einsum("hmk,k,hlk->hml", self._shares, self._variance, self._shares)
        self._inverse = np.linalg.inv(terms + self._own + self._noise)
        self._pull = np.einsum("hml,hl->hm", self._inverse, self._residuals)

    def by_residual(self) -> Integers:
        """Observations of the first case, largest residual against all others first."""
        own = np.diagonal(self._inverse[0])
        return np.argsort(-np.abs(self._pull[0] / np.sqrt(own)), kind="stable")

    def evidence(self) -> Floats:
        """Logarithm of the likelihood of each case, up to a constant."""
        _, logarithm = np.linalg.slogdet(self._inverse)
        squares = np.einsum("hm,hm->h", self._residuals, self._pull)
        return np.asarray(0.5 * (logarithm - squares))

    def predict(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation, h × n, of a further measurement at each point."""
        logs, shares = self._described(slice(None))
        back = np.einsum("hnk,hk->hn", shares, self._prior.prior_mean - self._weights)
        weighted = shares * self._variance
        covariance = self._prior.covariance
        across = weighted @ self._shares.transpose(0, 2, 1) + covariance[:, self._rows]
        means = logs + back + np.einsum("hnm,hm->hn", across, self._pull)
        before = np.sum(weighted * shares, axis=2) + np.diagonal(covariance)
        known = np.sum((across @ self._inverse) * across, axis=2)
        return means, np.sqrt(np.maximum(before - known, 0) + self._prior.noise_std**2)
