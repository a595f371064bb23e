"""Whether memory grows from step to step."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

LEAK_BYTES_PER_STEP = 50_000_000
"""A trial that grows faster says so."""

_FEWEST_STEPS = 3


def growth_per_step(values: Sequence[int]) -> float | None:
    """What a step leaves behind, in the units of `values`, one a step; None for fewer than three.

    The median of the slopes between all pairs of steps (Theil and Sen), of the least that was
    held from each step on: only what never goes down again is a leak. A CUDA device's memory pools
    go up and down by gigabytes from step to step, whose plain slope over ten steps reached 0.4 GB
    without any leak (H200, llama-8b in 4 bits, MLX 0.32.4).
    """
    if len(values) < _FEWEST_STEPS:
        return None
    floors = list(itertools.accumulate(reversed(values), min))[::-1]
    pairs = itertools.combinations(enumerate(floors), 2)
    return statistics.median((y - x) / (j - i) for (i, x), (j, y) in pairs)
