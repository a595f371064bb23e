"""The highest moments of a step, found by following the memory of its graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pytest_yourai.estimate import device_lag
from pytest_yourai.estimate.device_lag import DeviceLag
from pytest_yourai.estimate.evaluation_order import evaluation_order
from pytest_yourai.estimate.graph_fusion import fuse
from pytest_yourai.estimate.live_memory import Change, LiveMemory
from pytest_yourai.estimate.step_graph import Array, StepGraph
from pytest_yourai.models.step_profile import MOST_POWER, PARTS, POWERS, StepProfile

_Table = npt.NDArray[np.float64]


def profile_of(graph: StepGraph, batch_prime: int, rank_prime: int, *, on_cpu: bool) -> StepProfile:
    """The profile of a graph that was traced with these primes as batch size and rank.

    Changes `graph`. ValueError where a size grows with a higher power than the second.
    """
    terms = _Terms(batch_prime, rank_prime)
    fused = fuse(graph)
    operations = evaluation_order(fused.outputs)
    start = np.zeros((len(PARTS), len(POWERS)))
    for array in fused.inputs:
        terms.add(start, array, 1)

    def moments(lag: DeviceLag) -> tuple[tuple[float, ...], ...]:
        memory = LiveMemory(fused.inputs, fused.outputs, operations, lag)
        return _rows(_moments(start, memory.changes(), terms, lag))

    if not on_cpu:
        return StepProfile(tuple(map(moments, device_lag.NONE)))
    return StepProfile(
        tuple(map(moments, device_lag.UNDER_A_LIMIT)),
        tuple(map(moments, device_lag.WITHOUT_A_LIMIT)),
    )


def _moments(
    start: _Table, changes: Iterable[Change], terms: _Terms, lag: DeviceLag
) -> Iterator[_Table]:
    """What lives at each operation."""
    live, dispatches = start.copy(), 0
    waiting: deque[tuple[int, Sequence[Array]]] = deque()
    yield live.copy()
    for change in changes:
        ended = lag.ended(dispatches)
        while waiting and waiting[0][0] <= ended:
            for array in waiting.popleft()[1]:
                terms.add(live, array, -1)
        for array in (*change.taken, *change.meanwhile):
            terms.add(live, array, 1)
        yield live.copy()
        dispatches += change.dispatches
        waiting.append((dispatches, (*change.meanwhile, *change.freed)))


def _rows(moments: Iterable[_Table]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, each.ravel())) for each in _highest(list(moments)))


class _Terms:
    """Where the bytes of an array belong in a moment, by what its size is divisible by."""

    def __init__(self, batch_prime: int, rank_prime: int) -> None:
        self._primes = batch_prime, rank_prime
        self._places: dict[Array, tuple[int, int, float]] = {}

    def add(self, moment: _Table, array: Array, sign: int) -> None:
        if array not in self._places:
            self._places[array] = self._place(array)
        part, term, factor = self._places[array]
        moment[part, term] += sign * factor

    def _place(self, array: Array) -> tuple[int, int, float]:
        left, powers = array.held_bytes, []
        for prime in self._primes:
            power = 0
            while left and left % prime == 0:
                left, power = left // prime, power + 1
            powers.append(power)
        if max(powers) > MOST_POWER:
            raise ValueError(f"an array of shape {array.shape} grows with too high a power")
        part = PARTS.index(array.holding)
        return part, POWERS.index((powers[0], powers[1])), float(left)


def _highest(moments: Sequence[_Table]) -> list[_Table]:
    """The moments that no other one exceeds in every power."""
    sums = np.array([moment.sum(axis=0) for moment in moments])
    left = list(np.argsort(-sums.sum(axis=1), kind="stable"))
    kept: list[_Table] = []
    while left:
        highest = left[0]
        kept.append(moments[highest])
        left = [number for number in left if (sums[number] > sums[highest]).any()]
    return kept
