"""Whether memory grows from step to step."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

LEAK_BYTES_PER_STEP = 50_000_000
"""A trial that grows faster says so."""

_FEWEST_STEPS = 3


def growth_per_step(values: Sequence[int]) -> float | None:
    """The median of the slopes between all pairs of steps (Theil and Sen), in units a step.

    Up to 29 % of the steps may be outliers. None for fewer than three steps.
    """
    if len(values) < _FEWEST_STEPS:
        return None
    pairs = itertools.combinations(enumerate(values), 2)
    return statistics.median((y - x) / (j - i) for (i, x), (j, y) in pairs)
