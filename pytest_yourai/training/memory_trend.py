"""Growth of memory while training goes on."""

from __future__ import annotations

from pytest_yourai.core.config import COMPILING_STEPS
from pytest_yourai.machine.leak import Growth, LeakWatch
from pytest_yourai.worker.protocol import TrainedStep

_KEPT_STEPS = 80

_STEPS_BETWEEN_CHECKS = 10
"""A check of all steps that are kept takes milliseconds, as long as a short step."""


class MemoryTrend:
    """The last steps of one worker process; a fresh process takes a fresh trend."""

    def __init__(self, *, footprint_counts: bool) -> None:
        """`footprint_counts` as for a LeakWatch."""
        self._held = LeakWatch(footprint_counts=footprint_counts, kept_steps=_KEPT_STEPS)
        self._steps = 0
        self._has_warned = False

    def add(self, step: TrainedStep) -> str | None:
        """Take a step in; a warning, once, where memory leaks over 50 MB a step."""
        self._steps += 1
        if self._steps <= COMPILING_STEPS:
            return None
        self._held.add(step.active_memory_bytes, step.footprint_bytes)
        if self._has_warned or self._steps % _STEPS_BETWEEN_CHECKS:
            return None
        leak = next(self._held.leaks(), None)
        if leak is None:
            return None
        self._has_warned = True
        return (
            f"{leak} over the last {leak.steps} steps: something leaks; --reload-interval goes on "
            "in a fresh process every so many steps"
        )

    def growth(self) -> Growth:
        """The growth over the kept steps, without the first two of a process, which compile."""
        return self._held.growth
