"""Whether memory grows while training goes on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pytest_yourai.core.config import COMPILING_STEPS
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.leak import growth_per_step, leaks
from pytest_yourai.worker.protocol import TrainedStep

_KEPT_STEPS = 80

_FEWEST_STEPS = 20

_STEPS_BETWEEN_LOOKS = 10
"""A look at all that is kept takes milliseconds, as long as a short step."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a step, over the last steps of a process; None for too few steps."""

    active_bytes_per_step: float | None
    footprint_bytes_per_step: float | None


class MemoryTrend:
    """The last steps of one worker process; a fresh process takes a fresh trend.

    `footprint_counts` is False on CUDA, where the footprint is the device's use: its memory pools
    fill up and vary by gigabytes where nothing leaks.
    """

    def __init__(self, *, footprint_counts: bool) -> None:
        self._footprint_counts = footprint_counts
        self._steps = 0
        self._has_warned = False
        self._active: deque[int] = deque(maxlen=_KEPT_STEPS)
        self._footprints: deque[int] = deque(maxlen=_KEPT_STEPS)

    def add(self, step: TrainedStep) -> str | None:
        """Take a step in; a warning in words, once, where memory leaks over 50 MB a step."""
        self._steps += 1
        if self._steps <= COMPILING_STEPS:
            return None
        self._active.append(step.active_memory_bytes)
        if step.footprint_bytes is not None:
            self._footprints.append(step.footprint_bytes)
        if self._has_warned or self._steps % _STEPS_BETWEEN_LOOKS:
            return None
        warning = self._warning()
        self._has_warned = warning is not None
        return warning

    def growth(self) -> Growth:
        """Of the steps that are kept: of the first two of a process, which compile, none."""
        return Growth(growth_per_step(self._active), growth_per_step(self._footprints))

    def _warning(self) -> str | None:
        held = {"MLX's active memory": self._active}
        if self._footprint_counts:
            held["the footprint"] = self._footprints
        for what, kept in held.items():
            values = list(kept)
            # What a leak added before must be less than what it adds afterwards: a quarter.
            quarter = len(values) // 4
            if len(values) < _FEWEST_STEPS or not leaks(values[quarter:], values[:quarter]):
                continue
            grew = gigabytes(growth_per_step(values[quarter:]) or 0)
            return (
                f"{what} grew by {grew} a step over the last {len(values) - quarter} steps: "
                "something leaks; --reload-interval goes on in a fresh process every so many steps"
            )
        return None
