"""Whether memory grows from step to step."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

_LEAK_BYTES_PER_STEP = 50_000_000

_FEWEST_STEPS = 5

_STEADY_SHARE = 0.8

_MOST_POINTS = 200


def growth_per_step(values: Sequence[int]) -> float | None:
    """The median of the slopes between all pairs of steps (Theil and Sen), in units a step.

    Up to 29 % of the steps may be outliers. None for fewer than five steps.
    """
    if len(values) < _FEWEST_STEPS:
        return None
    return statistics.median((y - x) / (j - i) for (i, x), (j, y) in _pairs(values))


def leaks(values: Sequence[int], earlier: Sequence[int]) -> bool:
    """Whether bytes grow by more than 50 MB a step, steadily, and by more than they vary anyway.

    Steadily: in four of five pairs of steps. Anyway: within `earlier`, what was held before. A CUDA
    device's memory pools fill up, and go up and down by gigabytes from step to step: the slope
    over ten steps reached 0.4 GB where nothing leaked (H200, llama-8b in 4 bits, MLX 0.32.4).
    """
    growth = growth_per_step(values)
    if growth is None or growth <= _LEAK_BYTES_PER_STEP:
        return False
    if earlier and growth * (len(values) - 1) <= max(earlier) - min(earlier):
        return False
    rising = [y > x for (_, x), (_, y) in _pairs(values)]
    return sum(rising) >= _STEADY_SHARE * len(rising)


def _pairs(values: Sequence[int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of (step, value); of a long series every few steps, since pairs grow as its square."""
    stride = math.ceil(len(values) / _MOST_POINTS)
    points = [(step, values[step]) for step in range(0, len(values), stride)]
    return list(itertools.combinations(points, 2))
