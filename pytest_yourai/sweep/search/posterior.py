"""What a few measurements say about all configurations, when one of them may be wrong.

A quantity is a sum of non-negative terms, each with an unknown weight of which a usual value and a
spread are given, times a deviation that is alike for configurations that are alike. Logarithms
throughout: a deviation of 0.03 is about 3 %.
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
"""Of Gauss and Newton's method; the weights stop moving after four."""

_LONGEST_MOVE = 2.0
"""Of the logarithm of a weight in one round: what is far off would overshoot."""

_MOST_SUSPECTS = 8
"""Each costs as much time as all else, and beyond the worst few none is an outlier."""

_NO_MOVE = 1e-3

_ERROR_FUNCTION = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of n points before anything is measured.

    `columns` has one positive column for each of k terms, `usual` and `spread` the logarithm of
    its weight and that one's deviation, and `likeness` the n × n covariance of what the terms do
    not describe. `jitter` is the deviation of one measurement, `outlier` that of a wrong one, which
    `outlier_chance` of them are. Each of `scales` is a case that widens spread and likeness, with
    its chance.
    """

    columns: Floats
    usual: Floats
    spread: Floats
    likeness: Floats
    jitter: float
    outlier: float
    outlier_chance: float = 0.02
    scales: tuple[tuple[float, float], ...] = ((1.0, 1.0),)


@dataclass(frozen=True, slots=True)
class Measured:
    """Logarithms measured at some of the points, with what they may be off by besides jitter."""

    rows: Integers
    logs: Floats
    noise: Floats


@dataclass(frozen=True, slots=True)
class Belief:
    """A mixture of cases, one row each; in each but the first of a scale one measurement is wrong.

    `suspects` is that measurement's point, or -1.
    """

    weights: Floats
    suspects: Integers
    means: Floats
    deviations: Floats

    def chances_below(self, log_bound: float) -> Floats:
        """Of each case and point, that a measurement would be below `log_bound`."""
        return normal((log_bound - self.means) / self.deviations)

    def mean(self) -> Floats:
        """Expected logarithm at each point."""
        return np.asarray(self.weights @ self.means)


def normal(values: Floats) -> Floats:
    """The standard normal distribution function."""
    return 0.5 * (1 + np.asarray(_ERROR_FUNCTION(values / math.sqrt(2)), np.float64))


def alike(coordinates: Floats, deviation: float) -> Floats:
    """A covariance that falls with the distance between the rows of `coordinates`."""
    squares = np.sum((coordinates[:, None, :] - coordinates[None, :, :]) ** 2, axis=2)
    return np.asarray(deviation**2 * np.exp(-np.sqrt(squares)))


def believe(prior: Prior, measured: Measured) -> Belief:
    """The prior after the measurements."""
    parts = [_believe(prior, measured, scale, np.log(chance)) for scale, chance in prior.scales]
    weights = np.concatenate([part[0] for part in parts])
    weights = np.exp(weights - weights.max())
    return Belief(
        weights / weights.sum(),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
    )


def _believe(
    prior: Prior, measured: Measured, scale: float, log_chance: float
) -> tuple[Floats, Integers, Floats, Floats]:
    """Log weights, suspects, means and deviations of the cases of one scale."""
    count = len(measured.rows)
    noise = (prior.jitter**2 + measured.noise**2)[None, :]
    cases = _Cases(prior, measured, scale, noise)
    places = cases.suspicious()[:_MOST_SUSPECTS] if count else np.empty(0, np.intp)
    wrong = np.tile(noise[0], (len(places), 1))
    wrong[np.arange(len(places)), places] += prior.outlier**2
    cases = _Cases(prior, measured, scale, np.concatenate([noise, wrong]))
    chances = np.full(len(places) + 1, log_chance)
    chances[1:] += np.log(prior.outlier_chance)
    suspects = np.concatenate([np.array([-1], np.intp), measured.rows[places]])
    means, deviations = cases.everywhere()
    return chances + cases.evidence(), suspects, means, deviations


class _Cases:
    """The most likely weights for each row of `noise`, variances of the measurements."""

    def __init__(self, prior: Prior, measured: Measured, scale: float, noise: Floats) -> None:
        self._prior = prior
        self._rows = measured.rows
        self._likeness = prior.likeness * scale**2
        self._variance = (prior.spread * scale) ** 2
        self._own = self._likeness[np.ix_(self._rows, self._rows)]
        self._noise = noise[:, :, None] * np.eye(len(self._rows))
        self._logs = measured.logs
        self.weights = np.tile(prior.usual, (len(noise), 1))
        for _ in range(_ROUNDS):
            self._solve()
            move = self._variance * np.einsum("hmk,hm->hk", self._shares, self._pull)
            move += self._prior.usual - self.weights
            if np.abs(move).max(initial=0) < _NO_MOVE:
                break
            self.weights = self.weights + np.clip(move, -_LONGEST_MOVE, _LONGEST_MOVE)
        self._solve()

    def _described(self, rows: Integers | slice) -> tuple[Floats, Floats]:
        """What the terms say of the points, and each term's share of it."""
        parts = self._prior.columns[None, rows, :] * np.exp(self.weights)[:, None, :]
        total = parts.sum(axis=2)
        return np.log(total), parts / total[:, :, None]

    def _solve(self) -> None:
        logs, self._shares = self._described(self._rows)
        back = np.einsum("hmk,hk->hm", self._shares, self._prior.usual - self.weights)
        self._off = self._logs - logs - back
        spread = np.einsum("hmk,k,hlk->hml", self._shares, self._variance, self._shares)
        self._inverse = np.linalg.inv(spread + self._own + self._noise)
        self._pull = np.einsum("hml,hl->hm", self._inverse, self._off)

    def suspicious(self) -> Integers:
        """Measurements of the first case, the one least explained by the others first."""
        own = np.diagonal(self._inverse[0])
        return np.argsort(-np.abs(self._pull[0] / np.sqrt(own)), kind="stable")

    def evidence(self) -> Floats:
        _, logarithm = np.linalg.slogdet(self._inverse)
        squares = np.einsum("hm,hm->h", self._off, self._pull)
        return np.asarray(0.5 * (logarithm - squares))

    def everywhere(self) -> tuple[Floats, Floats]:
        """Mean and deviation of a further measurement at every point, for each case."""
        logs, shares = self._described(slice(None))
        back = np.einsum("hnk,hk->hn", shares, self._prior.usual - self.weights)
        weighted = shares * self._variance
        across = weighted @ self._shares.transpose(0, 2, 1) + self._likeness[:, self._rows]
        means = logs + back + np.einsum("hnm,hm->hn", across, self._pull)
        before = np.sum(weighted * shares, axis=2) + np.diagonal(self._likeness)
        known = np.sum((across @ self._inverse) * across, axis=2)
        jitter = self._prior.jitter**2
        return means, np.sqrt(np.maximum(before - known, 0) + jitter)
