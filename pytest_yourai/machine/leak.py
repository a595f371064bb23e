"""Growth of memory from step to step, and when it is a leak. Bytes."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.core.units import gigabytes

_LEAK_BYTES_PER_STEP = 50_000_000

_FEWEST_STEPS = 5

_FEWEST_STEPS_ALONE = 20
"""With nothing from before the steps to hold their growth against."""

_STEADY_SHARE = 0.8

_MOST_POINTS = 200


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a step, as the robust slope over the steps; None for fewer than five steps."""

    active_bytes_per_step: float | None
    footprint_bytes_per_step: float | None


@dataclass(frozen=True, slots=True)
class Leak:
    """Memory that grows steadily. `what` names it, `steps` is how many show it."""

    what: str
    bytes_per_step: float
    steps: int

    def __str__(self) -> str:
        return f"{self.what} grew by {gigabytes(self.bytes_per_step)} a step"


def leak_warnings(found: Iterable[Leak]) -> list[str]:
    return [f"{leak}: something leaks" for leak in found]


class LeakWatch:
    """Memory held after each step of a run: MLX's active memory and the worker's footprint.

    `footprint_counts` is False on CUDA, whose memory pools vary by gigabytes where nothing leaks.
    `kept_steps` is how many of the last steps are kept, None for all. A step that ends a cycle of
    accumulated gradients frees them; for it the step before counts.
    """

    def __init__(self, *, footprint_counts: bool = True, kept_steps: int | None = None) -> None:
        self._footprint_counts = footprint_counts
        self._active: deque[int] = deque(maxlen=kept_steps)
        self._footprints: deque[int] = deque(maxlen=kept_steps)

    def add(
        self, active_bytes: int, footprint_bytes: int | None, *, frees_gradients: bool = False
    ) -> None:
        """Take a step in that compiled nothing; a footprint that is not known is None."""
        if frees_gradients and self._active:
            active_bytes = self._active[-1]
            footprint_bytes = self._footprints[-1] if self._footprints else footprint_bytes
        self._active.append(active_bytes)
        if footprint_bytes is not None:
            self._footprints.append(footprint_bytes)

    @property
    def growth(self) -> Growth:
        return Growth(growth_per_step(self._active), growth_per_step(self._footprints))

    def leaks(
        self, earlier_active: Sequence[int] = (), earlier_footprints: Sequence[int] = ()
    ) -> Iterator[Leak]:
        """The leaks: growth by more than memory varied in the earlier steps.

        Without earlier ones the first quarter of the steps is taken for them, of 20 at least.
        """
        yield from _leaks("MLX's active memory", self._active, earlier_active)
        if self._footprint_counts:
            yield from _leaks("the footprint", self._footprints, earlier_footprints)


def _leaks(what: str, held: Sequence[int], earlier: Sequence[int]) -> Iterator[Leak]:
    values = list(held)
    if not earlier:
        if len(values) < _FEWEST_STEPS_ALONE:
            return
        # What a leak added before must be less than what it adds afterwards: a quarter.
        quarter = len(values) // 4
        earlier, values = values[:quarter], values[quarter:]
    if leaks(values, earlier):
        yield Leak(what, growth_per_step(values) or 0, len(values))


def growth_per_step(values: Sequence[int]) -> float | None:
    """The median of the slopes between all pairs of steps (Theil and Sen), in units a step.

    Up to 29 % of the steps may be outliers. None for fewer than five steps.
    """
    if len(values) < _FEWEST_STEPS:
        return None
    return statistics.median((y - x) / (j - i) for (i, x), (j, y) in _pairs(values))


def leaks(values: Sequence[int], earlier: Sequence[int]) -> bool:
    """True if bytes grow by more than 50 MB a step, in four of five pairs of steps.

    And by more than they varied in `earlier` steps: the slope of a CUDA device's memory pools over
    ten steps reached 0.4 GB where nothing leaked (H200, llama-8b in 4 bits, MLX 0.32.4).
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
