"""Growth of memory while training goes on."""

from __future__ import annotations

from pytest_yourai.core.config import COMPILING_STEPS
from pytest_yourai.machine.leak import LeakWatch
from pytest_yourai.worker.protocol import TrainedStep

_KEPT_STEPS = 80

_STEPS_BETWEEN_CHECKS = 10
"""A check of all steps that are kept takes milliseconds, as long as a short step."""


class MemoryTrend(LeakWatch):
    """The last steps of one worker process without the first two, which compile.

    Of steps whose gradients accumulate, without the first two cycles. A fresh process takes a fresh
    trend.
    """

    def __init__(self, *, footprint_counts: bool, accumulation: int = 1) -> None:
        super().__init__(footprint_counts=footprint_counts, kept_steps=_KEPT_STEPS)
        self._accumulation = accumulation
        self._steps = 0
        self._has_warned = False

    def warning(self, step: TrainedStep) -> str | None:
        """Take a step in; a warning, once, where memory leaks over 50 MB a step."""
        self._steps += 1
        if self._steps <= COMPILING_STEPS * self._accumulation:
            return None
        frees_gradients = self._accumulation > 1 and step.step % self._accumulation == 0
        self.add(step.active_memory_bytes, step.footprint_bytes, frees_gradients=frees_gradients)
        if self._has_warned or self._steps % _STEPS_BETWEEN_CHECKS:
            return None
        leak = next(self.leaks(), None)
        if leak is None:
            return None
        self._has_warned = True
        return (
            f"{leak} over the last {leak.steps} steps: something leaks; --reload-interval goes on "
            "in a fresh process every so many steps"
        )
